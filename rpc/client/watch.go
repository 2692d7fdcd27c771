package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// How long a watch that broke waits before it connects again: doubled each time, until something arrives.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 15 * time.Second
)

// Change is one thing that a watch tells. Exactly one of Put, Deleted, Reset and Complete is set.
type Change struct {
	// Revision at which it is true.
	Revision int64
	// Put is an object that was created or changed, or that is there from the start.
	Put *matchdpb.Object
	// Deleted is an object that is gone.
	Deleted *matchdpb.Ref
	// Reset says that changes were missed: everything that is there now follows, then Complete. What does not come again is gone.
	Reset bool
	// Complete says that everything up to Revision has been told.
	Complete bool
}

// WatchOptions say what to watch.
type WatchOptions struct {
	// After is the revision to go on from, such as a listing's. 0: first everything that is there.
	After int64
	// Kinds of objects; none: all.
	Kinds []matchdpb.Kind
}

// Watch tells every change, in order, until ctx ends or the caller stops. A connection that breaks is made again and the watch goes
// on where it was; a revision that was told in part is told again from its start. If the server no longer knows what came
// after that revision, a change with Reset says so and a listing follows. An error is final: the server refuses the call.
func (c *Client) Watch(ctx context.Context, options WatchOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &watch{client: c, kinds: options.Kinds, after: options.After, yield: yield}
		for backoff := minBackoff; ; {
			err := w.follow(ctx)
			switch {
			case w.stopped:
				return
			case ctx.Err() != nil:
				yield(Change{}, ctx.Err())
				return
			case err != nil && IsCompacted(err), w.restart():
				w.after = 0
				if !yield(Change{Reset: true}, nil) {
					return
				}
			case err != nil && !fault.Is(err, fault.Unavailable):
				yield(Change{}, err)
				return
			}
			if w.heard {
				backoff = minBackoff
			}
			pause(ctx, backoff)
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// watch is one caller's place in the stream of changes.
type watch struct {
	client *Client
	kinds  []matchdpb.Kind
	yield  func(Change, error) bool

	after   int64 // every revision up to this one has been told whole
	latest  int64 // of what was told last
	listing bool  // the first listing is not complete
	heard   bool  // something arrived since the last connection
	stopped bool  // the caller has had enough
}

// restart reports whether a listing broke off, which cannot be gone on with.
func (w *watch) restart() bool { return w.listing && w.latest > 0 }

// follow tells what one stream tells, until it ends.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.heard, w.listing, w.latest = false, w.after == 0, 0
	stream, err := w.client.Changes.Watch(ctx, &matchdpb.WatchRequest{AfterRevision: w.after, Kinds: w.kinds})
	if err != nil {
		return err
	}
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w.heard = true
		if !w.tell(got) {
			w.stopped = true
			return nil
		}
	}
}

func (w *watch) tell(got *matchdpb.WatchResponse) bool {
	revision := got.GetRevision()
	change := Change{Revision: revision, Put: got.GetPut(), Deleted: got.GetDeleted(), Complete: got.GetBookmark() != nil}
	switch {
	case change.Complete:
		w.after, w.listing = revision, false
	case !w.listing && revision > w.latest && w.latest > w.after:
		w.after = w.latest // its changes are all told, as the next revision's begin
	}
	w.latest = revision
	return w.yield(change, nil)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
