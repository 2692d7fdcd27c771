package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// seen is what a Watch call in a goroutine returned.
type seen struct {
	commit store.Commit
	err    error
}

func watch(ctx context.Context, s store.Store, prefix string, after store.Revision) <-chan seen {
	result := make(chan seen, 1)
	go func() {
		commit, err := s.Watch(ctx, prefix, after)
		result <- seen{commit, err}
	}()
	return result
}

func testWatchWaits(t *testing.T, s store.Store) {
	at := apply(t, s, put("a", `1`))
	result := watch(t.Context(), s, "", at)
	next := apply(t, s, put("b", `2`))
	got := <-result
	if want := fmt.Sprintf("%d: b=2@%d", next, next); got.err != nil || describe(got.commit) != want {
		t.Errorf("got %s, %v, want %s", describe(got.commit), got.err, want)
	}
}

func testWatchPrefix(t *testing.T, s store.Store) {
	at := apply(t, s, put("a/1", `1`), put("b/1", `1`))
	result := watch(t.Context(), s, "a/", at)
	apply(t, s, put("b/2", `1`))
	apply(t, s, put("a", `1`))
	_, err := s.Apply(t.Context(), when(put("a/2", `1`), store.At(99)))
	wantKind(t, err, fault.Conflict)
	next := apply(t, s, put("b/1", `2`), del("a/1"), put("a/3", `3`), del("a/never"))
	want := fmt.Sprintf("%d: a/1=@%d(deleted) a/3=3@%d", next, next, next)
	if got := <-result; got.err != nil || describe(got.commit) != want {
		t.Errorf("got %s, %v, want %s", describe(got.commit), got.err, want)
	}
}

// testWatchCompacted: a revision that the store never had cannot be continued from. Whether an old one can is up to the engine, but
// it must say so rather than skip.
func testWatchCompacted(t *testing.T, s store.Store) {
	at := apply(t, s, put("a", `1`))
	if _, err := s.Watch(t.Context(), "", at+1000); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watching from a revision of the future: got error %v, want ErrCompacted", err)
	}
	if c, err := s.Watch(t.Context(), "", 0); err == nil && c.Revision != at || err != nil && !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watching from the start: %s, %v", describe(c), err)
	}
}

func testWatchOwnership(t *testing.T, s store.Store) {
	_, before, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(`1`)
	apply(t, s, store.Op{Key: "a", Value: value})
	value[0] = 'X'
	for range 2 {
		got, err := s.Watch(t.Context(), "", before)
		if err != nil || len(got.Changes) != 1 || string(got.Changes[0].Value) != `1` {
			t.Fatalf("got %s, %v", describe(got), err)
		}
		got.Changes[0].Value[0] = 'Y'
		got.Changes[0].Key = "mine"
	}
}

func testWatchCancelled(t *testing.T, s store.Store) {
	at := apply(t, s, put("a", `1`))
	ctx, cancel := context.WithCancel(t.Context())
	result := watch(ctx, s, "", at)
	cancel()
	if got := <-result; !errors.Is(got.err, context.Canceled) {
		t.Errorf("got %v, want the context's error", got.err)
	}
}

func testCloseWakes(t *testing.T, s store.Store) {
	at := apply(t, s, put("a", `1`))
	results := []<-chan seen{watch(t.Context(), s, "", at), watch(t.Context(), s, "none", at)}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		wantKind(t, (<-result).err, fault.Unavailable)
	}
}
