package catalog

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/matchd/matchd/matchd/fault"
)

// MaxCached is the number of rendered documents that one snapshot remembers. When they are more, any of them makes room.
const MaxCached = 8192

// MaxCachedBytes bounds the memory of what is remembered, roughly; a rendered config has some 5 KB.
const MaxCachedBytes = 64 << 20

// MaxWait is how long a rendering may wait for its turn and run.
const MaxWait = 30 * time.Second

// MaxQueued is the number of renderings of one snapshot that may wait for their turn or run; who asks for one more is told to come back. Machines
// that go away do not end their renderings, so that without it a hostile one could pile up any number.
const MaxQueued = 1024

// renderFunc renders one document; its context bounds the rendering.
type renderFunc func(ctx context.Context) (any, error)

// cache remembers rendered documents of one snapshot by everything that they depend on.
type cache struct {
	flight singleflight.Group
	queue  chan struct{} // one per rendering that waits or is in progress
	slots  chan struct{} // one per rendering in progress

	mu      sync.RWMutex
	entries map[string]any
	bytes   int
}

func newCache() *cache {
	return &cache{queue: make(chan struct{}, MaxQueued), slots: make(chan struct{}, runtime.GOMAXPROCS(0)), entries: map[string]any{}}
}

func (c *cache) get(key string) (any, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	value, ok := c.entries[key]
	return value, ok
}

// fill renders under a slot, once for all who wait for the same key. The rendering does not end with the caller that happened to be the
// first; every caller waits as long as its own context lasts.
func (c *cache) fill(ctx context.Context, key string, render renderFunc) (any, error) {
	done := c.flight.DoChan(key, func() (any, error) {
		if value, ok := c.get(key); ok { // another flight landed between the caller's look and this one's start
			return value, nil
		}
		select {
		case c.queue <- struct{}{}:
			defer func() { <-c.queue }()
		default:
			return nil, fault.New(fault.Unavailable, "%d renderings wait already", MaxQueued)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), MaxWait)
		defer cancel()
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "too many renderings at once: %w", ctx.Err())
		}
		defer func() { <-c.slots }()
		value, err := render(ctx)
		if err == nil {
			c.put(key, value)
		}
		return value, err
	})
	select {
	case result := <-done:
		return result.Val, result.Err
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "waiting for a rendering: %w", ctx.Err())
	}
}

func (c *cache) put(key string, value any) {
	size := len(key) + sizeOf(value)
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, old := range c.entries {
		if len(c.entries) < MaxCached && c.bytes+size <= MaxCachedBytes {
			break
		}
		c.bytes -= len(other) + sizeOf(old)
		delete(c.entries, other)
	}
	c.entries[key] = value
	c.bytes += size
}
