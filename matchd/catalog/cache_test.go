package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// TestRenderingsAreBounded has clients ask for ever new documents and go away, while the renderer is busy.
func TestRenderingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache()
		busy := make(chan struct{})
		render := func(context.Context) (any, error) { <-busy; return []byte("done"), nil }
		gone, leave := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for i := range MaxQueued {
			clients.Go(func() {
				if _, err := c.fill(gone, fmt.Sprint(i), render); !fault.Is(err, fault.Unavailable) {
					t.Errorf("a client that went away got %v", err)
				}
			})
		}
		synctest.Wait()
		leave()
		clients.Wait()
		asked := time.Now()
		if _, err := c.fill(t.Context(), "one more", render); !fault.Is(err, fault.Unavailable) || time.Since(asked) > 0 {
			t.Errorf("one rendering too many: %v after %v, want it refused at once", err, time.Since(asked))
		}
		close(busy)
		synctest.Wait()
		if got, err := c.fill(t.Context(), "later", render); err != nil || string(got.([]byte)) != "done" {
			t.Errorf("afterwards: %v, %v", got, err)
		}
	})
}

// failing is a store whose first listings fail.
type failing struct {
	store.Store
	failures int
}

func (f *failing) List(context.Context, string) ([]store.Record, store.Revision, error) {
	if f.failures--; f.failures >= 0 {
		return nil, 0, errors.New("the disk is away")
	}
	return nil, 7, nil
}

func (f *failing) Watch(ctx context.Context, _ string, _ store.Revision) (store.Commit, error) {
	<-ctx.Done()
	return store.Commit{}, ctx.Err()
}

// TestFailingStoreIsReadAgain waits for a store that comes back; nothing is served before.
func TestFailingStoreIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(&failing{failures: 3}, Options{Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		synctest.Wait()
		if c.Current() != nil {
			t.Error("something is served while the store fails")
		}
		began := time.Now()
		if snapshot, err := c.WaitFor(ctx, 7); err != nil || snapshot.Revision != 7 || time.Since(began) != 3*retryDelay {
			t.Errorf("got %+v, %v after %v", snapshot, err, time.Since(began))
		}
		cancel()
		running.Wait()
		if _, err := c.WaitFor(ctx, 8); !fault.Is(err, fault.Unavailable) {
			t.Errorf("waiting for what never comes: %v", err)
		}
	})
}
