package catalog

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/matchd/fault"
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
