package boot

import (
	"fmt"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
)

type recorded []event.Event

func (r *recorded) Record(e event.Event) { *r = append(*r, e) }

func (r recorded) count(stage event.Stage) int {
	n := 0
	for _, e := range r {
		if e.Stage == stage {
			n++
		}
	}
	return n
}

func TestLoops(t *testing.T) {
	const mac = machine.MAC("52:54:00:00:00:01")
	loader := event.Event{MAC: mac, Stage: event.LoaderSent}
	aborted := event.Event{MAC: mac, Stage: event.LoaderSent, Error: "aborted"}
	script := event.Event{MAC: mac, Stage: event.ScriptSent}
	type step struct {
		after time.Duration
		event event.Event
	}
	tests := []struct {
		name         string
		steps        []step
		loops, round int
	}{
		{"three in a row", []step{{0, loader}, {10 * time.Second, loader}, {10 * time.Second, loader}}, 1, 1},
		{"a script in between", []step{{0, loader}, {0, loader}, {0, script}, {0, loader}}, 0, 0},
		{"too slow", []step{{0, loader}, {time.Minute, loader}, {time.Minute, loader}}, 0, 0},
		{"aborted transfers do not count", []step{{0, loader}, {0, aborted}, {0, aborted}, {0, loader}}, 0, 0},
		{"six are two rounds", []step{{0, loader}, {0, loader}, {0, loader}, {0, loader}, {0, loader}, {0, loader}}, 2, 2},
		{"a script ends it", []step{{0, loader}, {0, loader}, {0, loader}, {0, script}}, 1, 0},
		{"nobody's", []step{{0, event.Event{Stage: event.LoaderSent}}, {0, event.Event{Stage: event.LoaderSent}}, {0, event.Event{Stage: event.LoaderSent}}}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_000_000, 0)
			var log recorded
			loops := NewLoops(&log, func() time.Time { return now })
			for _, s := range tt.steps {
				now = now.Add(s.after)
				loops.Record(s.event)
			}
			if got := log.count(event.Looping); got != tt.loops {
				t.Errorf("%d loops reported, want %d", got, tt.loops)
			}
			if got := loops.Round(mac); got != tt.round {
				t.Errorf("round %d, want %d", got, tt.round)
			}
			if got := len(log) - log.count(event.Looping); got != len(tt.steps) {
				t.Errorf("%d of %d events passed on", got, len(tt.steps))
			}
		})
	}
}

func TestLoopsAreBounded(t *testing.T) {
	var log recorded
	loops := NewLoops(&log, nil)
	for i := range MaxLoops + 100 {
		loops.Record(event.Event{MAC: machine.MAC(fmt.Sprint(i)), Stage: event.LoaderSent})
	}
	if len(loops.machines) != MaxLoops {
		t.Errorf("%d machines watched, at most %d allowed", len(loops.machines), MaxLoops)
	}
}
