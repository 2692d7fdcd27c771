// Package catalog holds what is served now.
//
// A [Catalog] follows the config store and keeps one immutable [Snapshot] per revision: readers take the current one, never touch the
// store and never see half a change. Caches are fields of a snapshot and end with it, so nothing is ever invalidated. A record that
// cannot be decoded is left out, counted, logged and listed; it never takes its neighbours down.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// maxPending is the number of commits that are taken into one snapshot when they come faster than snapshots are built.
const maxPending = 1024

// retryDelay is how long a catalog waits after the store failed before it reads everything again.
const retryDelay = time.Second

// Options of a catalog; the zero value works.
type Options struct {
	Logger   *slog.Logger          // nil: slog.Default
	Registry prometheus.Registerer // nil: not counted anywhere

	RefuseOverlaps bool // configs in which two documents set one file's contents, unasked, are refused
	Lenient        bool // records that break rules which only a person cares for are served

	// Fixed are objects that no store holds, those of the configuration file. They are in every snapshot, whatever the store says.
	Fixed []Item
	// Follow is told of every snapshot before it is served, with the names of the objects that are new, changed or gone since the one before. Nil:
	// nobody is.
	Follow func(snapshot *Snapshot, changed []Ref)
}

// Catalog follows a store. Its methods are safe for concurrent use.
type Catalog struct {
	store   store.Store
	log     *slog.Logger
	metrics *metrics
	options Options
	fixed   map[Ref]string           // owners of Options.Fixed
	latest  atomic.Pointer[Snapshot] // never nil
	loaded  chan struct{}            // closed when the store has been read

	mu      sync.Mutex
	swapped chan struct{} // closed at the next swap
}

// New returns a catalog of the store; it has only the fixed objects until [Catalog.Run] has loaded it.
func New(s store.Store, options Options) *Catalog {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	c := &Catalog{
		store: s, log: options.Logger, metrics: newMetrics(options.Registry), options: options, fixed: map[Ref]string{},
		swapped: make(chan struct{}), loaded: make(chan struct{}),
	}
	d := newDelta(options.Lenient, nil)
	for i := range options.Fixed {
		item := &options.Fixed[i]
		d.put(item)
		c.fixed[item.Ref()] = item.Owner
	}
	start := empty()
	start.metrics, start.refuseOverlaps, start.lenient = c.metrics, options.RefuseOverlaps, options.Lenient
	start = start.next(d, 0)
	c.tell(start, d)
	c.latest.Store(start)
	return c
}

// Current returns the snapshot to answer machines from. It is nil until something has been loaded, and while the store is at revision zero:
// "nobody has said anything yet" must not be taken for "no machine is wanted".
func (c *Catalog) Current() *Snapshot {
	if snapshot := c.latest.Load(); snapshot.Revision > 0 {
		return snapshot
	}
	return nil
}

// Latest returns the newest snapshot. It is never nil: before anything was loaded it has only the fixed objects.
func (c *Catalog) Latest() *Snapshot { return c.latest.Load() }

// Loaded waits until the store was read for the first time and returns the newest snapshot, which is of revision zero if the store is empty.
// When ctx ends first it is an error of kind Unavailable.
func (c *Catalog) Loaded(ctx context.Context) (*Snapshot, error) {
	select {
	case <-c.loaded:
		return c.Latest(), nil
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "waiting for the config store to be read: %w", ctx.Err())
	}
}

// WaitFor returns the first snapshot of the given revision or a later one. When ctx ends first it is an error of kind Unavailable.
func (c *Catalog) WaitFor(ctx context.Context, revision store.Revision) (*Snapshot, error) {
	for {
		c.mu.Lock()
		swapped := c.swapped
		c.mu.Unlock()
		if snapshot := c.Current(); snapshot != nil && snapshot.Revision >= revision {
			return snapshot, nil
		}
		select {
		case <-swapped:
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "waiting for revision %d to be served: %w", revision, ctx.Err())
		}
	}
}

// Run follows the store until ctx ends. A failing store is logged and asked again; what was loaded goes on being served.
func (c *Catalog) Run(ctx context.Context) error {
	for {
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, store.ErrCompacted) {
			c.log.Error("following the config store failed, reading it again", "error", err)
			select {
			case <-time.After(retryDelay):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// follow loads everything and then takes commit after commit; it returns when the store fails or has forgotten commits.
func (c *Catalog) follow(ctx context.Context) error {
	records, revision, err := c.store.List(ctx, "")
	if err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	c.swap(c.listed(records), revision)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commits := make(chan store.Commit, maxPending)
	var watching error
	go func() {
		watching = c.watch(ctx, revision, commits)
		close(commits)
	}()
	for commit := range commits {
		d := newDelta(c.options.Lenient, c.fixed)
		d.commit(commit)
		latest := commit.Revision
		runtime.Gosched() // commits that were written together arrive together: one snapshot will do
		for drained := false; !drained; {
			select {
			case more, open := <-commits:
				if drained = !open; open {
					d.commit(more)
					latest = more.Revision
				}
			default:
				drained = true
			}
		}
		c.swap(d, latest)
	}
	return watching
}

// listed returns what leads from the newest snapshot to one of exactly these records.
func (c *Catalog) listed(records []store.Record) *delta {
	d := newDelta(c.options.Lenient, c.fixed)
	previous := c.Latest()
	gone := func(ref Ref) {
		if _, fixed := c.fixed[ref]; !fixed {
			d.set(ref, nil)
		}
	}
	for _, kind := range Kinds() {
		previous.items[kind].each(func(item *Item) { gone(item.Ref()) })
	}
	for ref := range previous.leftOut {
		gone(ref)
	}
	for _, record := range records {
		d.record(record)
	}
	return d
}

func (c *Catalog) watch(ctx context.Context, after store.Revision, commits chan<- store.Commit) error {
	for {
		commit, err := c.store.Watch(ctx, "", after)
		if err != nil {
			return err
		}
		after = commit.Revision
		select {
		case commits <- commit:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// swap makes the next snapshot what is served, and tells everybody who wants to know, first of all the follower.
func (c *Catalog) swap(d *delta, revision store.Revision) {
	start := time.Now()
	previous := c.Latest()
	snapshot := previous.next(d, revision)
	c.tell(snapshot, d)
	c.latest.Store(snapshot)
	c.mu.Lock()
	close(c.swapped)
	c.swapped = make(chan struct{})
	c.mu.Unlock()
	select {
	case <-c.loaded:
	default:
		close(c.loaded)
	}
	c.metrics.swapped(snapshot, time.Since(start))
	c.logProblems(previous, snapshot)
}

func (c *Catalog) tell(snapshot *Snapshot, d *delta) {
	if c.options.Follow != nil {
		c.options.Follow(snapshot, d.refs())
	}
}

// logProblems tells about records that are newly left out, once each.
func (c *Catalog) logProblems(previous, snapshot *Snapshot) {
	known := map[string]bool{}
	for _, problem := range previous.Problems {
		known[problem.Error()] = true
	}
	for _, problem := range snapshot.Problems {
		if !known[problem.Error()] {
			c.log.Error("a record cannot be served", "error", problem)
		}
	}
	c.log.Debug("serving a revision", "revision", snapshot.Revision, "groups", snapshot.Groups.Len(), "profiles", len(snapshot.Profiles))
}
