package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/store"
)

// Options of a [Log].
type Options struct {
	Written store.Store // holds the records of writes, beside what they wrote
	Refused store.Store // holds the records of refused calls
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
}

// Log is the audit log. Each store holds a ring of slots: a record takes the place of the oldest one, so that nothing has to be swept. It is safe for
// concurrent use.
type Log struct {
	written, refused store.Store
	log              *slog.Logger
	now              func() time.Time
	queue            chan Record
	dropped          prometheus.Counter

	mu            sync.Mutex
	seq           uint64 // of the last record
	writtenSlot   int    // that the next record takes
	refusedSlot   int
	unheardOfDrop int // left out since the log last told
}

// Open returns the log that the stores hold. A record that cannot be read is left out: its slot is used again in its turn.
func Open(ctx context.Context, o Options) (*Log, error) {
	l := &Log{written: o.Written, refused: o.Refused, log: o.Logger, now: o.Now, queue: make(chan Record, maxQueue)}
	if l.log == nil {
		l.log = slog.Default()
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.dropped = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "matchd_audit_dropped_total", Help: "Refused calls that were not recorded, because too many came at once.",
	})
	if o.Metrics != nil {
		o.Metrics.MustRegister(l.dropped)
	}
	for _, ring := range []struct {
		store store.Store
		next  *int
		size  int
	}{{l.written, &l.writtenSlot, MaxWritten}, {l.refused, &l.refusedSlot, MaxRefused}} {
		records, err := list(ctx, ring.store)
		if err != nil {
			return nil, fmt.Errorf("opening the audit log: %w", err)
		}
		latest := uint64(0)
		for _, r := range records {
			if r.Seq >= latest {
				latest, *ring.next = r.Seq, (r.slot+1)%ring.size
			}
		}
		l.seq = max(l.seq, latest)
	}
	return l, nil
}

// Op returns the operation that records a write, to be applied in the same commit as the write itself. It sets the time and the number.
func (l *Log) Op(r Record) (store.Op, error) {
	l.mu.Lock()
	slot := l.writtenSlot
	l.writtenSlot = (l.writtenSlot + 1) % MaxWritten
	l.numberLocked(&r)
	l.mu.Unlock()
	r.Code = "OK"
	return op(slot, r)
}

// Refuse records a call that changed nothing. It never waits: what comes too fast is counted and left out.
func (l *Log) Refuse(r Record) {
	l.mu.Lock()
	l.numberLocked(&r)
	l.mu.Unlock()
	select {
	case l.queue <- r:
	default:
		l.dropped.Inc()
		l.mu.Lock()
		l.unheardOfDrop++
		l.mu.Unlock()
	}
}

func (l *Log) numberLocked(r *Record) {
	l.seq++
	r.Seq, r.Time = l.seq, l.now().UTC()
}

// Run writes the records of refused calls until ctx ends, and then those that wait.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case r := <-l.queue:
			l.write(context.WithoutCancel(ctx), r)
		case <-ctx.Done():
			for {
				select {
				case r := <-l.queue:
					l.write(context.WithoutCancel(ctx), r)
				default:
					return nil
				}
			}
		}
	}
}

// write puts a record and those that wait behind it into one commit. A failure is logged: nobody waits for the record.
func (l *Log) write(ctx context.Context, first Record) {
	batch := []Record{first}
	for len(batch) < maxQueue {
		select {
		case r := <-l.queue:
			batch = append(batch, r)
			continue
		default:
		}
		break
	}
	l.mu.Lock()
	slot := l.refusedSlot
	l.refusedSlot = (slot + len(batch)) % MaxRefused
	dropped := l.unheardOfDrop
	l.unheardOfDrop = 0
	l.mu.Unlock()
	ops := make([]store.Op, 0, len(batch))
	for i, r := range batch {
		if o, err := op((slot+i)%MaxRefused, r); err == nil {
			ops = append(ops, o)
		}
	}
	if _, err := l.refused.Apply(ctx, ops...); err != nil {
		l.log.Error("refused calls were not recorded", "error", err, "records", len(batch))
	}
	if dropped > 0 {
		l.log.Warn("refused calls came too fast to be recorded", "left_out", dropped)
	}
}

func op(slot int, r Record) (store.Op, error) {
	r.Identity, r.Role, r.Peer, r.Method, r.Error = clip(r.Identity), clip(r.Role), clip(r.Peer), clip(r.Method), clip(r.Error)
	if len(r.Objects) > MaxObjects {
		r.More += len(r.Objects) - MaxObjects
		r.Objects = r.Objects[:MaxObjects]
	}
	clipped := make([]Object, len(r.Objects))
	for i, o := range r.Objects {
		clipped[i] = Object{clip(o.Kind), clip(o.ID)}
	}
	r.Objects = clipped
	value, err := json.Marshal(r)
	if err != nil {
		return store.Op{}, fmt.Errorf("encoding an audit record: %w", err)
	}
	return store.Op{Key: fmt.Sprintf("%s%06d", Prefix, slot), Value: value}, nil
}

// clip bounds a text and leaves valid UTF-8.
func clip(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

type stored struct {
	Record
	slot int
}

// list returns the records of one store in the order of their slots.
func list(ctx context.Context, s store.Store) ([]stored, error) {
	raw, _, err := s.List(ctx, Prefix)
	if err != nil {
		return nil, err
	}
	records := make([]stored, 0, len(raw))
	for _, r := range raw {
		slot, err := strconv.Atoi(strings.TrimPrefix(r.Key, Prefix))
		record := stored{slot: slot}
		if err != nil || json.Unmarshal(r.Value, &record.Record) != nil {
			continue
		}
		if record.Code == "OK" {
			record.After = r.Revision
		}
		records = append(records, record)
	}
	return records, nil
}
