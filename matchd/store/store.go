// Package store keeps small records durably and lets readers follow their changes.
//
// An engine implements [Store]; storetest holds the contract that every engine must pass. The contract is what an embedded
// file and a cluster have in common: no expiry, no callbacks inside a transaction, revisions that only grow.
package store

import (
	"context"
	"errors"
)

// Limits that every engine enforces with [fault.Invalid].
const (
	MaxKeySize   = 1024        // bytes of a key
	MaxValueSize = 1024 * 1024 // bytes of a value
	MaxOps       = 100_100     // operations of one Apply: 100,000 objects and what goes with them
)

// ErrCompacted is returned by [Store.Watch] when the changes after the given revision are no longer to be had:
// list again and watch from the revision of the list.
var ErrCompacted = errors.New("store: the changes since that revision are gone, list again")

// Revision numbers the commits of a store, from 1, growing by one with each commit. Zero is the empty store.
type Revision uint64

// Record is one key with its value.
type Record struct {
	Key      string
	Value    []byte
	Revision Revision // the commit that wrote this value
}

// Precondition is what must be true of a key for an [Op] to be applied.
type Precondition struct {
	absent bool
	at     Revision
}

// Any makes an operation unconditional; it is the zero value.
func Any() Precondition { return Precondition{} }

// Absent demands that the key does not exist.
func Absent() Precondition { return Precondition{absent: true} }

// At demands that the key exists and was last written by revision r (r > 0).
func At(r Revision) Precondition { return Precondition{at: r} }

// Holds reports whether the precondition is met by a key that was last written at current; zero says it does not exist.
func (p Precondition) Holds(current Revision) bool {
	switch {
	case p.absent:
		return current == 0
	case p.at != 0:
		return current == p.at
	}
	return true
}

// Op writes or deletes one key.
type Op struct {
	Key    string
	Value  []byte // ignored by a deletion
	Delete bool   // deleting what does not exist is not an error
	If     Precondition
}

// Commit is what one revision changed, in the order of its operations.
type Commit struct {
	Revision Revision
	Changes  []Change
}

// Change is the new state of one key.
type Change struct {
	Record
	Deleted bool // Value is nil
}

// Store is an ordered map of records with revisions. It is safe for concurrent use. A returned value belongs to the caller;
// a given value must not be changed until the call returns.
type Store interface {
	// Get returns the record of key, or an error of kind NotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List returns all records whose key starts with prefix, sorted by key, and the revision at which this list is true.
	List(ctx context.Context, prefix string) ([]Record, Revision, error)
	// Apply makes all operations in one commit, or none. It returns the revision of the commit once it is durable. A failed
	// precondition is an error of kind Conflict that names the key. No operations, or the same key twice, is Invalid.
	Apply(ctx context.Context, ops ...Op) (Revision, error)
	// Watch waits for and returns the first commit after the given revision that touches prefix, with only the changes
	// under prefix. Calling it again with the returned revision loses and repeats nothing. ErrCompacted says that the caller is too late.
	Watch(ctx context.Context, prefix string, after Revision) (Commit, error)
	// Close releases the store; waiting calls return. Using a closed store is an error of kind Unavailable.
	Close() error
}
