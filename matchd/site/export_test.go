package site

import (
	"context"
	"encoding/json"

	"github.com/matchd/matchd/profiles"
)

// Reader returns a function that reads like [Load] and remembers what it has tried like [Watch].
func Reader() func(ctx context.Context, dir string) (*Site, error) {
	return newLoader(ReadOptions{}).load
}

// ProfileJSON returns a profile as it stands in matchbox's file.
func ProfileJSON(p *profiles.Profile) ([]byte, error) { return json.Marshal(newProfileFile(p)) }
