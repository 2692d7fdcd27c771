package event

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
)

// Bounds of a log.
const (
	MaxEvents      = 200                 // per machine; the oldest go first
	MaxMachines    = 16384               // timelines kept; the machine heard of longest ago goes first
	MaxMessage     = 4096                // bytes of a message or an error; what is longer is cut
	MaxSubscribers = 64                  // at the same time
	FlushInterval  = 2 * time.Second     // between writes to the store
	MaxFlush       = 256                 // timelines per write
	Retention      = 30 * 24 * time.Hour // a timeline without news for this long is dropped
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
	Events   []Event     `json:"events"` // ascending by Seq, never empty

	dirty bool // differs from the store
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
		dropped: map[machine.MAC]bool{}, subscribers: map[*subscriber]bool{},
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
	for _, row := range listing.Rows {
		if t := row.Value; len(t.Events) > 0 && t.MAC != "" {
			l.seq = max(l.seq, t.last().Seq)
			l.timelines[t.MAC] = &t
			l.indexLocked(&t)
		}
	}
	for len(l.timelines) > MaxMachines {
		l.evictLocked()
	}
	return l, nil
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

func clip(s string) string {
	if len(s) <= MaxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:MaxMessage], "") + " …"
}

func (l *Log) addLocked(e Event) {
	t := l.timelines[e.MAC]
	if t == nil {
		if len(l.timelines) >= MaxMachines {
			l.evictLocked()
		}
		t = &timeline{MAC: e.MAC}
		l.timelines[e.MAC] = t
		delete(l.dropped, e.MAC)
	}
	if len(t.Events) > 0 {
		l.metrics.step(t.Events, e)
	}
	if len(t.Events) >= MaxEvents {
		t.Events = t.Events[len(t.Events)-MaxEvents+1:] // append leaves the front behind when it next grows
	}
	t.Events = append(t.Events, e)
	t.learn(e)
	t.dirty = true
	l.indexLocked(t)
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

// evictLocked drops the timeline that had no news for the longest time.
func (l *Log) evictLocked() {
	var oldest *timeline
	for _, t := range l.timelines {
		if oldest == nil || t.last().Seq < oldest.last().Seq {
			oldest = t
		}
	}
	if oldest != nil {
		l.dropLocked(oldest)
	}
}

func (l *Log) dropLocked(t *timeline) {
	delete(l.timelines, t.MAC)
	if l.byUUID[strings.ToLower(t.UUID)] == t.MAC {
		delete(l.byUUID, strings.ToLower(t.UUID))
	}
	if l.byHost[strings.ToLower(t.Hostname)] == t.MAC {
		delete(l.byHost, strings.ToLower(t.Hostname))
	}
	l.dropped[t.MAC] = true
}

// Machines returns a summary of every machine, the one with the newest event first.
func (l *Log) Machines() []Summary {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Summary, 0, len(l.timelines))
	for _, t := range l.timelines {
		list = append(list, t.summary(now))
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
	defer l.mu.Unlock()
	t := l.findLocked(name)
	if t == nil {
		return Timeline{}, false
	}
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
