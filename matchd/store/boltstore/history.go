package boltstore

import (
	"context"
	"slices"
	"strings"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/store"
)

// history holds the latest commits for watchers. Revisions are consecutive, so a commit is found by its distance from the oldest.
type history struct {
	capacity int // commits

	mu      sync.Mutex
	commits []store.Commit // oldest first
	bytes   int
	last    store.Revision // published; the revision of the file may be ahead for a moment
	changed chan struct{}  // closed when something is published, and then replaced
	closed  bool
}

func newHistory(last store.Revision, capacity int) *history {
	switch {
	case capacity == 0:
		capacity = DefaultHistory
	case capacity < 0:
		capacity = 0
	}
	return &history{capacity: capacity, last: last, changed: make(chan struct{})}
}

// publish adds the successful commits of a batch, which are durable and visible by now.
func (h *history) publish(batch []*commit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range batch {
		if c.err != nil {
			continue
		}
		h.last = c.revision
		h.commits = append(h.commits, store.Commit{Revision: c.revision, Changes: c.changes})
		h.bytes += sizeOfChanges(c.changes)
	}
	h.trimLocked()
	if !h.closed {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

func (h *history) trimLocked() {
	n := 0
	for n < len(h.commits) && (len(h.commits)-n > h.capacity || h.bytes > MaxHistoryBytes) {
		h.bytes -= sizeOfChanges(h.commits[n].Changes)
		h.commits[n] = store.Commit{} // lets go of the values before the slice moves
		n++
	}
	h.commits = h.commits[n:]
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.changed)
	}
}

// next is what a watcher finds: a commit, an error, or a position to go on from when changed is closed.
type next struct {
	commit  store.Commit // Changes is nil if nothing was found
	after   store.Revision
	ahead   bool // the watcher's revision was not published yet
	changed <-chan struct{}
}

func (h *history) find(prefix string, after store.Revision) (next, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return next{}, closed()
	}
	if after > h.last {
		return next{after: after, ahead: true, changed: h.changed}, nil
	}
	oldest := h.last + 1 - store.Revision(len(h.commits))
	if after+1 < oldest {
		return next{}, store.ErrCompacted
	}
	for _, c := range h.commits[after+1-oldest:] {
		if changes := under(prefix, c.Changes); changes != nil {
			return next{commit: store.Commit{Revision: c.Revision, Changes: changes}}, nil
		}
	}
	return next{after: h.last, changed: h.changed}, nil
}

// under copies the changes of keys that start with prefix; nil if there are none.
func under(prefix string, changes []store.Change) []store.Change {
	var found []store.Change
	for _, c := range changes {
		if strings.HasPrefix(c.Key, prefix) {
			c.Value = slices.Clone(c.Value)
			found = append(found, c)
		}
	}
	return found
}

// Watch implements [store.Store]. A watcher that falls behind by more than the history gets ErrCompacted, as does one from before
// the file was opened.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Revision) (store.Commit, error) {
	for {
		if err := ctx.Err(); err != nil {
			return store.Commit{}, err
		}
		found, err := s.history.find(prefix, after)
		if err != nil {
			return store.Commit{}, err
		}
		if found.commit.Changes != nil {
			return found.commit, nil
		}
		if found.ahead {
			// Durable but not yet published is a matter of moments. A revision that the file does not have either is from
			// another life of it, before a restored backup.
			if revision, err := s.revision(ctx); err != nil {
				return store.Commit{}, err
			} else if after > revision {
				return store.Commit{}, store.ErrCompacted
			}
		}
		after = found.after
		select {
		case <-found.changed:
		case <-ctx.Done():
		}
	}
}

func (s *Store) revision(ctx context.Context) (revision store.Revision, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		revision = readRevision(tx)
		return nil
	})
	return revision, err
}

func sizeOfChanges(changes []store.Change) int {
	size := 0
	for i := range changes {
		size += len(changes[i].Key) + len(changes[i].Value)
	}
	return size
}
