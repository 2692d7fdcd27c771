package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/matchd/matchd/matchd/fault"
)

// Table keeps values of one type as JSON under a common prefix of keys.
//
// Reading is lenient: a field that this version does not know is skipped, so that a downgrade still reads what it can. A record
// that cannot be decoded at all is reported beside the others and never hides them.
type Table[T any] struct {
	store  Store
	prefix string
}

// NewTable returns the table of all records whose keys start with prefix, such as "group/". The rest of a key is the row's id.
func NewTable[T any](s Store, prefix string) Table[T] {
	return Table[T]{store: s, prefix: prefix}
}

// Row is a decoded record.
type Row[T any] struct {
	ID       string
	Value    T
	Revision Revision // the commit that wrote it
}

// Problem is a record that could not be decoded. It is an error of kind Invalid.
type Problem struct {
	Key      string
	Revision Revision
	Err      error
}

// Error names the record and what is wrong with it.
func (p *Problem) Error() string { return fmt.Sprintf("decoding record %q: %v", p.Key, p.Err) }

// Unwrap returns the decoder's error with its kind.
func (p *Problem) Unwrap() error { return fault.Wrap(fault.Invalid, p.Err) }

// Listing is the content of a table at one revision.
type Listing[T any] struct {
	Rows     []Row[T] // sorted by id
	Problems []*Problem
	Revision Revision // watch after this one
}

// Key returns the key of the row with the given id.
func (t Table[T]) Key(id string) string { return t.prefix + id }

// Prefix returns what all keys of the table start with.
func (t Table[T]) Prefix() string { return t.prefix }

// ID returns the id of the row with the given key, and whether the key belongs to the table.
func (t Table[T]) ID(key string) (string, bool) { return strings.CutPrefix(key, t.prefix) }

// Decode returns the row of a record. The error is a [*Problem].
func (t Table[T]) Decode(r Record) (Row[T], error) {
	id, ok := t.ID(r.Key)
	if !ok {
		return Row[T]{}, &Problem{r.Key, r.Revision, fmt.Errorf("the key does not start with %q", t.prefix)}
	}
	row := Row[T]{ID: id, Revision: r.Revision}
	if bytes.Equal(bytes.TrimSpace(r.Value), []byte("null")) {
		return Row[T]{}, &Problem{r.Key, r.Revision, fmt.Errorf("the value is null")}
	}
	if err := json.Unmarshal(r.Value, &row.Value); err != nil {
		return Row[T]{}, &Problem{r.Key, r.Revision, err}
	}
	return row, nil
}

// Get returns the row with the given id, an error of kind NotFound, or a [*Problem].
func (t Table[T]) Get(ctx context.Context, id string) (Row[T], error) {
	r, err := t.store.Get(ctx, t.Key(id))
	if err != nil {
		return Row[T]{}, err
	}
	return t.Decode(r)
}

// List returns all rows, and apart from them what could not be decoded. The error is the store's.
func (t Table[T]) List(ctx context.Context) (Listing[T], error) {
	records, revision, err := t.store.List(ctx, t.prefix)
	if err != nil {
		return Listing[T]{}, fmt.Errorf("listing %q: %w", t.prefix, err)
	}
	listing := Listing[T]{Rows: make([]Row[T], 0, len(records)), Revision: revision}
	for _, r := range records {
		row, err := t.Decode(r)
		if err != nil {
			listing.Problems = append(listing.Problems, err.(*Problem))
			continue
		}
		listing.Rows = append(listing.Rows, row)
	}
	return listing, nil
}

// PutOp returns the operation that writes a row, to be applied together with others. A value that JSON cannot express is Invalid.
func (t Table[T]) PutOp(id string, value T, condition Precondition) (Op, error) {
	if id == "" {
		return Op{}, fault.New(fault.Invalid, "a record under %q needs an id", t.prefix)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return Op{}, fault.New(fault.Invalid, "encoding record %q: %w", t.Key(id), err)
	}
	return Op{Key: t.Key(id), Value: data, If: condition}, nil
}

// DeleteOp returns the operation that deletes a row.
func (t Table[T]) DeleteOp(id string, condition Precondition) Op {
	return Op{Key: t.Key(id), Delete: true, If: condition}
}

// Put writes one row in a commit of its own.
func (t Table[T]) Put(ctx context.Context, id string, value T, condition Precondition) (Revision, error) {
	op, err := t.PutOp(id, value, condition)
	if err != nil {
		return 0, err
	}
	return t.store.Apply(ctx, op)
}

// Delete deletes one row in a commit of its own.
func (t Table[T]) Delete(ctx context.Context, id string, condition Precondition) (Revision, error) {
	return t.store.Apply(ctx, t.DeleteOp(id, condition))
}
