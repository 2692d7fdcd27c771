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

// finalFlush bounds the last write when a log stops.
const finalFlush = 10 * time.Second

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
			final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
			defer cancel()
			l.flush(final)
			return nil
		}
	}
}

// flush writes every timeline that changed, a bounded number per commit.
func (l *Log) flush(ctx context.Context) {
	if l.store == nil {
		return
	}
	for {
		changed, ops := l.takeChanged()
		if len(ops) == 0 {
			return
		}
		if _, err := l.store.Apply(ctx, ops...); err != nil {
			l.putBack(changed)
			l.metrics.flushFailed()
			l.log.Error("writing timelines failed, they are kept in memory", "error", err)
			return
		}
	}
}

// takeChanged marks timelines as written and returns what writes them. The encoding happens under the lock: a timeline has at most
// MaxEvents small events, and MaxFlush bounds how many.
func (l *Log) takeChanged() (changed []machine.MAC, ops []store.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for mac, t := range l.timelines {
		if len(ops) >= MaxFlush {
			return changed, ops
		}
		if !t.dirty {
			continue
		}
		t.dirty = false
		op, err := l.table.PutOp(key(mac), *t, store.Any())
		if err != nil {
			l.log.Error("a timeline cannot be written", "mac", mac, "error", err)
			continue
		}
		changed, ops = append(changed, mac), append(ops, op)
	}
	for mac := range l.dropped {
		if len(ops) >= MaxFlush {
			break
		}
		delete(l.dropped, mac)
		changed, ops = append(changed, mac), append(ops, l.table.DeleteOp(key(mac), store.Any()))
	}
	return changed, ops
}

func (l *Log) putBack(changed []machine.MAC) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, mac := range changed {
		if t := l.timelines[mac]; t != nil {
			t.dirty = true
		} else {
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
