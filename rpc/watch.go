package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/rpc/matchdpb"
)

const (
	// bookmarkInterval is the longest time between two messages of a watch.
	bookmarkInterval = 30 * time.Second
	// maxCachedCommits is the number of commits that are kept as they are sent, for watchers that are not quite as fast as the fastest.
	maxCachedCommits = 256
	// maxCachedChanges is the size of the largest commit that is kept so.
	maxCachedChanges = 1000
)

// watchTiming is how long a watch waits for what.
type watchTiming struct{ bookmark, send time.Duration }

// Watch implements matchdpb.ChangesServer. Each watcher asks the store for one commit after the other, so that nothing waits for a slow one and none costs
// memory: it finds its place gone, or is cut off when it does not read at all.
func (s *changeService) Watch(request *matchdpb.WatchRequest, stream grpc.ServerStreamingServer[matchdpb.WatchResponse]) error {
	w, err := s.newWatch(stream.Context(), request)
	if err != nil {
		return err
	}
	return guarded(stream, s.timing.send, func(send func(*matchdpb.WatchResponse) error) error {
		w.send = send
		return w.run(stream.Context())
	})
}

// watch is one watcher's.
type watch struct {
	service *changeService
	caller  auth.Identity
	kinds   map[catalog.Kind]bool // none: all
	after   store.Revision        // everything up to it has been sent
	listing *catalog.Snapshot     // to be sent first; nil: nothing is
	sent    map[catalog.Ref]bool  // that a watcher with a scope has and was not told the end of; nil without a scope
	send    func(*matchdpb.WatchResponse) error
}

func (s *changeService) newWatch(ctx context.Context, request *matchdpb.WatchRequest) (*watch, error) {
	w := &watch{service: s, kinds: map[catalog.Kind]bool{}}
	w.caller, _ = auth.FromContext(ctx)
	var problems []change.Problem
	for _, wire := range request.GetKinds() {
		kind, known := kinds[wire]
		if !known {
			problems = append(problems, change.Problem{Field: "kinds", What: wire.String() + " is no kind of object"})
		}
		w.kinds[kind] = true
	}
	if request.GetAfterRevision() < 0 {
		problems = append(problems, change.Problem{Field: "after_revision", What: "it is negative"})
	}
	if err := refuse(problems); err != nil {
		return nil, err
	}
	snapshot, err := s.objects.Catalog.Loaded(ctx)
	if err != nil {
		return nil, err
	}
	w.after = store.Revision(request.GetAfterRevision())
	if w.after == 0 {
		w.after, w.listing = snapshot.Revision, snapshot
	}
	if w.caller.Scoped() {
		if w.after != snapshot.Revision {
			return nil, store.ErrCompacted // what it was shown at that revision is not known any more
		}
		w.sent = map[catalog.Ref]bool{}
		if w.listing == nil {
			w.each(sightOf(ctx, snapshot), func(item *catalog.Item) { w.sent[item.Ref()] = true })
		}
	}
	return w, nil
}

// each calls f with everything in sight, of the kinds that are watched.
func (w *watch) each(seen *sight, f func(*catalog.Item)) {
	for _, kind := range catalog.Kinds() {
		if !w.wants(kind) {
			continue
		}
		for _, item := range seen.snapshot.List(kind) {
			if seen.holds(&item.Object) {
				f(item)
			}
		}
	}
}

func (w *watch) wants(kind catalog.Kind) bool { return len(w.kinds) == 0 || w.kinds[kind] }

func (w *watch) run(ctx context.Context) error {
	if w.listing != nil {
		if err := w.list(ctx); err != nil {
			return err
		}
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, w.service.timing.bookmark)
		commit, err := w.service.objects.Store.Watch(waiting, "", w.after)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			err = w.bookmark()
		case err == nil:
			err = w.tell(ctx, &commit)
		}
		if err != nil {
			return err
		}
	}
}

// list sends everything that is there, then a bookmark.
func (w *watch) list(ctx context.Context) error {
	seen := sightOf(ctx, w.listing)
	var err error
	w.each(seen, func(item *catalog.Item) {
		if err == nil {
			err = w.send(&matchdpb.WatchResponse{Revision: int64(w.after), Event: &matchdpb.WatchResponse_Put{Put: objectToProto(item)}})
		}
		if w.sent != nil {
			w.sent[item.Ref()] = true
		}
	})
	w.listing = nil
	if err != nil {
		return err
	}
	return w.bookmark()
}

func (w *watch) bookmark() error {
	return w.send(&matchdpb.WatchResponse{Revision: int64(w.after), Event: &matchdpb.WatchResponse_Bookmark{Bookmark: &matchdpb.Bookmark{}}})
}

// tell sends what a commit changed, once it is served: who is told of a change may ask for it.
func (w *watch) tell(ctx context.Context, commit *store.Commit) error {
	snapshot, err := w.service.objects.Catalog.WaitFor(ctx, commit.Revision)
	if err != nil {
		return err
	}
	seen := sightOf(ctx, snapshot)
	told := 0
	for _, e := range w.service.events.of(commit, snapshot) {
		if !w.wants(e.ref.Kind) {
			continue
		}
		if response := w.response(&e, seen); response != nil {
			if err := w.send(response); err != nil {
				return err
			}
			told++
		}
	}
	w.after = commit.Revision
	if told > 1 {
		return w.bookmark() // who is cut off in the middle of a revision must know that it was the middle
	}
	return nil
}

// response returns what this watcher is told of an event, nil if nothing. What leaves a scope is gone for who is bound to it.
func (w *watch) response(e *watchEvent, seen *sight) *matchdpb.WatchResponse {
	if w.sent == nil {
		return e.response
	}
	if e.item != nil && seen.holds(&e.item.Object) {
		w.sent[e.ref] = true
		return e.response
	}
	if !w.sent[e.ref] {
		return nil
	}
	delete(w.sent, e.ref)
	return gone(e.response.GetRevision(), e.ref)
}

func gone(revision int64, ref catalog.Ref) *matchdpb.WatchResponse {
	return &matchdpb.WatchResponse{Revision: revision, Event: &matchdpb.WatchResponse_Deleted{Deleted: refToProto(ref)}}
}

// watchEvent is one change as watchers are told of it. It does not change: all of them send the same message.
type watchEvent struct {
	ref      catalog.Ref
	item     *catalog.Item // nil: deleted
	response *matchdpb.WatchResponse
}

// eventCache keeps the latest commits as they are sent, so that a hundred watchers cost the reading of one.
type eventCache struct {
	mu      sync.Mutex
	commits map[store.Revision][]watchEvent
}

func newEventCache() *eventCache { return &eventCache{commits: map[store.Revision][]watchEvent{}} }

func (c *eventCache) of(commit *store.Commit, snapshot *catalog.Snapshot) []watchEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	if events, known := c.commits[commit.Revision]; known {
		return events
	}
	events := eventsOf(commit, snapshot)
	if len(events) > maxCachedChanges {
		return events
	}
	c.commits[commit.Revision] = events
	for revision := range c.commits {
		if len(c.commits) <= maxCachedCommits {
			break
		}
		if revision+maxCachedCommits <= commit.Revision || revision > commit.Revision {
			delete(c.commits, revision)
		}
	}
	return events
}

// eventsOf reads a commit. What cannot be read is not served, and so it is gone; what the configuration file says is as it was, whatever the store says.
func eventsOf(commit *store.Commit, snapshot *catalog.Snapshot) []watchEvent {
	events := make([]watchEvent, 0, len(commit.Changes))
	for i := range commit.Changes {
		c := &commit.Changes[i]
		ref, isObject := catalog.ParseKey(c.Key)
		if !isObject {
			continue
		}
		if now, found := snapshot.Get(ref); found && now.Revision == 0 {
			continue
		}
		e := watchEvent{ref: ref, response: gone(int64(commit.Revision), ref)}
		if !c.Deleted {
			if item, err := catalog.Decode(c.Record); err == nil {
				e.item = item
				e.response = &matchdpb.WatchResponse{Revision: int64(commit.Revision), Event: &matchdpb.WatchResponse_Put{Put: objectToProto(item)}}
			}
		}
		events = append(events, e)
	}
	return events
}
