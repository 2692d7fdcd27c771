package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// commit is one Apply call. The fields above turn are fixed; revision, changes and err are set by the leader before turn is sent to.
type commit struct {
	ops  []store.Op
	size int
	turn chan bool // true: lead now; false: your result is there

	taken     bool // guarded by Store.mu: can no longer be cancelled
	cancelled bool // guarded by Store.mu

	revision store.Revision
	changes  []store.Change
	err      error
}

// errUnchanged rolls back a transaction in which no commit succeeded.
var errUnchanged = errors.New("nothing to commit")

// Apply implements [store.Store]. Calls that arrive while another is being written share the next transaction. A call that returns
// the context's error has changed nothing.
//
// There is no goroutine of the store's own: the first caller that finds nobody writing leads. It writes what has queued up, itself
// included, and then lets the first one in the queue lead.
func (s *Store) Apply(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c := &commit{ops: ops, size: sizeOf(ops), turn: make(chan bool, 1)}
	s.mu.Lock()
	s.queue = append(s.queue, c)
	lead := !s.leading
	if lead {
		s.leading, c.taken = true, true
	}
	s.mu.Unlock()
	if !lead {
		var err error
		if lead, err = s.await(ctx, c); err != nil {
			return 0, err
		}
	}
	if lead {
		s.lead(c)
	}
	return c.revision, c.err
}

// await waits for the commit's turn to lead or for its result; until a leader has taken it, it can be cancelled.
func (s *Store) await(ctx context.Context, c *commit) (lead bool, err error) {
	select {
	case lead = <-c.turn:
		return lead, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	c.cancelled = !c.taken
	s.mu.Unlock()
	if c.cancelled {
		return false, ctx.Err()
	}
	return <-c.turn, nil
}

// lead writes the queue's head, which is own, together with what fits behind it.
func (s *Store) lead(own *commit) {
	batch := s.takeBatch()
	s.write(batch)
	for _, c := range batch {
		if c != own {
			c.turn <- false
		}
	}
	runtime.Gosched() // those callers may have something to add to the next transaction already
	s.mu.Lock()
	next := s.nextLocked()
	s.mu.Unlock()
	if next != nil {
		next.turn <- true
	}
}

func (s *Store) takeBatch() []*commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []*commit
	size, n := 0, 0
	for ; n < len(s.queue) && len(batch) < MaxBatch; n++ {
		c := s.queue[n]
		if c.cancelled {
			continue
		}
		if len(batch) > 0 && size+c.size > MaxBatchBytes {
			break
		}
		c.taken = true
		size += c.size
		batch = append(batch, c)
	}
	s.queue = append(make([]*commit, 0, len(s.queue)-n), s.queue[n:]...)
	return batch
}

// nextLocked returns the commit that leads next, nil if nobody waits.
func (s *Store) nextLocked() *commit {
	for n, c := range s.queue {
		if !c.cancelled {
			s.queue = s.queue[n:]
			c.taken = true
			return c
		}
	}
	s.queue, s.leading = nil, false
	return nil
}

// write makes the batch durable in one transaction and tells the watchers. When the file fails, all of the batch fails.
func (s *Store) write(batch []*commit) {
	err := s.update(func(tx *bolt.Tx) error {
		revision := readRevision(tx)
		before := revision
		records := tx.Bucket(recordBucket)
		for _, c := range batch {
			if c.err = c.check(records); c.err != nil {
				continue
			}
			revision++
			c.revision = revision
			if err := c.put(records); err != nil {
				return err
			}
		}
		if revision == before {
			return errUnchanged
		}
		return tx.Bucket(metaBucket).Put(revisionKey, binary.BigEndian.AppendUint64(nil, uint64(revision)))
	})
	if errors.Is(err, errUnchanged) {
		return
	}
	if err != nil {
		err = fmt.Errorf("committing: %w", translate(err))
		for _, c := range batch {
			if c.err == nil {
				c.revision, c.err = 0, err
			}
		}
		return
	}
	s.history.publish(batch)
}

// update runs a write transaction. A panic of bolt (a damaged page) becomes an error: those who wait for this leader must not wait for ever.
func (s *Store) update(fn func(tx *bolt.Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	return s.db.Update(fn)
}

// check tests every precondition against the file as the commits before this one leave it.
func (c *commit) check(records *bolt.Bucket) error {
	for i := range c.ops {
		op := &c.ops[i]
		if op.If == store.Any() {
			continue
		}
		var at store.Revision
		if data := records.Get([]byte(op.Key)); len(data) >= revisionSize {
			at = store.Revision(binary.BigEndian.Uint64(data))
		}
		if !op.If.Holds(at) {
			return conflict(op.Key, at)
		}
	}
	return nil
}

func conflict(key string, at store.Revision) error {
	if at == 0 {
		return fault.New(fault.Conflict, "record %q does not exist", key)
	}
	return fault.New(fault.Conflict, "record %q exists, last written by revision %d", key, at)
}

// put writes all operations and remembers what they changed: deleting what is not there changes nothing.
func (c *commit) put(records *bolt.Bucket) error {
	c.changes = make([]store.Change, 0, len(c.ops))
	for i := range c.ops {
		op := &c.ops[i]
		key := []byte(op.Key)
		change := store.Change{Record: store.Record{Key: op.Key, Revision: c.revision}, Deleted: op.Delete}
		if op.Delete {
			if records.Get(key) == nil {
				continue
			}
			if err := records.Delete(key); err != nil {
				return fmt.Errorf("deleting %q: %w", op.Key, err)
			}
		} else {
			data := encode(c.revision, op.Value)
			if err := records.Put(key, data); err != nil {
				return fmt.Errorf("writing %q: %w", op.Key, err)
			}
			change.Value = data[revisionSize:] // a copy of the caller's value, which bolt copied once more
		}
		c.changes = append(c.changes, change)
	}
	return nil
}

func sizeOf(ops []store.Op) int {
	size := 0
	for i := range ops {
		size += len(ops[i].Key) + len(ops[i].Value)
	}
	return size
}
