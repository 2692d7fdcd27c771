package site

import "context"

// Reader returns a function that reads like [Load] and remembers what it has tried like [Watch].
func Reader() func(ctx context.Context, dir string) (*Site, error) {
	return newLoader(ReadOptions{}).load
}
