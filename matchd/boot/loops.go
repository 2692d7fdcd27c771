package boot

import (
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
)

// What counts as a loop (a network boot program that starts but never gets to ask for a script) and how much of it is remembered.
const (
	LoopDeliveries = 3               // deliveries of a loader without a script in between
	LoopWindow     = 2 * time.Minute // within this time
	MaxLoops       = 16384           // machines watched at once; beyond it the oldest is forgotten
)

// Loops watches the timeline for machines that fetch loader after loader and never a script. It passes every event on. After
// [LoopDeliveries] it says so, once per round, and [Loops.Round] grows by one, so that the planner can try the next loader.
type Loops struct {
	next interface{ Record(event.Event) }
	now  func() time.Time

	mu       sync.Mutex
	machines map[machine.MAC]*loop
}

type loop struct {
	deliveries []time.Time // since the last script, at most LoopDeliveries
	round      int
	last       time.Time
}

// NewLoops returns a watcher that hands all events to next. now is the clock; nil means [time.Now].
func NewLoops(next interface{ Record(event.Event) }, now func() time.Time) *Loops {
	if now == nil {
		now = time.Now
	}
	return &Loops{next: next, now: now, machines: map[machine.MAC]*loop{}}
}

// Record counts the event and passes it on.
func (l *Loops) Record(e event.Event) {
	l.next.Record(e)
	switch e.Stage {
	case event.LoaderSent:
		if e.Error == "" && l.delivered(e.MAC) {
			l.next.Record(event.Event{
				MAC: e.MAC, UUID: e.UUID, Stage: event.Looping, Level: event.Warn, Peer: e.Peer,
				Message: "fetched a loader three times within two minutes and never asked for a script; offering the next loader for this architecture, if there is one",
				Attrs:   e.Attrs,
			})
		}
	case event.ScriptSent, event.ToDisk, event.Held:
		l.mu.Lock()
		delete(l.machines, e.MAC)
		l.mu.Unlock()
	}
}

// delivered notes a delivery and reports whether it completes a loop.
func (l *Loops) delivered(mac machine.MAC) bool {
	if mac == "" {
		return false
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	state := l.machines[mac]
	if state == nil {
		l.makeRoomLocked()
		state = &loop{}
		l.machines[mac] = state
	}
	state.last = now
	kept := state.deliveries[:0]
	for _, at := range state.deliveries {
		if now.Sub(at) < LoopWindow {
			kept = append(kept, at)
		}
	}
	state.deliveries = append(kept, now)
	if len(state.deliveries) < LoopDeliveries {
		return false
	}
	state.deliveries = nil
	state.round++
	return true
}

func (l *Loops) makeRoomLocked() {
	if len(l.machines) < MaxLoops {
		return
	}
	var oldest machine.MAC
	for mac, state := range l.machines {
		if oldest == "" || state.last.Before(l.machines[oldest].last) {
			oldest = mac
		}
	}
	delete(l.machines, oldest)
}

// Round returns how many loops the machine has completed since its last script.
func (l *Loops) Round(mac machine.MAC) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state := l.machines[mac]; state != nil {
		return state.round
	}
	return 0
}
