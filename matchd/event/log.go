package event

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
)

// Bounds of a log.
const (
	MaxEvents      = 200       // per machine; the oldest go first
	MaxMachines    = 16384     // timelines kept; the machine heard of longest ago goes first
	MaxTimeline    = 128 << 10 // bytes of one machine's events, about; the oldest go first
	MaxTotal       = 96 << 20  // bytes of all machines' events, about; beyond it the machine heard of longest ago keeps its last MinKept
	MinKept        = 20
	MaxMessage     = 4096                   // bytes of a message or an error; what is longer is cut
	MaxSubscribers = 64                     // at the same time
	FlushInterval  = 5 * time.Second        // between writes to the store
	MaxFlush       = 512                    // timelines per write: each write is an fsync on the disk that leases wait for
	MaxStored      = store.MaxValueSize / 2 // bytes of a stored timeline; a longer one is stored without its oldest events
	Retention      = 30 * 24 * time.Hour    // a timeline without news for this long is dropped
	sweepInterval  = time.Hour
)

// Options of a log; the zero value keeps timelines in memory only.
type Options struct {
	Store    store.Store           // where timelines are flushed to and read from at start; nil: nowhere
	Logger   *slog.Logger          // nil: slog.Default
	Registry prometheus.Registerer // nil: not counted anywhere
	Now      func() time.Time      // nil: time.Now
}

// Log keeps the timelines. It is safe for concurrent use.
type Log struct {
	store   store.Store // nil: timelines live in memory only
	table   store.Table[timeline]
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time

	mu          sync.Mutex
	seq         uint64
	timelines   map[machine.MAC]*timeline
	recent      *list.List           // of *timeline, the one with the newest event first
	total       int                  // bytes of all timelines' events
	dirty       map[machine.MAC]bool // differ from the store
	byUUID      map[string]machine.MAC
	byHost      map[string]machine.MAC
	dropped     map[machine.MAC]bool // evicted, still in the store
	subscribers map[*subscriber]bool
}

// timeline is one machine's, as it is stored.
type timeline struct {
	MAC      machine.MAC `json:"mac"`
	UUID     string      `json:"uuid,omitempty"`
	Hostname string      `json:"hostname,omitempty"`
	Address  string      `json:"address,omitempty"`
	Group    string      `json:"group,omitempty"`
	Profile  string      `json:"profile,omitempty"`
	Events   []Event     `json:"events"` // ascending by Seq, never empty; elements never change, so a copy of the slice may be read unlocked

	element *list.Element // in Log.recent
	bytes   int           // of Events
}

func (t *timeline) last() *Event { return &t.Events[len(t.Events)-1] }

// Summary is one machine in a list of all.
type Summary struct {
	MAC       machine.MAC `json:"mac"`
	UUID      string      `json:"uuid,omitempty"`
	Hostname  string      `json:"hostname,omitempty"`
	Address   string      `json:"address,omitempty"`
	Group     string      `json:"group,omitempty"`   // of the last match
	Profile   string      `json:"profile,omitempty"` // of the last match
	LastStage Stage       `json:"last_stage"`
	LastTime  time.Time   `json:"last_time"`
	Diagnosis string      `json:"diagnosis"`
}

// Timeline is everything known of one machine's boots.
type Timeline struct {
	Summary
	Diagnosed Diagnosis `json:"diagnosis"` // in the place of the summary's text
	Events    []Event   `json:"events"`
}

// tablePrefix is the prefix of the timelines' keys in the events store.
const tablePrefix = "timeline/"

// NewLog returns a log with the timelines that are in the store. A timeline that cannot be decoded is logged and left behind.
func NewLog(options Options) (*Log, error) {
	l := &Log{
		log: options.Logger, metrics: newMetrics(options.Registry), now: options.Now,
		timelines: map[machine.MAC]*timeline{}, byUUID: map[string]machine.MAC{}, byHost: map[string]machine.MAC{},
		recent: list.New(), dirty: map[machine.MAC]bool{}, dropped: map[machine.MAC]bool{}, subscribers: map[*subscriber]bool{},
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	if l.now == nil {
		l.now = time.Now
	}
	if options.Store == nil {
		return l, nil
	}
	l.store, l.table = options.Store, store.NewTable[timeline](options.Store, tablePrefix)
	listing, err := l.table.List(context.Background())
	if err != nil {
		return nil, fmt.Errorf("reading the timelines: %w", err)
	}
	for _, problem := range listing.Problems {
		l.log.Error("a timeline cannot be read and is left behind", "error", problem)
	}
	l.adopt(listing.Rows)
	return l, nil
}

// adopt takes over the timelines of the store, the one with the newest event as the most recent.
func (l *Log) adopt(rows []store.Row[timeline]) {
	rows = slices.DeleteFunc(rows, func(row store.Row[timeline]) bool { return len(row.Value.Events) == 0 || row.Value.MAC == "" })
	slices.SortFunc(rows, func(a, b store.Row[timeline]) int { return cmp.Compare(a.Value.last().Seq, b.Value.last().Seq) })
	for i := range rows {
		t := &rows[i].Value
		l.seq = t.last().Seq
		for i := range t.Events {
			t.bytes += t.Events[i].size()
		}
		l.total += t.bytes
		l.timelines[t.MAC] = t
		t.element = l.recent.PushFront(t)
		l.indexLocked(t)
	}
	for len(l.timelines) > MaxMachines {
		l.evictLocked()
	}
	l.trimLocked()
}

// Record adds an event to its machine's timeline and hands it to all subscribers. It never waits. An event of no machine is handed on and
// counted, but belongs to no timeline.
func (l *Log) Record(e Event) {
	if e.Level == "" {
		e.Level = Info
	}
	e.Message, e.Error = clip(e.Message), clip(e.Error)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Time.IsZero() {
		e.Time = l.now()
	}
	l.seq++
	e.Seq = l.seq
	if e.MAC != "" {
		l.addLocked(e)
	}
	l.metrics.recorded(e, len(l.timelines))
	for s := range l.subscribers {
		s.deliver(e)
	}
}

// clip bounds a text that may come from a machine, and keeps line breaks and tabs as its only control characters.
func clip(s string) string {
	cut := ""
	if len(s) > MaxMessage {
		s, cut = s[:MaxMessage], " …"
	}
	s = strings.ToValidUTF8(s, "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s) + cut
}

func (l *Log) addLocked(e Event) {
	t := l.timelines[e.MAC]
	if t == nil {
		if len(l.timelines) >= MaxMachines {
			l.evictLocked()
		}
		t = &timeline{MAC: e.MAC}
		t.element = l.recent.PushFront(t)
		l.timelines[e.MAC] = t
		delete(l.dropped, e.MAC)
	}
	if len(t.Events) > 0 {
		l.metrics.step(t.Events, e)
	}
	t.Events = append(t.Events, e)
	t.bytes += e.size()
	l.total += e.size()
	if len(t.Events) > MaxEvents {
		l.cutLocked(t, 1) // append leaves the front behind when it next grows
	}
	if t.bytes > MaxTimeline {
		l.cutLocked(t, (len(t.Events)+3)/4) // by more than one, so that the copy pays
		t.Events = slices.Clone(t.Events)
	}
	l.learnLocked(t, e)
	l.recent.MoveToFront(t.element)
	l.dirty[e.MAC] = true
	l.trimLocked()
}

// cutLocked drops the oldest n events of a timeline. Whoever wants their texts freed at once copies the rest.
func (l *Log) cutLocked(t *timeline, n int) {
	for i := range n {
		t.bytes -= t.Events[i].size()
		l.total -= t.Events[i].size()
	}
	t.Events = t.Events[n:]
}

// learnLocked takes over what an event tells of its machine. A name that the machine no longer has leads to it no longer.
func (l *Log) learnLocked(t *timeline, e Event) {
	uuid, host := t.UUID, t.Hostname
	t.learn(e)
	if t.UUID != uuid {
		forget(l.byUUID, uuid, t.MAC)
	}
	if t.Hostname != host {
		forget(l.byHost, host, t.MAC)
	}
	l.indexLocked(t)
}

// forget removes a name from an index unless it leads to another machine by now.
func forget(index map[string]machine.MAC, name string, mac machine.MAC) {
	name = strings.ToLower(name)
	if index[name] == mac {
		delete(index, name)
	}
}

func (t *timeline) learn(e Event) {
	for _, fact := range [...]struct {
		to   *string
		from string
	}{
		{&t.UUID, e.UUID}, {&t.Hostname, e.Attrs[AttrHostname]}, {&t.Address, e.Attrs[AttrAddress]},
		{&t.Group, e.Attrs[AttrGroup]}, {&t.Profile, e.Attrs[AttrProfile]},
	} {
		if fact.from != "" {
			*fact.to = fact.from
		}
	}
	if e.Stage == NotMatched {
		t.Group, t.Profile = "", ""
	}
}

func (l *Log) indexLocked(t *timeline) {
	if t.UUID != "" {
		l.byUUID[strings.ToLower(t.UUID)] = t.MAC
	}
	if t.Hostname != "" {
		l.byHost[strings.ToLower(t.Hostname)] = t.MAC
	}
}

// trimLocked keeps the total in its bound: the timelines without news for the longest time are cut first, and dropped once they are cut.
func (l *Log) trimLocked() {
	for l.total > MaxTotal {
		t := l.recent.Back().Value.(*timeline)
		if len(t.Events) <= MinKept {
			l.dropLocked(t)
			continue
		}
		l.cutLocked(t, len(t.Events)-MinKept)
		t.Events = slices.Clone(t.Events)
		l.dirty[t.MAC] = true
		l.recent.MoveToFront(t.element) // its turn comes again when all others had theirs
	}
}

// evictLocked drops the timeline that had no news for the longest time.
func (l *Log) evictLocked() {
	if oldest := l.recent.Back(); oldest != nil {
		l.dropLocked(oldest.Value.(*timeline))
	}
}

func (l *Log) dropLocked(t *timeline) {
	delete(l.timelines, t.MAC)
	delete(l.dirty, t.MAC)
	l.total -= t.bytes
	l.recent.Remove(t.element)
	forget(l.byUUID, t.UUID, t.MAC)
	forget(l.byHost, t.Hostname, t.MAC)
	l.dropped[t.MAC] = true
}

// Machines returns a summary of every machine, the one with the newest event first. It diagnoses copies, so that packets do not wait for a
// reader of thousands.
func (l *Log) Machines() []Summary {
	now := l.now()
	l.mu.Lock()
	timelines := make([]timeline, 0, len(l.timelines))
	for _, t := range l.timelines {
		timelines = append(timelines, *t)
	}
	l.mu.Unlock()
	list := make([]Summary, 0, len(timelines))
	for i := range timelines {
		list = append(list, timelines[i].summary(now))
	}
	slices.SortFunc(list, func(a, b Summary) int {
		if c := b.LastTime.Compare(a.LastTime); c != 0 {
			return c
		}
		return strings.Compare(string(a.MAC), string(b.MAC))
	})
	return list
}

func (t *timeline) summary(now time.Time) Summary {
	return Summary{
		MAC: t.MAC, UUID: t.UUID, Hostname: t.Hostname, Address: t.Address, Group: t.Group, Profile: t.Profile,
		LastStage: t.last().Stage, LastTime: t.last().Time, Diagnosis: Diagnose(t.Events, now).Text,
	}
}

// Timeline returns the timeline of the machine that name stands for: a MAC address in any notation, a UUID or a host name.
func (l *Log) Timeline(name string) (Timeline, bool) {
	now := l.now()
	l.mu.Lock()
	found := l.findLocked(name)
	if found == nil {
		l.mu.Unlock()
		return Timeline{}, false
	}
	t := *found
	l.mu.Unlock()
	return Timeline{Summary: t.summary(now), Diagnosed: Diagnose(t.Events, now), Events: slices.Clone(t.Events)}, true
}

func (l *Log) findLocked(name string) *timeline {
	if mac, err := machine.ParseMAC(name); err == nil {
		return l.timelines[mac]
	}
	name = strings.ToLower(name)
	for _, uuid := range [...]string{name, machine.SwapUUID(name)} {
		if mac, ok := l.byUUID[uuid]; ok {
			return l.timelines[mac]
		}
	}
	return l.timelines[l.byHost[name]]
}
