// Package change makes changes of what is served, all or nothing.
//
// An [Applier] takes a change through every gate in order: each object by itself, who owns it, the revision that its author saw, what it would break. Only
// then is it written, as one revision of the store, together with the record of who did it; and only when the new revision is served does the call return, so
// that who wrote reads what was written. A change that would break a machine is refused with everything that is wrong with it. A dry run goes through the same
// gates and tells what the change would do, down to each machine's script and config.
package change

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/trial"
)

// Bounds of one change.
const (
	MaxOps      = 100_000 // objects
	MaxCompared = 1000    // machines that are compared before and after
	MaxProblems = 200     // that an error or a result lists

	reservedOps = 1   // the audit record
	maxTries    = 10  // with somebody else writing in between
	maxRaces    = 2   // that a change loses before it is made with nobody beside it
	maxSharing  = 256 // changes that are made at the same time

	servingTimeout = time.Minute // from written to served
)

// Op puts or deletes one object.
type Op struct {
	Put    *catalog.Object // nil: delete
	Delete catalog.Ref     // of a deletion
	// If is the revision that the object must be of, 0 for one that must not exist. nil: any. Deleting what is not there is no error without it.
	If *store.Revision
}

// Change is what somebody wants to be made so.
type Change struct {
	Ops []Op
	// DryRun only tells what would happen.
	DryRun bool
	// CompareMachines is the number of machines whose scripts and configs are compared before and after, at most [MaxCompared]. 0: none are.
	CompareMachines int
	// Lenient refuses only what could never work; what would break is a warning. matchbox's clients are used to it.
	Lenient bool
	// Author is who wants it, for the objects' meta.
	Author string
	// Allow is asked for every object with what is there and what shall be, either of which may be nil; its error ends the change. nil: anything is
	// allowed.
	Allow func(ref catalog.Ref, before, after *catalog.Object) error
}

// Action is what becomes of one object.
type Action int

// Actions.
const (
	Created Action = iota + 1
	Changed
	Unchanged
	Deleted
)

// ObjectResult is what became of one object, or would.
type ObjectResult struct {
	Ref    catalog.Ref
	Action Action
	Item   *catalog.Item // as it is now; nil if it is gone
}

// Result is what a change did, or would do.
type Result struct {
	Revision store.Revision // that has the change; of a dry run, that it was compared to
	Objects  []ObjectResult // by op
	Machines []Compared     // machines that get something else than before
	Omitted  int            // machines that were not compared for want of room
	Warnings []Problem
}

// Written is what the audit log is told of a change that is made.
type Written struct {
	Refs   []catalog.Ref  // objects that are created, changed or deleted
	Before store.Revision // of the object, where it is one and was there
	Author string
}

// Catalog is what is served.
type Catalog interface {
	Loaded(ctx context.Context) (*catalog.Snapshot, error)
	WaitFor(ctx context.Context, revision store.Revision) (*catalog.Snapshot, error)
}

// Store takes the commits; see [store.Store].
type Store interface {
	Apply(ctx context.Context, ops ...store.Op) (store.Revision, error)
}

// Addresses judges reservations; *[lease.Pool] is one.
type Addresses interface {
	// CheckReservations says why these could not be the reservations of the API, all together. Kinds: Invalid, Conflict.
	CheckReservations(list []lease.Reservation) error
}

// Directory is a directory of files that follows what the API writes, as matchbox's does.
type Directory interface {
	// Lock keeps everybody else from reading the directory to apply it, and from writing.
	Lock() (unlock func())
	// Write makes files of objects and removes those of the keys deleted. It returns the objects as reading the files would give them, with their files.
	Write(put catalog.Objects, deleted []string) (catalog.Objects, error)
}

// Options are the parts of an [Applier].
type Options struct {
	Catalog Catalog
	Store   Store
	Planner *boot.Planner // nil: machines cannot be compared
	// Seen returns the machines that were seen, which are compared besides those that are known by name. nil: none.
	Seen func() []machine.Machine
	// Addresses judges reservations. nil: no address is given here, and none can be reserved.
	Addresses Addresses
	// Directory is written before the store. With one, files own nothing. nil: there is none.
	Directory Directory
	// Audit returns the record of a change, which becomes part of its commit. nil: there is none.
	Audit func(ctx context.Context, written Written) (store.Op, error)
	// Site says that a directory of files is served. Until it has been read for the first time, nothing else is accepted: an object alone would be taken for
	// all that there is.
	Site           bool
	RefuseOverlaps bool // see [trial.Options]
	Lenient        bool // documents are what matchbox would serve, see [trial.Options]
	Logger         *slog.Logger
	Now            func() time.Time // nil: time.Now
}

// Applier makes changes. It is safe for concurrent use: changes that nothing else depends on are made at the same time, others one by one.
type Applier struct {
	opt   Options
	cache *trial.Cache
	turns *semaphore.Weighted // a change that others depend on takes them all
}

// New returns an applier.
func New(opt Options) *Applier {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Applier{opt: opt, cache: trial.NewCache(), turns: semaphore.NewWeighted(maxSharing)}
}

// Apply makes a change, or tells what it would do. Errors: [*Invalid] lists everything that is wrong with it; [*Owned] names the file that owns an object;
// [*Stale] names the revision that an object has; Conflict and Unavailable for the rest that may change, and what Allow and the store say.
func (a *Applier) Apply(ctx context.Context, c Change) (*Result, error) {
	if err := check(&c); err != nil {
		return nil, err
	}
	if a.opt.Directory != nil && !c.DryRun {
		defer a.opt.Directory.Lock()()
	}
	for try := 1; ; try++ {
		result, err := a.try(ctx, &c, try > maxRaces)
		if err != errRaced {
			return result, err
		}
		if try == maxTries {
			return nil, fault.New(fault.Conflict, "others keep changing the same objects: try again")
		}
	}
}

// try makes the change unless somebody else changes one of its objects meanwhile, which is errRaced. Alone, no change of this applier can be that somebody:
// only a site's files are.
func (a *Applier) try(ctx context.Context, c *Change, alone bool) (*Result, error) {
	if !c.DryRun && !c.othersDepend() {
		turns := int64(1)
		if alone {
			turns = maxSharing
		}
		release, err := a.turn(ctx, turns)
		if err != nil {
			return nil, err
		}
		defer release()
		p, err := a.examine(ctx, c)
		if err != nil || len(p.changed) == 0 {
			return a.told(ctx, p, err)
		}
		return a.commit(ctx, p)
	}
	// What takes long, rendering for all who depend on it, is done before others are made to wait. What was rendered is remembered, so that looking again
	// costs little.
	p, err := a.examine(ctx, c)
	if err != nil || c.DryRun || len(p.changed) == 0 {
		return a.told(ctx, p, err)
	}
	release, err := a.turn(ctx, maxSharing)
	if err != nil {
		return nil, err
	}
	defer release()
	if p, err = a.examine(ctx, c); err != nil || len(p.changed) == 0 {
		return a.told(ctx, p, err)
	}
	return a.commit(ctx, p)
}

// othersDepend reports whether the change has something that other objects may name. Such changes are made one at a time, so that nobody can begin to name
// what is being deleted. Reservations are judged all together.
func (c *Change) othersDepend() bool {
	for i := range c.Ops {
		switch c.Ops[i].ref().Kind {
		case catalog.Profile, catalog.Template, catalog.Reservation:
			return true
		}
	}
	return false
}

// turn waits for so many turns.
func (a *Applier) turn(ctx context.Context, turns int64) (release func(), err error) {
	if err := a.turns.Acquire(ctx, turns); err != nil {
		return nil, fault.New(fault.Unavailable, "waiting for other changes: %w", err)
	}
	return func() { a.turns.Release(turns) }, nil
}

func (a *Applier) snapshot(ctx context.Context) (*catalog.Snapshot, error) {
	snapshot, err := a.opt.Catalog.Loaded(ctx)
	if err != nil {
		return nil, err
	}
	if snapshot.Revision == 0 && a.opt.Site {
		return nil, fault.New(fault.Unavailable, "the site has not been accepted yet, and machines wait for it: see /readyz on the admin listener for what is wrong with it")
	}
	return snapshot, nil
}

// told ends a change that is not made: a dry run, or one that changes nothing.
func (a *Applier) told(ctx context.Context, p *plan, err error) (*Result, error) {
	if err != nil {
		return nil, err
	}
	result := p.result(p.snapshot.Revision)
	if p.change.CompareMachines > 0 && len(p.changed) > 0 {
		err = a.compare(ctx, p, result)
	}
	return result, err
}

// commit writes the change and waits until it is served.
func (a *Applier) commit(ctx context.Context, p *plan) (*Result, error) {
	result := p.result(0)
	if p.change.CompareMachines > 0 {
		if err := a.compare(ctx, p, result); err != nil {
			return nil, err
		}
	}
	if a.opt.Directory != nil {
		if err := p.write(a.opt.Directory); err != nil {
			return nil, err
		}
	}
	written := p.written()
	ops, err := p.ops(a.opt.Now())
	if err != nil {
		return nil, err
	}
	if a.opt.Audit != nil {
		op, err := a.opt.Audit(ctx, written)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	revision, err := a.opt.Store.Apply(ctx, ops...)
	if fault.Is(err, fault.Conflict) {
		return nil, errRaced
	}
	if err != nil {
		return nil, err
	}
	a.log(ctx, &written, revision)
	// It is written. The next change must see it served, even if who wanted this one is gone.
	serving, cancel := context.WithTimeout(context.WithoutCancel(ctx), servingTimeout)
	defer cancel()
	if _, err := a.opt.Catalog.WaitFor(serving, revision); err != nil {
		return nil, err
	}
	p.stamp(result, revision)
	return result, nil
}

// log writes one line about a change that is made. The audit log is bounded; whoever wants to keep everything ships the log.
func (a *Applier) log(ctx context.Context, written *Written, revision store.Revision) {
	shown := min(len(written.Refs), audit.MaxObjects)
	names := make([]string, 0, shown)
	for _, ref := range written.Refs[:shown] {
		names = append(names, ref.Key())
	}
	call := audit.FromContext(ctx)
	a.opt.Logger.InfoContext(ctx, "objects changed", "revision", revision, "identity", call.Identity, "role", call.Role, "peer", call.Peer,
		"method", call.Method, "objects", names, "more", len(written.Refs)-shown)
}
