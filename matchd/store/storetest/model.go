package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

const (
	modelSeeds = 5
	modelSteps = 150
)

// model is what a store should be, in the simplest way.
type model struct {
	records  map[string]store.Record
	revision store.Revision
	commits  []store.Commit
}

func (m *model) apply(ops []store.Op) (ok bool) {
	for _, op := range ops {
		if !op.If.Holds(m.records[op.Key].Revision) {
			return false
		}
	}
	m.revision++
	var changes []store.Change
	for _, op := range ops {
		change := store.Change{Record: store.Record{Key: op.Key, Revision: m.revision}, Deleted: op.Delete}
		_, exists := m.records[op.Key]
		switch {
		case op.Delete && !exists:
			continue
		case op.Delete:
			delete(m.records, op.Key)
		default:
			change.Value = op.Value
			m.records[op.Key] = change.Record
		}
		changes = append(changes, change)
	}
	m.commits = append(m.commits, store.Commit{Revision: m.revision, Changes: changes})
	return true
}

func (m *model) list(prefix string) string {
	var lines strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m.records)) {
		if strings.HasPrefix(key, prefix) {
			fmt.Fprintf(&lines, "%s=%s@%d\n", key, m.records[key].Value, m.records[key].Revision)
		}
	}
	return lines.String()
}

// testModel compares the store with the model after random commits, and then replays what watchers see.
func testModel(t *testing.T, s store.Store) {
	for seed := range uint64(modelSeeds) {
		random := rand.New(rand.NewPCG(seed, 0))
		m := start(t, s)
		from := m.revision
		for range modelSteps {
			step(t, s, m, random)
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		}
		for _, prefix := range []string{"", "a", "a/1", "none"} {
			replay(t, s, m, prefix, from)
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// start returns a model of the store as it is.
func start(t *testing.T, s store.Store) *model {
	t.Helper()
	records, revision, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{records: map[string]store.Record{}, revision: revision}
	for _, r := range records {
		m.records[r.Key] = r
	}
	return m
}

func step(t *testing.T, s store.Store, m *model, random *rand.Rand) {
	t.Helper()
	ops := randomOps(m, random)
	want := m.apply(ops)
	revision, err := s.Apply(t.Context(), ops...)
	switch {
	case want && (err != nil || revision != m.revision):
		t.Errorf("Apply(%v) = %d, %v, want %d", ops, revision, err, m.revision)
	case !want:
		wantKind(t, err, fault.Conflict)
	}
	prefix := [...]string{"", "a", "a/", "b/2", "c"}[random.IntN(5)]
	if got, revision := content(t, s, prefix); got != m.list(prefix) || revision != m.revision {
		t.Errorf("after %v, List(%q) at %d:\n%swant at %d:\n%s", ops, prefix, revision, got, m.revision, m.list(prefix))
	}
}

func randomOps(m *model, random *rand.Rand) []store.Op {
	var ops []store.Op
	for range 1 + random.IntN(6) {
		key := fmt.Sprintf("%c/%d", 'a'+rune(random.IntN(3)), random.IntN(5))
		if slices.ContainsFunc(ops, func(op store.Op) bool { return op.Key == key }) {
			continue
		}
		op := put(key, fmt.Sprint(random.IntN(1000)))
		if random.IntN(4) == 0 {
			op = del(key)
		}
		switch at := m.records[key].Revision; random.IntN(6) {
		case 0:
			op.If = store.Absent()
		case 1, 2:
			if at > 0 {
				op.If = store.At(at)
			}
		case 3:
			if random.IntN(4) == 0 {
				op.If = store.At(at + 1)
			}
		}
		ops = append(ops, op)
	}
	return ops
}

// replay watches from the model's start to its end and compares what was seen under prefix.
func replay(t *testing.T, s store.Store, m *model, prefix string, after store.Revision) {
	t.Helper()
	for _, want := range m.commits {
		want.Changes = slices.DeleteFunc(slices.Clone(want.Changes), func(c store.Change) bool { return !strings.HasPrefix(c.Key, prefix) })
		if len(want.Changes) == 0 {
			continue
		}
		got, err := s.Watch(t.Context(), prefix, after)
		if err != nil {
			t.Errorf("Watch(%q, %d): %v", prefix, after, err)
			return
		}
		if describe(got) != describe(want) {
			t.Errorf("Watch(%q, %d) = %s, want %s", prefix, after, describe(got), describe(want))
			return
		}
		after = got.Revision
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.Watch(ctx, prefix, after)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch(%q, %d) after the end: got error %v, want it to wait", prefix, after, err)
	}
}

func describe(c store.Commit) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d:", c.Revision)
	for _, change := range c.Changes {
		fmt.Fprintf(&text, " %s=%s@%d", change.Key, change.Value, change.Revision)
		if change.Deleted {
			text.WriteString("(deleted)")
		}
	}
	return text.String()
}
