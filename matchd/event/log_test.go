package event_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

const mac = machine.MAC("52:54:00:00:00:01")

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newLog(t testing.TB, s store.Store) *event.Log {
	t.Helper()
	l, err := event.NewLog(event.Options{Store: s, Logger: quiet, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTimelineIsFoundByEveryName(t *testing.T) {
	l := newLog(t, nil)
	l.Record(event.Event{MAC: mac, UUID: "00112233-4455-6677-8899-aabbccddeeff", Stage: event.Seen})
	l.Record(event.Event{MAC: mac, Stage: event.Leased, Attrs: map[string]string{
		event.AttrHostname: "Node-17", event.AttrAddress: "10.0.0.17", event.AttrGroup: "g", event.AttrProfile: "p",
	}})
	for _, name := range []string{
		"52:54:00:00:00:01", "52-54-00-00-00-01", "525400000001", "00112233-4455-6677-8899-AABBCCDDEEFF", "33221100-5544-7766-8899-aabbccddeeff", "node-17",
	} {
		got, found := l.Timeline(name)
		if !found || len(got.Events) != 2 || got.Address != "10.0.0.17" || got.Group != "g" || got.Profile != "p" {
			t.Errorf("%s: %+v, %v", name, got, found)
		}
	}
	for _, name := range []string{"", "52:54:00:00:00:02", "node-18"} {
		if _, found := l.Timeline(name); found {
			t.Errorf("%q is found", name)
		}
	}
	l.Record(event.Event{MAC: mac, Stage: event.NotMatched})
	if got, _ := l.Timeline(string(mac)); got.Group != "" || got.Profile != "" {
		t.Errorf("an unmatched machine is still shown in group %q", got.Group)
	}
}

func TestTimelineJSON(t *testing.T) {
	l := newLog(t, nil)
	l.Record(event.Event{MAC: mac, Stage: event.Seen, Message: "DISCOVER"})
	timeline, _ := l.Timeline(string(mac))
	data, err := json.Marshal(timeline)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		MAC       string
		Diagnosis struct{ Text string }
		Events    []struct{ Stage, Message string }
	}
	if err := json.Unmarshal(data, &got); err != nil || got.Diagnosis.Text == "" || got.MAC != string(mac) || got.Events[0].Message != "DISCOVER" {
		t.Errorf("%s: %+v, %v", data, got, err)
	}
}

func TestMachinesNewestFirst(t *testing.T) {
	l := newLog(t, nil)
	for i := range 3 {
		l.Record(event.Event{MAC: machine.MAC(fmt.Sprintf("52:54:00:00:00:0%d", i)), Stage: event.Seen, Time: start.Add(time.Duration(i) * time.Second)})
	}
	l.Record(event.Event{Stage: event.Error, Message: "of no machine"})
	var got []string
	for _, m := range l.Machines() {
		got = append(got, string(m.MAC))
	}
	if want := "52:54:00:00:00:02 52:54:00:00:00:01 52:54:00:00:00:00"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := newLog(t, nil)
	for i := range event.MaxEvents + 50 {
		l.Record(event.Event{MAC: mac, Stage: event.Progress, Message: fmt.Sprint(i)})
	}
	timeline, _ := l.Timeline(string(mac))
	if n := len(timeline.Events); n != event.MaxEvents || timeline.Events[n-1].Message != fmt.Sprint(event.MaxEvents+49) {
		t.Errorf("%d events, the last is %q", n, timeline.Events[n-1].Message)
	}
	l.Record(event.Event{MAC: mac, Stage: event.Failed, Error: strings.Repeat("é", event.MaxMessage)})
	timeline, _ = l.Timeline(string(mac))
	if got := timeline.Events[event.MaxEvents-1].Error; len(got) > event.MaxMessage+5 || !strings.HasSuffix(got, "é …") {
		t.Errorf("a long text is %d bytes and ends in %q", len(got), got[len(got)-8:])
	}
	for i := range event.MaxMachines + 10 {
		l.Record(event.Event{MAC: machine.MAC(fmt.Sprintf("02:00:%08x", i)), Stage: event.Seen})
	}
	if n := len(l.Machines()); n != event.MaxMachines {
		t.Errorf("%d timelines", n)
	}
	if _, found := l.Timeline(string(mac)); found {
		t.Error("the oldest timeline did not make room")
	}
}

// TestTextsAreBounded has many machines tell as much as they can: all stay known, and those heard of longest ago are cut first.
func TestTextsAreBounded(t *testing.T) {
	const machines, reports = 1000, 25
	l := newLog(t, nil)
	address := func(i int) machine.MAC { return machine.MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)) }
	report := event.Event{Stage: event.Failed, Attrs: map[string]string{event.AttrFile: strings.Repeat("x", event.MaxMessage)}}
	for i := range machines {
		report.MAC = address(i)
		for range reports {
			l.Record(report)
		}
	}
	total := 0
	for i := range machines {
		timeline, found := l.Timeline(string(address(i)))
		if !found {
			t.Fatalf("machine %d was dropped though others could be cut", i)
		}
		total += len(timeline.Events) * event.MaxMessage
	}
	if total > event.MaxTotal || total < event.MaxTotal/2 {
		t.Errorf("%d bytes are kept, want at most %d and not much less", total, event.MaxTotal)
	}
	if oldest, _ := l.Timeline(string(address(0))); len(oldest.Events) != event.MinKept {
		t.Errorf("the machine heard of longest ago keeps %d events", len(oldest.Events))
	}
	for range 2 * reports {
		l.Record(report)
	}
	if talker, _ := l.Timeline(string(report.MAC)); len(talker.Events)*event.MaxMessage > event.MaxTimeline {
		t.Errorf("one machine keeps %d events of %d bytes, want at most %d bytes", len(talker.Events), event.MaxMessage, event.MaxTimeline)
	}
}

// TestFormerNamesAreForgotten lets a machine call itself ever anew, which must neither fill memory nor lead to it.
func TestFormerNamesAreForgotten(t *testing.T) {
	l := newLog(t, nil)
	other := machine.MAC("52:54:00:00:00:02")
	l.Record(event.Event{MAC: mac, UUID: "u1", Stage: event.Seen, Attrs: map[string]string{event.AttrHostname: "N1"}})
	l.Record(event.Event{MAC: other, Stage: event.Seen, Attrs: map[string]string{event.AttrHostname: "n1"}})
	l.Record(event.Event{MAC: mac, UUID: "u2", Stage: event.Seen, Attrs: map[string]string{event.AttrHostname: "n2"}})
	for name, want := range map[string]machine.MAC{"u1": "", "u2": mac, "n1": other, "n2": mac} {
		if got, _ := l.Timeline(name); got.MAC != want {
			t.Errorf("%s leads to %q, want %q", name, got.MAC, want)
		}
	}
}

func openStore(t testing.TB, dir string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(dir, "events.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs the log until stop is called, which returns after the last write.
func run(t *testing.T, l *event.Log) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func TestTimelinesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	l := newLog(t, s)
	stop := run(t, l)
	for i := range event.MaxFlush + 20 { // more than one commit
		l.Record(event.Event{MAC: machine.MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)), Stage: event.Seen, Attrs: map[string]string{event.AttrHostname: fmt.Sprint("n", i)}})
	}
	stop()
	want, _ := l.Timeline("n7")
	s.Close()

	s = openStore(t, dir)
	defer s.Close()
	again := newLog(t, s)
	got, found := again.Timeline("n7")
	if diff := cmp.Diff(want.Events, got.Events); !found || diff != "" {
		t.Errorf("found %v (-want +got):\n%s", found, diff)
	}
	if n := len(again.Machines()); n != event.MaxFlush+20 {
		t.Errorf("%d machines", n)
	}
	again.Record(event.Event{MAC: mac, Stage: event.Seen})
	if first, _ := again.Timeline(string(mac)); first.Events[0].Seq != uint64(event.MaxFlush+21) {
		t.Errorf("numbers start over at %d", first.Events[0].Seq)
	}
}

func TestUnreadableTimelineIsLeftBehind(t *testing.T) {
	s := openStore(t, t.TempDir())
	defer s.Close()
	if _, err := s.Apply(t.Context(), store.Op{Key: "timeline/x", Value: []byte(`"?"`)}, store.Op{Key: "timeline/y", Value: []byte(`{"mac":"02:00:00:00:00:01","events":[{"seq":4,"stage":"seen"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if n := len(newLog(t, s).Machines()); n != 1 {
		t.Errorf("%d machines, want the readable one", n)
	}
}

// TestHostileTextsAreStored fills a timeline with what grows sixfold when it is escaped; its neighbours are written all the same.
func TestHostileTextsAreStored(t *testing.T) {
	s := openStore(t, t.TempDir())
	defer s.Close()
	l := newLog(t, s)
	stop := run(t, l)
	for range event.MaxEvents {
		l.Record(event.Event{MAC: mac, Stage: event.Failed, Error: strings.Repeat("<", event.MaxMessage)})
	}
	l.Record(event.Event{MAC: "52:54:00:00:00:02", Stage: event.Failed, Error: "a\x00b\xffc\nd"})
	stop()
	again := newLog(t, s)
	hostile, found := again.Timeline(string(mac))
	if !found || len(hostile.Events) == 0 || len(hostile.Events) == event.MaxEvents {
		t.Errorf("found %v with %d events", found, len(hostile.Events))
	}
	if got, found := again.Timeline("52:54:00:00:00:02"); !found || got.Events[0].Error != "abc\nd" {
		t.Errorf("found %v: %q", found, got.Events[0].Error)
	}
}

// TestOldTimelinesAreSwept drops one of two machines, of which nothing was heard for a month.
func TestOldTimelinesAreSwept(t *testing.T) {
	const fresh = machine.MAC("52:54:00:00:00:02")
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, nil)
		stop := run(t, l)
		l.Record(event.Event{MAC: mac, Stage: event.Seen, Time: time.Now().Add(-event.Retention)})
		l.Record(event.Event{MAC: fresh, Stage: event.Seen})
		time.Sleep(2 * time.Hour)
		if _, found := l.Timeline(string(mac)); found {
			t.Error("a timeline without news for a month is still there")
		}
		if _, found := l.Timeline(string(fresh)); !found {
			t.Error("a timeline of today is gone")
		}
		stop()
	})
}

// TestWriteFailureKeepsTimelines closes the store under the log: nothing is lost in memory.
func TestWriteFailureKeepsTimelines(t *testing.T) {
	s := openStore(t, t.TempDir())
	l := newLog(t, s)
	s.Close()
	stop := run(t, l)
	l.Record(event.Event{MAC: mac, Stage: event.Seen})
	stop()
	if _, found := l.Timeline(string(mac)); !found {
		t.Error("the timeline is gone")
	}
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		events, err := l.Subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range event.SubscriberBuffer + 5 {
			l.Record(event.Event{MAC: mac, Stage: event.Progress, Message: fmt.Sprint(i)})
		}
		for i := range event.SubscriberBuffer {
			if got := <-events; got.Message != fmt.Sprint(i) || got.Missed != 0 {
				t.Fatalf("event %d: %q, %d missed", i, got.Message, got.Missed)
			}
		}
		l.Record(event.Event{MAC: mac, Stage: event.Progress, Message: "after"})
		if got := <-events; got.Message != "after" || got.Missed != 5 {
			t.Errorf("a slow subscriber got %q and was told of %d missed", got.Message, got.Missed)
		}
		cancel()
		synctest.Wait()
		if _, open := <-events; open {
			t.Error("the channel is open after its context ended")
		}
		l.Record(event.Event{MAC: mac, Stage: event.Progress})
	})
}

func TestSubscribersAreBounded(t *testing.T) {
	l := newLog(t, nil)
	for range event.MaxSubscribers {
		if _, err := l.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Subscribe(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("one too many: %v", err)
	}
}

func TestRecordConcurrently(t *testing.T) {
	s := openStore(t, t.TempDir())
	defer s.Close()
	l := newLog(t, s)
	stop := run(t, l)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 500 {
				l.Record(event.Event{MAC: machine.MAC(fmt.Sprintf("02:00:00:00:00:%02x", (i+j)%20)), Stage: event.Seen})
				if j%50 == 0 {
					l.Machines()
					l.Timeline("02:00:00:00:00:01")
				}
			}
		})
	}
	wg.Wait()
	stop()
	if n := len(l.Machines()); n != 20 {
		t.Errorf("%d machines", n)
	}
}

// BenchmarkRecordStrangers records for ever new machines, as a flood of made-up addresses would.
func BenchmarkRecordStrangers(b *testing.B) {
	l := newLog(b, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Record(event.Event{MAC: machine.MAC(fmt.Sprintf("02:00:%08x", i)), Stage: event.Seen})
	}
}

func BenchmarkRecord(b *testing.B) {
	l := newLog(b, nil)
	macs := make([]machine.MAC, 1000)
	for i := range macs {
		macs[i] = machine.MAC(fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Record(event.Event{MAC: macs[i%len(macs)], Stage: event.Seen, Message: "DISCOVER"})
	}
}
