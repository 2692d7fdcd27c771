// Package boltstore keeps a store in one file, by bbolt.
//
// Concurrent commits share one transaction of the file and so one fsync, while each keeps its own revision, atomicity and error. The
// changes that watchers ask for come from a bounded history in memory. A process has the file to itself.
package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Bounds and defaults.
const (
	DefaultLockTimeout = time.Second
	DefaultHistory     = 4096     // commits kept for watchers
	MaxHistoryBytes    = 16 << 20 // of keys and values kept for watchers
	MaxBatch           = 1024     // Apply calls that share one transaction
	MaxBatchBytes      = 16 << 20 // of keys and values that share one transaction; a single call may be larger
	fileMode           = 0o600    // leases and configs are nobody else's business
	cancelCheck        = 1024     // records between two looks at the context
)

// Options of a store; the zero value works.
type Options struct {
	// Name says what the file is for, such as "config". It is written into a new file; a file of another name is refused. Empty: any.
	Name string
	// LockTimeout bounds the wait for another process to let go of the file. Zero means DefaultLockTimeout.
	LockTimeout time.Duration
	// History is the number of commits kept in memory for watchers. Zero means DefaultHistory, negative means none.
	History int

	layout *layout // nil means the current one; tests have others
}

// Store is a [store.Store] in a file.
type Store struct {
	db      *bolt.DB
	history *history

	mu      sync.Mutex
	leading bool // one Apply call is committing for all
	queue   []*commit
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path and creates it, with mode 0600, where there is none; its directory must exist. Errors: Unavailable
// if another process has the file (the message names it), Invalid if it is no store, of another name or of a newer schema.
// A file of an older schema is migrated, with a backup of it beside.
func Open(path string, opts Options) (*Store, error) {
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	if opts.layout == nil {
		opts.layout = &current
	}
	_, statErr := os.Stat(path)
	db, err := openFile(path, opts.LockTimeout, false)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	revision, err := opts.layout.prepare(db, opts.Name)
	if err == nil && errors.Is(statErr, os.ErrNotExist) {
		err = syncDirectoryOf(path)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("opening store %s: %w", path, err)
	}
	return &Store{db: db, history: newHistory(revision, opts.History)}, nil
}

// openFile opens a bolt file, whose damage bolt may tell of by panicking or by touching memory that is not there.
func openFile(path string, timeout time.Duration, readOnly bool) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fault.New(fault.Invalid, "%s is damaged (%v): restore a backup", path, r)
		}
	}()
	if err := checkWhole(path); err != nil {
		return nil, err
	}
	db, err = bolt.Open(path, fileMode, &bolt.Options{
		Timeout:      timeout,
		ReadOnly:     readOnly,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		// NoFreelistSync would write a page less per commit, but then opening walks all pages in a goroutine of bolt's own,
		// where nobody can recover from the panic that a damaged page causes.
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fault.New(fault.Unavailable, "%s is in use by %s: stop it, or ask the running daemon's admin listener", path, holder(path))
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fault.New(fault.Invalid, "%s is not a store or is damaged: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return db, nil
}

// Close waits for reading and writing calls, wakes the waiting ones and releases the file.
func (s *Store) Close() error {
	s.history.close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing store: %w", err)
	}
	return nil
}

// view runs fn in a read transaction. It is not nested: a nested one could wait for itself when the file grows.
func (s *Store) view(ctx context.Context, fn func(tx *bolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return translate(s.db.View(fn))
}

// translate gives bolt's errors their kind.
func translate(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return closed()
	}
	return err
}

func closed() error { return fault.New(fault.Unavailable, "the store is closed") }

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	var record store.Record
	err := s.view(ctx, func(tx *bolt.Tx) error {
		data := tx.Bucket(recordBucket).Get([]byte(key))
		if data == nil {
			return fault.New(fault.NotFound, "there is no record %q", key)
		}
		var err error
		record, err = decode([]byte(key), data)
		return err
	})
	return record, err
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix string) ([]store.Record, store.Revision, error) {
	var records []store.Record
	var revision store.Revision
	err := s.view(ctx, func(tx *bolt.Tx) error {
		revision = readRevision(tx)
		cursor := tx.Bucket(recordBucket).Cursor()
		for k, v := cursor.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = cursor.Next() {
			if len(records)%cancelCheck == cancelCheck-1 && ctx.Err() != nil {
				return ctx.Err()
			}
			record, err := decode(k, v)
			if err != nil {
				return err
			}
			records = append(records, record)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return records, revision, nil
}

// decode copies a record out of the file's memory, which is only valid within the transaction.
func decode(key, data []byte) (store.Record, error) {
	if len(data) < revisionSize {
		return store.Record{}, fmt.Errorf("record %q is damaged: %d bytes", key, len(data))
	}
	return store.Record{
		Key:      string(key),
		Value:    append(make([]byte, 0, len(data)-revisionSize), data[revisionSize:]...),
		Revision: store.Revision(binary.BigEndian.Uint64(data)),
	}, nil
}

// encode returns what is stored for a value: its revision, then the value.
func encode(revision store.Revision, value []byte) []byte {
	data := make([]byte, revisionSize, revisionSize+len(value))
	binary.BigEndian.PutUint64(data, uint64(revision))
	return append(data, value...)
}

func readRevision(tx *bolt.Tx) store.Revision {
	data := tx.Bucket(metaBucket).Get(revisionKey)
	if len(data) != revisionSize {
		return 0
	}
	return store.Revision(binary.BigEndian.Uint64(data))
}
