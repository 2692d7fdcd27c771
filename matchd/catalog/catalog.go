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
}

// Catalog follows a store. Its methods are safe for concurrent use.
type Catalog struct {
	store   store.Store
	log     *slog.Logger
	metrics *metrics
	strict  bool // Options.RefuseOverlaps
	current atomic.Pointer[Snapshot]

	mu      sync.Mutex
	swapped chan struct{} // closed at the next swap
}

// New returns a catalog of the store; it is empty until [Catalog.Run] has loaded it.
func New(s store.Store, options Options) *Catalog {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Catalog{store: s, log: options.Logger, metrics: newMetrics(options.Registry), strict: options.RefuseOverlaps, swapped: make(chan struct{})}
}

// Current returns the snapshot to answer from. It is nil until something has been loaded, and while the store is at revision zero:
// "nobody has said anything yet" must not be taken for "no machine is wanted".
func (c *Catalog) Current() *Snapshot { return c.current.Load() }

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
	content := newContent()
	for _, record := range records {
		content.put(record)
	}
	c.swap(content, revision)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	commits := make(chan store.Commit, maxPending)
	var watching error
	go func() {
		watching = c.watch(ctx, revision, commits)
		close(commits)
	}()
	for commit := range commits {
		content.apply(commit)
		latest := commit.Revision
		for drained := false; !drained; {
			select {
			case more, open := <-commits:
				if drained = !open; open {
					content.apply(more)
					latest = more.Revision
				}
			default:
				drained = true
			}
		}
		c.swap(content, latest)
	}
	return watching
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

func (c *Catalog) swap(content *content, revision store.Revision) {
	if revision == 0 {
		return
	}
	start := time.Now()
	snapshot := content.snapshot(revision)
	snapshot.metrics, snapshot.refuseOverlaps = c.metrics, c.strict
	previous := c.current.Swap(snapshot)
	c.mu.Lock()
	close(c.swapped)
	c.swapped = make(chan struct{})
	c.mu.Unlock()
	c.metrics.swapped(snapshot, time.Since(start))
	c.logProblems(previous, snapshot)
}

// logProblems tells about records that are newly left out, once each.
func (c *Catalog) logProblems(previous, snapshot *Snapshot) {
	known := map[string]bool{}
	if previous != nil {
		for _, problem := range previous.Problems {
			known[problem.Error()] = true
		}
	}
	for _, problem := range snapshot.Problems {
		if !known[problem.Error()] {
			c.log.Error("a record cannot be served", "error", problem)
		}
	}
	c.log.Debug("serving a revision", "revision", snapshot.Revision, "groups", snapshot.Groups.Len(), "profiles", len(snapshot.Profiles))
}
