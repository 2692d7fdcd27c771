package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Query selects records. The zero value selects the latest ones.
type Query struct {
	Before   uint64 // only records with a lower number; 0: all
	Limit    int    // at most so many
	Identity string // empty: any
	Object   Object // empty: any; an empty ID: any of the kind
	Since    time.Time
}

func (q *Query) wants(r *Record) bool {
	if q.Before != 0 && r.Seq >= q.Before || q.Identity != "" && r.Identity != q.Identity || r.Time.Before(q.Since) {
		return false
	}
	if q.Object == (Object{}) {
		return true
	}
	for _, o := range r.Objects {
		if o.Kind == q.Object.Kind && (q.Object.ID == "" || o.ID == q.Object.ID) {
			return true
		}
	}
	return false
}

// List returns the records that a query selects, the latest first, and whether there are more. A page after this one is selected by the lowest number of
// this one. The error is of kind Invalid for a query without a limit, or the stores'.
func (l *Log) List(ctx context.Context, q Query) (records []Record, more bool, err error) {
	if q.Limit <= 0 {
		return nil, false, fault.New(fault.Invalid, "a limit above zero is needed")
	}
	for _, s := range []store.Store{l.written, l.refused} {
		found, err := list(ctx, s)
		if err != nil {
			return nil, false, fmt.Errorf("listing the audit log: %w", err)
		}
		for i := range found {
			if q.wants(&found[i].Record) {
				records = append(records, found[i].Record)
			}
		}
	}
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(b.Seq, a.Seq) })
	if len(records) > q.Limit {
		return records[:q.Limit:q.Limit], true, nil
	}
	return records, false, nil
}
