package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

const (
	concurrentWriters = 8
	concurrentCommits = 40
)

// testListJoinsWatch: several readers follow a store by list and watch while it is written, and all end with what it has.
func testListJoinsWatch(t *testing.T, s store.Store) {
	var writers, readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() { follow(t, s, r) })
	}
	for w := range concurrentWriters {
		writers.Go(func() {
			for i := range concurrentCommits {
				key := fmt.Sprintf("k/%d", (w*7+i)%20)
				op := put(key, strconv.Itoa(w*1000+i))
				if i%5 == 4 {
					op = del(key)
				}
				if _, err := s.Apply(t.Context(), op, put(fmt.Sprintf("w/%d", w), strconv.Itoa(i))); err != nil {
					t.Errorf("Apply: %v", err)
				}
			}
		})
	}
	writers.Wait()
	if _, err := s.Apply(t.Context(), put("end", `true`)); err != nil {
		t.Error(err)
		s.Close()
	}
	readers.Wait()
}

// follow lists, watches until the key "end" appears, and compares what it has then with a list of the same revision.
func follow(t *testing.T, s store.Store, reader int) {
	have := map[string]string{}
	records, revision, err := s.List(t.Context(), "")
	if err != nil {
		t.Error(err)
		return
	}
	for _, r := range records {
		have[r.Key] = string(r.Value)
	}
	for have["end"] == "" {
		commit, err := s.Watch(t.Context(), "", revision)
		if err != nil {
			t.Errorf("reader %d: %v", reader, err)
			return
		}
		if commit.Revision != revision+1 {
			t.Errorf("reader %d: revision %d came after %d", reader, commit.Revision, revision)
		}
		revision = commit.Revision
		for _, c := range commit.Changes {
			if have[c.Key] = string(c.Value); c.Deleted {
				delete(have, c.Key)
			}
		}
	}
	records, at, err := s.List(t.Context(), "")
	if err != nil || at != revision || len(records) != len(have) {
		t.Errorf("reader %d: %d records at %d, followed to %d at %d, %v", reader, len(records), at, len(have), revision, err)
	}
	for _, r := range records {
		if have[r.Key] != string(r.Value) {
			t.Errorf("reader %d: %s = %q, followed to %q", reader, r.Key, r.Value, have[r.Key])
		}
	}
}

// testCounters: read, add one, write under the precondition that nobody was faster. No addition gets lost, and each commit has a
// revision of its own.
func testCounters(t *testing.T, s store.Store) {
	apply(t, s, put("n", `0`))
	var mu sync.Mutex
	revisions := map[store.Revision]bool{}
	var wg sync.WaitGroup
	for range concurrentWriters {
		wg.Go(func() {
			for range concurrentCommits {
				revision, err := increment(t.Context(), s, "n")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if revisions[revision] {
					t.Errorf("revision %d was given twice", revision)
				}
				revisions[revision] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if r, err := s.Get(t.Context(), "n"); err != nil || string(r.Value) != strconv.Itoa(concurrentWriters*concurrentCommits) {
		t.Errorf("n = %s, %v, want %d", r.Value, err, concurrentWriters*concurrentCommits)
	}
}

func increment(ctx context.Context, s store.Store, key string) (store.Revision, error) {
	for {
		r, err := s.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			return 0, err
		}
		revision, err := s.Apply(ctx, when(put(key, strconv.Itoa(n+1)), store.At(r.Revision)))
		if !fault.Is(err, fault.Conflict) {
			return revision, err
		}
	}
}

// testConcurrentFailures: commits that fail neither take others down nor use up a revision.
func testConcurrentFailures(t *testing.T, s store.Store) {
	apply(t, s, put("taken", `1`))
	var wg sync.WaitGroup
	for w := range concurrentWriters {
		wg.Go(func() {
			for i := range concurrentCommits {
				key := fmt.Sprintf("%d/%d", w, i)
				if w%2 == 0 {
					_, err := s.Apply(t.Context(), put(key, `1`), when(put("taken", `2`), store.Absent()))
					wantKind(t, err, fault.Conflict)
					continue
				}
				if _, err := s.Apply(t.Context(), put(key, `1`)); err != nil {
					t.Errorf("Apply: %v", err)
				}
			}
		})
	}
	wg.Wait()
	records, revision, err := s.List(t.Context(), "")
	const want = concurrentWriters/2*concurrentCommits + 1
	if err != nil || len(records) != want || revision != want {
		t.Errorf("%d records at revision %d, %v, want %d and %d", len(records), revision, err, want, want)
	}
}

// testConcurrentCancelled: a cancelled commit happened whole or not at all, and others go on.
func testConcurrentCancelled(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for w := range concurrentWriters {
		wg.Go(func() {
			for i := range concurrentCommits {
				ctx, cancel := context.WithCancel(t.Context())
				if w%2 == 0 {
					go cancel()
				}
				key := fmt.Sprintf("%d/%d", w, i)
				_, err := s.Apply(ctx, put(key, `1`), put(key+"/twin", `1`))
				cancel()
				if err != nil && (w%2 != 0 || !errors.Is(err, context.Canceled)) {
					t.Errorf("Apply: %v", err)
				}
				if _, getErr := s.Get(t.Context(), key); err == nil && getErr != nil {
					t.Errorf("%s was applied but is not there: %v", key, getErr)
				}
			}
		})
	}
	wg.Wait()
	records, _, err := s.List(t.Context(), "")
	if err != nil || len(records)%2 != 0 {
		t.Errorf("%d records, %v: half a commit", len(records), err)
	}
}
