package change

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/store"
)

// step is one op with what is there.
type step struct {
	ref    catalog.Ref
	put    *catalog.Object // nil: delete
	before *catalog.Item   // nil: not there, or left out
	meta   catalog.Meta    // of what is there
	there  bool
	action Action
	file   string // that the object was written to
}

// plan is a change seen from one snapshot.
type plan struct {
	change   *Change
	snapshot *catalog.Snapshot
	steps    []step
	changed  []*step               // those that change something
	after    map[catalog.Ref]*step // the same by name
	groups   map[string]bool       // whose machines the change concerns, by id
	warnings []Problem
}

// check looks at a change by itself.
func check(c *Change) error {
	if len(c.Ops) > MaxOps {
		return fault.New(fault.Invalid, "%d objects, at most %d can be changed at once", len(c.Ops), MaxOps)
	}
	var problems []Problem
	seen := make(map[catalog.Ref]bool, len(c.Ops))
	for i := range c.Ops {
		op := &c.Ops[i]
		ref := op.ref()
		if _, known := catalog.ParseKey(ref.Key()); !known {
			problems = append(problems, Problem{Field: fmt.Sprintf("changes[%d]", i), What: "it names no object"})
			continue
		}
		if seen[ref] {
			problems = append(problems, Problem{Ref: ref, What: "it occurs twice in one change"})
		}
		seen[ref] = true
		if op.Put != nil {
			problems = append(problems, fields(ref, validate(op.Put, c.Lenient))...)
		} else if err := store.CheckKey(ref.Key()); err != nil {
			problems = append(problems, Problem{Ref: catalog.Ref{Kind: ref.Kind}, Field: "id", What: err.Error()})
		}
	}
	return invalid(problems)
}

func (o *Op) ref() catalog.Ref {
	if o.Put != nil {
		return o.Put.Ref()
	}
	return o.Delete
}

// validate looks at an object by itself; lenient forgives what matchbox never looked at.
func validate(o *catalog.Object, lenient bool) error {
	switch {
	case lenient && o.Group != nil:
		if err := groups.ValidID(o.Group.ID); err != nil {
			return fmt.Errorf("id: %w", err)
		}
		_, err := o.Group.Selector.Normalized()
		return err
	case lenient && o.Profile != nil:
		if err := groups.ValidID(o.Profile.ID); err != nil {
			return fmt.Errorf("id: %w", err)
		}
		return nil
	}
	return o.Validate()
}

// examine takes a change through all gates, as of what is served now.
func (a *Applier) examine(ctx context.Context, c *Change) (*plan, error) {
	snapshot, err := a.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{change: c, snapshot: snapshot, steps: make([]step, len(c.Ops)), after: make(map[catalog.Ref]*step, len(c.Ops))}
	reservations := false
	for i := range c.Ops {
		s := &p.steps[i]
		*s = step{ref: c.Ops[i].ref(), put: c.Ops[i].Put}
		s.before, _ = snapshot.Get(s.ref)
		s.meta, s.there = snapshot.Meta(s.ref)
		if err := a.gate(p, s, c.Ops[i].If); err != nil {
			return nil, err
		}
		if s.action == Unchanged {
			continue
		}
		p.changed = append(p.changed, s)
		p.after[s.ref] = s
		reservations = reservations || s.ref.Kind == catalog.Reservation
	}
	if reservations {
		if err := a.checkReservations(p); err != nil {
			return nil, err
		}
	}
	return p, a.rehearse(ctx, p)
}

// gate lets an op pass that its author may make and that meets its precondition, and finds out what it does.
func (a *Applier) gate(p *plan, s *step, want *store.Revision) error {
	if allow := p.change.Allow; allow != nil {
		var before *catalog.Object
		if s.before != nil {
			before = &s.before.Object
		}
		if err := allow(s.ref, before, s.put); err != nil {
			return err
		}
	}
	if want != nil && (*want != s.meta.Revision || (*want == 0) == s.there) {
		return fault.Wrap(fault.Conflict, &Stale{s.ref, *want, s.meta.Revision})
	}
	if err := s.act(); err != nil {
		return err
	}
	if s.action != Unchanged && s.meta.Owner != "" && (a.opt.Directory == nil || s.meta.Revision == 0) {
		return fault.Wrap(fault.Conflict, &Owned{s.ref, s.meta.Owner})
	}
	return nil
}

// act finds out what the step does.
func (s *step) act() error {
	switch {
	case s.put == nil && s.there:
		s.action = Deleted
	case s.put == nil:
		s.action = Unchanged
	case !s.there:
		s.action = Created
	case s.before == nil:
		s.action = Changed
	default:
		same, err := equal(s.put, &s.before.Object)
		if err != nil {
			return err
		}
		s.action = Changed
		if same {
			s.action = Unchanged
		}
	}
	return nil
}

func equal(a, b *catalog.Object) (bool, error) {
	one, err := catalog.Encode(a, catalog.Meta{})
	if err != nil {
		return false, err
	}
	other, err := catalog.Encode(b, catalog.Meta{})
	return bytes.Equal(one, other), err
}

// checkReservations asks whether the addresses can be kept for their clients.
func (a *Applier) checkReservations(p *plan) error {
	var list []lease.Reservation
	for _, item := range p.snapshot.List(catalog.Reservation) {
		if p.after[item.Ref()] == nil && item.Owner == "" {
			list = append(list, *item.Reservation)
		}
	}
	added := false
	for _, s := range p.changed {
		if s.put != nil && s.put.Reservation != nil {
			list = append(list, *s.put.Reservation)
			added = true
		}
	}
	switch {
	case !added:
		return nil
	case a.opt.Addresses == nil:
		return fault.New(fault.Conflict, "no address can be reserved: this server gives none, since no subnet with mode server is configured")
	}
	return a.opt.Addresses.CheckReservations(list)
}

// get returns an object as it would be after the change.
func (p *plan) get(ref catalog.Ref) (*catalog.Item, bool) {
	if s := p.after[ref]; s != nil {
		return s.item(), s.put != nil
	}
	return p.snapshot.Get(ref)
}

// item is what the step puts, as if it were there; nil for a deletion.
func (s *step) item() *catalog.Item {
	if s.put == nil {
		return nil
	}
	return &catalog.Item{Object: *s.put}
}

// candidate returns the snapshot that the change would lead to.
func (p *plan) candidate() *catalog.Snapshot {
	var put []*catalog.Item
	var deleted []catalog.Ref
	for _, s := range p.changed {
		if s.put == nil {
			deleted = append(deleted, s.ref)
		} else {
			put = append(put, s.item())
		}
	}
	return p.snapshot.With(put, deleted)
}

// write makes files of what changes; what the files say is what is stored.
func (p *plan) write(to Directory) error {
	var put catalog.Objects
	var deleted []string
	for _, s := range p.changed {
		switch {
		case s.ref.Kind == catalog.Machine || s.ref.Kind == catalog.Reservation:
		case s.put == nil:
			deleted = append(deleted, s.ref.Key())
		default:
			put.Add(&catalog.Item{Object: *s.put, Meta: s.meta})
		}
	}
	written, err := to.Write(put, deleted)
	if err != nil {
		return err
	}
	take := func(object catalog.Object, file string) {
		if s := p.after[object.Ref()]; s != nil {
			s.put, s.file = &object, file
		}
	}
	for i := range written.Groups {
		take(catalog.Object{Group: &written.Groups[i].Value}, written.Groups[i].File)
	}
	for i := range written.Profiles {
		take(catalog.Object{Profile: &written.Profiles[i].Value}, written.Profiles[i].File)
	}
	for i := range written.Templates {
		take(catalog.Object{Template: &written.Templates[i].Value}, written.Templates[i].File)
	}
	return nil
}

// ops returns what is to be written. Every op demands that its object is still as it was looked at.
func (p *plan) ops(now time.Time) ([]store.Op, error) {
	ops := make([]store.Op, 0, len(p.changed)+reservedOps)
	for _, s := range p.changed {
		op := store.Op{Key: s.ref.Key(), Delete: s.put == nil, If: store.Absent()}
		if s.there {
			op.If = store.At(s.meta.Revision)
		}
		if s.put != nil {
			s.meta = catalog.Meta{Owner: s.file, UpdatedBy: p.change.Author, UpdatedAt: now.UTC().Truncate(time.Millisecond)}
			var err error
			if op.Value, err = catalog.Encode(s.put, s.meta); err != nil {
				return nil, err
			}
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func (p *plan) written() Written {
	w := Written{Author: p.change.Author}
	for _, s := range p.changed {
		w.Refs = append(w.Refs, s.ref)
	}
	if len(p.changed) == 1 {
		w.Before = p.changed[0].meta.Revision
	}
	return w
}

// result tells what the plan does.
func (p *plan) result(revision store.Revision) *Result {
	r := &Result{Revision: revision, Objects: make([]ObjectResult, len(p.steps)), Warnings: p.warnings}
	for i := range p.steps {
		s := &p.steps[i]
		r.Objects[i] = ObjectResult{Ref: s.ref, Action: s.action, Item: s.before}
		switch {
		case s.action == Deleted:
			r.Objects[i].Item = nil
		case s.action != Unchanged:
			r.Objects[i].Item = s.item()
		}
	}
	return r
}

// stamp completes the result of a change that was made.
func (p *plan) stamp(r *Result, revision store.Revision) {
	r.Revision = revision
	for i := range p.steps {
		s := &p.steps[i]
		if s.put != nil && s.action != Unchanged {
			s.meta.Revision = revision
			r.Objects[i].Item = &catalog.Item{Object: *s.put, Meta: s.meta}
		}
	}
}
