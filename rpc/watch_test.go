package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/rpc"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// view is what a watcher knows.
type view struct {
	objects  map[string]int64 // revision by key
	revision int64            // of the last bookmark or event
	marks    int
}

// take takes one message; it fails the test where revisions go back.
func (v *view) take(t testing.TB, m *pb.WatchResponse) {
	t.Helper()
	if m.GetRevision() < v.revision {
		t.Errorf("revision %d after %d", m.GetRevision(), v.revision)
	}
	v.revision = m.GetRevision()
	switch e := m.GetEvent().(type) {
	case *pb.WatchResponse_Put:
		key, meta := keyOf(e.Put)
		v.objects[key] = meta.GetRevision()
	case *pb.WatchResponse_Deleted:
		delete(v.objects, fmt.Sprint(e.Deleted.GetKind(), " ", e.Deleted.GetId()))
	case *pb.WatchResponse_Bookmark:
		v.marks++
	}
}

func keyOf(o *pb.Object) (string, *pb.Meta) {
	switch v := o.GetObject().(type) {
	case *pb.Object_Machine:
		return fmt.Sprint(pb.Kind_KIND_MACHINE, " ", v.Machine.GetId()), v.Machine.GetMeta()
	case *pb.Object_Group:
		return fmt.Sprint(pb.Kind_KIND_GROUP, " ", v.Group.GetId()), v.Group.GetMeta()
	case *pb.Object_Profile:
		return fmt.Sprint(pb.Kind_KIND_PROFILE, " ", v.Profile.GetId()), v.Profile.GetMeta()
	case *pb.Object_Template:
		return fmt.Sprint(pb.Kind_KIND_TEMPLATE, " ", v.Template.GetKind(), "/", v.Template.GetName()), v.Template.GetMeta()
	}
	return fmt.Sprint(pb.Kind_KIND_RESERVATION, " ", o.GetReservation().GetId()), o.GetReservation().GetMeta()
}

func (o *objects) watch(ctx context.Context, c *clients, request *pb.WatchRequest) grpc.ServerStreamingClient[pb.WatchResponse] {
	o.t.Helper()
	stream, err := c.changes.Watch(ctx, request)
	if err != nil {
		o.t.Fatal(err)
	}
	return stream
}

// until takes messages until the condition holds.
func (v *view) until(t testing.TB, stream grpc.ServerStreamingClient[pb.WatchResponse], done func() bool) {
	t.Helper()
	for !done() {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		v.take(t, m)
	}
}

func TestWatch(t *testing.T) {
	o := startObjects(t)
	o.seed(3)
	c := o.as(auth.Admin)
	v := &view{objects: map[string]int64{}}
	stream := o.watch(t.Context(), c, &pb.WatchRequest{})
	v.until(t, stream, func() bool { return v.marks == 1 })
	want := "KIND_GROUP g0000, KIND_GROUP g0001, KIND_GROUP g0002, KIND_MACHINE 52:54:00:00:00:99, KIND_PROFILE web, KIND_TEMPLATE ignition/host.bu"
	if got := strings.Join(slices.Sorted(maps.Keys(v.objects)), ", "); got != want || v.revision != 1 {
		t.Errorf("at first, at revision %d: %s", v.revision, got)
	}
	if _, err := c.changes.Apply(t.Context(), &pb.ApplyRequest{Changes: []*pb.Change{deleting(pb.Kind_KIND_GROUP, "g0001"), putting(&pb.Machine{Id: "52:54:00:00:00:01"})}}); err != nil {
		t.Fatal(err)
	}
	v.until(t, stream, func() bool { return v.objects["KIND_MACHINE 52:54:00:00:00:01"] == 2 })
	if _, there := v.objects["KIND_GROUP g0001"]; there {
		t.Error("what was deleted is there")
	}
	// From a revision, and of some kinds only.
	later := &view{objects: map[string]int64{}}
	machines := o.watch(t.Context(), c, &pb.WatchRequest{AfterRevision: 1, Kinds: []pb.Kind{pb.Kind_KIND_MACHINE}})
	later.until(t, machines, func() bool { return len(later.objects) == 1 })
	if later.objects["KIND_MACHINE 52:54:00:00:00:01"] != 2 {
		t.Errorf("got %v", later.objects)
	}
	for name, request := range map[string]*pb.WatchRequest{"negative": {AfterRevision: -1}, "a kind": {Kinds: []pb.Kind{99}}} {
		if _, err := o.watch(t.Context(), c, request).Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := o.watch(t.Context(), c, &pb.WatchRequest{AfterRevision: 77}).Recv(); refusal(err).code != codes.OutOfRange || refusal(err).reason != "COMPACTED" {
		t.Errorf("a revision that never was: %v", err)
	}
}

// TestWatchWithoutGap lists and watches while others write, begins anew from where it was cut off, and in the end has what there is.
func TestWatchWithoutGap(t *testing.T) {
	o := startObjects(t)
	o.seed(5)
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 4 {
		c := o.as(auth.Admin)
		writers.Go(func() {
			for i := 0; writing.Err() == nil && i < 150; i++ {
				id := fmt.Sprintf("w%d-%d", w, i%7)
				var err error
				if i%3 == 2 {
					_, err = c.groups.DeleteGroup(t.Context(), &pb.DeleteGroupRequest{Id: id})
				} else {
					_, err = c.groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: group(id, "web", map[string]string{"serial": fmt.Sprint(id, i)})})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	views := make([]*view, 4)
	var watchers sync.WaitGroup
	ends := make(chan int64, len(views))
	for i := range views {
		v := &view{objects: map[string]int64{}}
		views[i] = v
		c := o.as(auth.Viewer)
		watchers.Go(func() {
			end := int64(-1)
			for end < 0 || v.revision < end {
				ctx, cancel := context.WithCancel(t.Context())
				stream := o.watch(ctx, c, &pb.WatchRequest{AfterRevision: v.revision})
				for n := 0; n < 40+60*i && (end < 0 || v.revision < end); n++ { // some are cut off more often
					m, err := stream.Recv()
					if err != nil {
						t.Error(err)
						break
					}
					v.take(t, m)
					if n == 39+60*i && v.marks == 0 {
						n-- // the first listing is not over: there is nothing to go on from
					}
					select {
					case end = <-ends:
					default:
					}
				}
				// Only a whole revision can be gone on from: take the rest of it.
				cancel()
			}
		})
	}
	writers.Wait()
	stop()
	last, err := o.as(auth.Admin).machines.PutMachine(t.Context(), &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:01"}})
	if err != nil {
		t.Fatal(err)
	}
	for range views {
		ends <- last.GetMachine().GetMeta().GetRevision()
	}
	// One more change, for those that wait in Recv.
	if _, err := o.as(auth.Admin).machines.PutMachine(t.Context(), &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:02"}}); err != nil {
		t.Fatal(err)
	}
	watchers.Wait()
	want := map[string]int64{}
	snapshot := o.catalog.Current()
	for _, kind := range catalog.Kinds() {
		for _, item := range snapshot.List(kind) {
			key, meta := keyOf(rpc.ObjectToProto(item))
			want[key] = meta.GetRevision()
		}
	}
	delete(want, "KIND_MACHINE 52:54:00:00:00:02")
	for i, v := range views {
		delete(v.objects, "KIND_MACHINE 52:54:00:00:00:02")
		if !maps.Equal(v.objects, want) {
			t.Errorf("watcher %d has %d objects, there are %d: %v\nwant %v", i, len(v.objects), len(want), v.objects, want)
		}
	}
}

func TestWatchInScope(t *testing.T) {
	o := startObjects(t)
	o.seed(1)
	admin, fra := o.as(auth.Admin), o.as(auth.Viewer, "site=fra")
	v := &view{objects: map[string]int64{}}
	stream := o.watch(t.Context(), fra, &pb.WatchRequest{})
	v.until(t, stream, func() bool { return v.marks == 1 })
	if len(v.objects) != 0 {
		t.Errorf("at first: %v", v.objects)
	}
	put := func(id, site string) int64 {
		t.Helper()
		r, err := admin.groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: group(id, "web", map[string]string{"site": site, "id": id})})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetGroup().GetMeta().GetRevision()
	}
	put("ber", "ber")
	first := put("fra", "fra")
	v.until(t, stream, func() bool { return v.objects["KIND_GROUP fra"] == first })
	put("fra", "ber") // it leaves
	v.until(t, stream, func() bool { return len(v.objects) == 0 })
	put("ber", "fra") // it enters
	v.until(t, stream, func() bool { return len(v.objects) == 1 })
	if _, err := admin.groups.DeleteGroup(t.Context(), &pb.DeleteGroupRequest{Id: "fra"}); err != nil { // out of sight
		t.Fatal(err)
	}
	if _, err := admin.groups.DeleteGroup(t.Context(), &pb.DeleteGroupRequest{Id: "ber"}); err != nil {
		t.Fatal(err)
	}
	v.until(t, stream, func() bool { return len(v.objects) == 0 })
	if _, err := o.watch(t.Context(), fra, &pb.WatchRequest{AfterRevision: 1}).Recv(); refusal(err).reason != "COMPACTED" {
		t.Errorf("from an older revision: %v", err)
	}
}

// served is a stream whose client reads when a test lets it.
type served struct {
	grpc.ServerStream
	ctx  context.Context
	send func(*pb.WatchResponse) error
}

func (s *served) Context() context.Context       { return s.ctx }
func (s *served) Send(m *pb.WatchResponse) error { return s.send(m) }
func (s *served) parts(o *objects) rpc.ObjectParts {
	return rpc.ObjectParts{Catalog: o.catalog, Store: o.store}
}

func TestWatchBookmarks(t *testing.T) {
	o := startObjects(t)
	o.seed(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v := &view{objects: map[string]int64{}}
	s := &served{ctx: ctx, send: func(m *pb.WatchResponse) error {
		if v.take(t, m); v.marks == 5 {
			return io.EOF
		}
		return nil
	}}
	err := rpc.NewChanges(s.parts(o), time.Millisecond, time.Minute).Watch(&pb.WatchRequest{}, s)
	if !errors.Is(err, io.EOF) || v.revision != 1 {
		t.Errorf("%v after %d bookmarks at %d", err, v.marks, v.revision)
	}
}

// TestWatchThatIsNeverRead is cut off, and does not keep the changes from others.
func TestWatchThatIsNeverRead(t *testing.T) {
	o := startObjects(t)
	o.seed(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &served{ctx: ctx, send: func(*pb.WatchResponse) error { <-ctx.Done(); return ctx.Err() }}
	err := rpc.NewChanges(s.parts(o), time.Minute, 20*time.Millisecond).Watch(&pb.WatchRequest{}, s)
	if r := refusal(err); r.code != codes.ResourceExhausted || r.reason != "SLOW_READER" {
		t.Errorf("got %v", err)
	}
}

// TestWatchTooSlow falls behind by more than the store remembers.
func TestWatchTooSlow(t *testing.T) {
	o := startObjects(t)
	o.seed(1)
	big := group("big", "web", map[string]string{"a": "b"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	marked, release := make(chan struct{}), make(chan struct{})
	s := &served{ctx: ctx, send: func(m *pb.WatchResponse) error {
		if m.GetBookmark() != nil {
			close(marked)
			<-release
		}
		return nil
	}}
	ended := make(chan error, 1)
	go func() { ended <- rpc.NewChanges(s.parts(o), time.Minute, time.Minute).Watch(&pb.WatchRequest{}, s) }()
	<-marked
	c := o.as(auth.Admin)
	for i := range 40 { // 40 × 512 KiB are more than the 16 MiB that are remembered
		big.Metadata.Fields["x"] = structpb.NewStringValue(fmt.Sprint(i, strings.Repeat("x", 512<<10)))
		if _, err := c.groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: big}); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-ended; !errors.Is(err, store.ErrCompacted) {
		t.Errorf("got %v", err)
	}
}
