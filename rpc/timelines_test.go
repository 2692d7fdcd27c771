package rpc_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/rpc"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func TestGetTimeline(t *testing.T) {
	w := newWorld(t, 0)
	w.events.Record(event.Event{MAC: fra, UUID: "00112233-4455-6677-8899-aabbccddeeff", Stage: event.Seen, Message: "asks \xff", Attrs: map[string]string{event.AttrHostname: "n1"}})
	w.events.Record(event.Event{MAC: fra, Stage: event.NotMatched, Level: event.Warn, Message: "no group", Error: "none", Bytes: 1, Total: 2, DurationMS: 3})
	timelines := matchdpb.NewTimelinesClient(w.dial(t, auth.Viewer))
	for _, name := range []string{fra.String(), fra.Hyphens(), "n1", "00112233-4455-6677-8899-AABBCCDDEEFF"} {
		got, err := timelines.GetTimeline(t.Context(), &matchdpb.GetTimelineRequest{Machine: name})
		if err != nil || len(got.GetEvents()) != 2 || got.GetTimeline().GetDiagnosis() == "" || got.GetTimeline().GetLastStage() != "not-matched" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	got, _ := timelines.GetTimeline(t.Context(), &matchdpb.GetTimelineRequest{Machine: "n1"})
	if e := got.GetEvents()[1]; e.GetBytes() != 1 || e.GetTotal() != 2 || e.GetDurationMs() != 3 || e.GetError() != "none" || e.GetLevel() != "warn" || e.GetSeq() == 0 {
		t.Errorf("%v", e)
	}
	for _, name := range []string{"", "nobody", stranger.String()} {
		_, err := timelines.GetTimeline(t.Context(), &matchdpb.GetTimelineRequest{Machine: name})
		wantCode(t, name, err, codes.NotFound)
	}
}

// TestListTimelines reads page after page while machines go on telling: every machine is listed, the last heard of first.
func TestListTimelines(t *testing.T) {
	w := newWorld(t, 0)
	mac := func(i int) machine.MAC { return machine.MAC(fmt.Sprintf("52:54:00:00:01:%02x", i)) }
	began := time.Now()
	for i := range 40 {
		w.events.Record(event.Event{MAC: mac(i), Stage: event.Seen, Message: "hello", Time: began.Add(time.Duration(i/3) * time.Second)}) // some at the same time
	}
	timelines := matchdpb.NewTimelinesClient(w.dial(t, auth.Viewer))
	seen := map[string]int{}
	var order []string
	request := &matchdpb.ListTimelinesRequest{PageSize: 7}
	for page := 0; ; page++ {
		got, err := timelines.ListTimelines(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range got.GetTimelines() {
			seen[m.GetMac()]++
			order = append(order, m.GetMac())
		}
		if request.PageToken = got.GetNextPageToken(); request.PageToken == "" {
			break
		}
		for _, i := range []int{0, 20, 39} { // leave their places
			w.events.Record(event.Event{MAC: mac(i), Stage: event.Offered, Message: "again", Time: began.Add(time.Duration(100+page) * time.Second)})
		}
	}
	for i := range 40 {
		if seen[mac(i).String()] == 0 {
			t.Errorf("%v is not listed", mac(i))
		}
	}
	if order[0] != mac(39).String() {
		t.Errorf("the first is %s", order[0])
	}
	for _, token := range []string{"elephant", "e30", strings.Repeat("A", 10000)} {
		_, err := timelines.ListTimelines(t.Context(), &matchdpb.ListTimelinesRequest{PageToken: token})
		wantCode(t, "a token of nobody", err, codes.InvalidArgument)
	}
}

func FuzzTimelineToken(f *testing.F) {
	f.Add("eyJiIjoiMjAyNi0wMS0wMVQwMDowMDowMFoiLCJsIjoiMjAyNi0wMS0wMVQwMDowMDowMFoiLCJtIjoiNTI6NTQ6MDA6MDA6MDA6MDEifQ")
	f.Add("e30")
	f.Fuzz(func(t *testing.T, token string) {
		written, err := rpc.ParseTimelineToken(token)
		if err != nil {
			return
		}
		if again, err := rpc.ParseTimelineToken(written); err != nil || again != written {
			t.Errorf("%q reads as %q and %q, %v", token, written, again, err)
		}
	})
}

func TestWatchEvents(t *testing.T) {
	w := newWorld(t, 0)
	w.events.Record(event.Event{MAC: fra, Stage: event.Seen, Message: "before"})
	timelines := matchdpb.NewTimelinesClient(w.dial(t, auth.Viewer))
	one, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{Machine: fra.Hyphens(), FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.Recv(); err != nil || got.GetEvent().GetMessage() != "before" || got.GetDiagnosis() == "" {
		t.Fatalf("%v, %v", got, err)
	}
	all, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all.Recv(); err != nil || got.GetEvent().GetMessage() != "before" || got.GetDiagnosis() != "" {
		t.Fatalf("%v, %v", got, err)
	}
	w.events.Record(event.Event{MAC: nyc, Stage: event.Seen, Message: "another"})
	w.events.Record(event.Event{MAC: fra, Stage: event.ToDisk, Message: "after"})
	w.events.Record(event.Event{Stage: event.Error, Message: "nobody's"})
	for _, want := range []string{"another", "after", "nobody's"} {
		if got, err := all.Recv(); err != nil || got.GetEvent().GetMessage() != want {
			t.Errorf("%v, %v, want %s", got, err, want)
		}
	}
	if got, err := one.Recv(); err != nil || got.GetEvent().GetMessage() != "after" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{Machine: "nobody"})
	if err == nil {
		stream, _ := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{Machine: "nobody"})
		_, err = stream.Recv()
	}
	wantCode(t, "a name unheard of", err, codes.NotFound)

	w.stop()
	if _, err := all.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the server stops: %v", err)
	}
}

// TestReadersThatDoNotRead: they are cut off, others hear everything, and the server's memory stays as it was.
func TestReadersThatDoNotRead(t *testing.T) {
	w := newWorld(t, 300*time.Millisecond)
	timelines := matchdpb.NewTimelinesClient(w.dial(t, auth.Viewer))
	type watch interface {
		Recv() (*matchdpb.WatchEventsResponse, error)
	}
	var asleep []watch
	for range 20 {
		stream, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		asleep = append(asleep, stream)
	}
	reader, err := matchdpb.NewTimelinesClient(w.dial(t, auth.Operator)).WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	awake(t, w, reader)
	before := heap()
	text := strings.Repeat("x", 4000)
	for i := range 2000 { // 8 MB for each
		w.events.Record(event.Event{MAC: fra, Stage: event.Seen, Message: text})
		for {
			got, err := reader.Recv()
			if err != nil {
				t.Fatalf("after %d events the reader is cut off: %v", i, err)
			}
			if got.GetEvent().GetMessage() == text {
				break
			}
		}
	}
	if grown := int64(heap()) - int64(before); grown > 48<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	for i, stream := range asleep {
		for err = nil; err == nil; {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.ResourceExhausted || info(err).GetReason() != rpc.ReasonSlow {
			t.Errorf("sleeper %d: %v", i, err)
		}
	}
	// Their places are free again.
	for range event.MaxSubscribers - 1 {
		stream, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		awake(t, w, stream)
	}
}

// awake waits until a stream is subscribed.
func awake(t *testing.T, w *world, stream interface {
	Recv() (*matchdpb.WatchEventsResponse, error)
}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			w.events.Record(event.Event{MAC: nyc, Stage: event.Seen, Message: "anybody?"})
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestSimulateStream(t *testing.T) {
	w := newWorld(t, 0)
	boots := matchdpb.NewBootClient(w.dial(t, auth.Viewer))
	var played firmware.Machine
	w.machines.Observe(machine.Machine{MAC: fra, UUID: "u-1", Serial: "known", Asset: "a"})
	w.play = func(_ context.Context, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
		played = m
		emit(firmware.Step{Actor: "ovmf", Text: "hello", Bytes: 5, Content: "world"})
		return rpc.Outcome{WouldBoot: true, Text: "would boot"}
	}
	stream, err := boots.Simulate(t.Context(), &matchdpb.SimulateRequest{Mac: fra.Hyphens(), Facts: map[string]string{"serial": "told"}})
	if err != nil {
		t.Fatal(err)
	}
	step, err := stream.Recv()
	if err != nil || step.GetStep().GetContent() != "world" || step.GetStep().GetBytes() != 5 {
		t.Errorf("%v, %v", step, err)
	}
	end, err := stream.Recv()
	if err != nil || !end.GetOutcome().GetWouldBoot() || played.Kind != firmware.OVMF || played.UUID != "u-1" || played.Labels["serial"] != "told" || played.Labels["asset"] != "a" {
		t.Errorf("%v, %v, played %+v", end, err, played)
	}
	for what, request := range map[string]*matchdpb.SimulateRequest{
		"no address": {}, "no Ethernet": {Mac: "00:11:22:33:44:55:66:77"}, "firmware of nobody": {Mac: fra.String(), Firmware: "coreboot"},
		"a fact of nobody": {Mac: fra.String(), Facts: map[string]string{"colour": "red"}},
		"a long fact":      {Mac: fra.String(), Facts: map[string]string{"serial": strings.Repeat("x", 300)}},
	} {
		stream, err := boots.Simulate(t.Context(), request)
		if err == nil {
			_, err = stream.Recv()
		}
		wantCode(t, what, err, codes.InvalidArgument)
	}
}

// TestSimulationsEnd: one whose client is gone ends, one that panics ends alone, and a client that reads nothing is cut off.
func TestSimulationsEnd(t *testing.T) {
	w := newWorld(t, 200*time.Millisecond)
	boots := matchdpb.NewBootClient(w.dial(t, auth.Viewer))
	ended := make(chan struct{})
	w.play = func(ctx context.Context, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
		if m.MAC == nyc {
			panic("the firmware is in flames")
		}
		defer close(ended)
		for ctx.Err() == nil {
			emit(firmware.Step{Text: "and on", Content: strings.Repeat("x", 1<<20)})
		}
		return rpc.Outcome{}
	}
	panicked, err := boots.Simulate(t.Context(), &matchdpb.SimulateRequest{Mac: nyc.String()})
	if err == nil {
		_, err = panicked.Recv()
	}
	wantCode(t, "a panic", err, codes.Internal)
	stream, err := boots.Simulate(t.Context(), &matchdpb.SimulateRequest{Mac: fra.String()})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on for ever")
	}
	for err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, "a client that reads nothing", err, codes.ResourceExhausted)
}
