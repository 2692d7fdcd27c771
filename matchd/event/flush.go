package event

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
)

// writeTimeout bounds one round of writing. It does not end with the log's context: what is half written at a stop would be lost.
const writeTimeout = 10 * time.Second

// maxFlushBytes bounds one commit.
const maxFlushBytes = 8 << 20

// Run writes timelines to the store while it changes, and drops those without news for [Retention]. When ctx ends it writes what is left
// and returns. A failing store is logged, once per failure; the timelines in memory are complete nevertheless.
func (l *Log) Run(ctx context.Context) error {
	flush := time.NewTicker(FlushInterval)
	defer flush.Stop()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		select {
		case <-flush.C:
			l.flush(ctx)
		case <-sweep.C:
			l.sweep()
		case <-ctx.Done():
			l.flush(ctx)
			return nil
		}
	}
}

// flush writes every timeline that changed, a bounded number per commit.
func (l *Log) flush(ctx context.Context) {
	if l.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	for {
		changed, dropped := l.takeChanged()
		if len(changed)+len(dropped) == 0 {
			return
		}
		if err := l.write(ctx, changed, dropped); err != nil {
			l.putBack(changed, dropped)
			l.metrics.flushFailed()
			l.log.Error("writing timelines failed, they are kept in memory", "error", err)
			return
		}
	}
}

// takeChanged copies timelines that differ from the store and marks them as written. Nothing is encoded here: recording waits for the lock.
func (l *Log) takeChanged() (changed []timeline, dropped []machine.MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for mac := range l.dirty {
		if len(changed) == MaxFlush {
			break
		}
		delete(l.dirty, mac)
		changed = append(changed, *l.timelines[mac])
	}
	for mac := range l.dropped {
		if len(dropped) == MaxFlush {
			break
		}
		delete(l.dropped, mac)
		dropped = append(dropped, mac)
	}
	return changed, dropped
}

func (l *Log) write(ctx context.Context, changed []timeline, dropped []machine.MAC) error {
	var ops []store.Op
	size := 0
	commit := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := l.store.Apply(ctx, ops...)
		ops, size = nil, 0
		return err
	}
	for _, mac := range dropped {
		ops = append(ops, l.table.DeleteOp(key(mac), store.Any()))
	}
	for _, t := range changed {
		op, err := l.encode(t)
		if err != nil {
			l.log.Error("a timeline cannot be written", "mac", t.MAC, "error", err)
			continue
		}
		ops, size = append(ops, op), size+len(op.Value)
		if size < maxFlushBytes {
			continue
		}
		if err := commit(); err != nil {
			return err
		}
	}
	return commit()
}

// encode shortens a timeline until it can be stored: texts of a hostile machine grow when they are escaped.
func (l *Log) encode(t timeline) (store.Op, error) {
	for {
		op, err := l.table.PutOp(key(t.MAC), t, store.Any())
		if err != nil || len(op.Value) <= MaxStored || len(t.Events) == 1 {
			return op, err
		}
		t.Events = t.Events[(len(t.Events)+1)/2:]
	}
}

func (l *Log) putBack(changed []timeline, dropped []machine.MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range changed {
		if l.timelines[t.MAC] != nil {
			l.dirty[t.MAC] = true
		}
	}
	for _, mac := range dropped {
		if l.timelines[mac] == nil {
			l.dropped[mac] = true
		}
	}
}

// key spells an address with hyphens, as file names and URLs of ours do.
func key(mac machine.MAC) string { return strings.ReplaceAll(string(mac), ":", "-") }

// sweep drops timelines that are too old.
func (l *Log) sweep() {
	limit := l.now().Add(-Retention)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range slices.Collect(maps.Values(l.timelines)) {
		if t.last().Time.Before(limit) {
			l.dropLocked(t)
		}
	}
}
