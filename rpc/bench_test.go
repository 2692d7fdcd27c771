package rpc_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// The benchmarks go through everything that a client goes through: TLS, roles, checks, the trial rendering, a durable commit (fsync), the catalog. matchbox, which
// does not sync, was quoted with about 3,500 puts a second by 8 clients and 2 listings of 12,000 a second.

// measure calls f from so many clients at once, b.N times in all, and reports the rate.
func measure(b *testing.B, o *objects, parallel int, f func(c *clients, i int) error) {
	b.Helper()
	all := make([]*clients, parallel)
	for i := range all {
		all[i] = o.as(auth.Admin)
	}
	var next atomic.Int64
	before := cpuTime(b)
	b.ResetTimer()
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(c, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// cpuTime is what the process has used so far, client and server together: unlike the elapsed time it does not depend on who else works on the machine.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func serial(id string) map[string]string { return map[string]string{"serial": id} }

func BenchmarkPut(b *testing.B) {
	for _, loaded := range []int{100, 10_000} {
		for _, parallel := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("groups=%d/clients=%d", loaded, parallel), func(b *testing.B) {
				o := startObjects(b)
				o.seed(loaded)
				measure(b, o, parallel, func(c *clients, i int) error {
					id := fmt.Sprint("new", i)
					_, err := c.groups.PutGroup(b.Context(), &pb.PutGroupRequest{Group: group(id, "web", serial(id))})
					return err
				})
			})
		}
	}
}

// BenchmarkPutProfile changes what others may name, which is done one at a time.
func BenchmarkPutProfile(b *testing.B) {
	o := startObjects(b)
	o.seed(10_000)
	measure(b, o, 8, func(c *clients, i int) error {
		_, err := c.profiles.PutProfile(b.Context(), &pb.PutProfileRequest{Profile: profile(fmt.Sprint("p", i))})
		return err
	})
}

func BenchmarkGet(b *testing.B) {
	o := startObjects(b)
	o.seed(10_000)
	measure(b, o, 8, func(c *clients, i int) error {
		_, err := c.groups.GetGroup(b.Context(), &pb.GetGroupRequest{Id: fmt.Sprintf("g%04d", i%10_000)})
		return err
	})
}

// BenchmarkList reads 10,000 groups, two pages of 5,000 each.
func BenchmarkList(b *testing.B) {
	for _, parallel := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", parallel), func(b *testing.B) {
			o := startObjects(b)
			o.seed(10_000)
			measure(b, o, parallel, func(c *clients, _ int) error {
				token, n := "", 0
				for {
					page, err := c.groups.ListGroups(b.Context(), &pb.ListGroupsRequest{PageSize: 5000, PageToken: token})
					if err != nil {
						return err
					}
					n += len(page.GetGroups())
					if token = page.GetNextPageToken(); token == "" {
						break
					}
				}
				if n != 10_000 {
					return fmt.Errorf("listed %d", n)
				}
				return nil
			})
		})
	}
}

// BenchmarkApply changes 1,000 groups in one revision; each of them is rendered before.
func BenchmarkApply(b *testing.B) {
	o := startObjects(b)
	o.seed(10_000)
	measure(b, o, 1, func(c *clients, n int) error {
		changes := make([]*pb.Change, 1000)
		for i := range changes {
			g := group(fmt.Sprintf("g%04d", i), "web", serial(fmt.Sprint(i)))
			g.Metadata = metadataOf(fmt.Sprint(n, "-", i))
			changes[i] = putting(g)
		}
		_, err := c.changes.Apply(b.Context(), &pb.ApplyRequest{Changes: changes})
		return err
	})
}

// BenchmarkWatch puts a group that 100 watchers are told of; a call is over when all of them were.
func BenchmarkWatch(b *testing.B) {
	const watchers = 100
	o := startObjects(b)
	o.seed(100)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	told := make(chan int64, watchers)
	var running, ready sync.WaitGroup
	ready.Add(watchers)
	for range watchers {
		c := o.as(auth.Viewer)
		running.Go(func() {
			stream, err := c.changes.Watch(ctx, &pb.WatchRequest{})
			if err != nil {
				b.Error(err)
			}
			begun := false
			for err == nil {
				var m *pb.WatchResponse
				if m, err = stream.Recv(); err != nil {
					return
				}
				switch {
				case begun && m.GetPut() != nil:
					told <- m.GetRevision()
				case !begun && m.GetBookmark() != nil:
					begun = true
					ready.Done()
				}
			}
		})
	}
	ready.Wait()
	measure(b, o, 1, func(c *clients, i int) error {
		_, err := c.groups.PutGroup(b.Context(), &pb.PutGroupRequest{Group: group("w", "web", serial(fmt.Sprint(i)))})
		for range watchers {
			<-told
		}
		return err
	})
	b.ReportMetric(float64(b.N)*watchers/b.Elapsed().Seconds(), "events/s")
	cancel()
	running.Wait()
}
