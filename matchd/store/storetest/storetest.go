// Package storetest holds the contract of [store.Store] as tests that every engine must pass.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Run tests an engine. Open returns a new, empty store, and closes it when the test ends; closing it twice must not hurt.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"Empty", testEmpty},
		{"PutGetDelete", testPutGetDelete},
		{"Preconditions", testPreconditions},
		{"Atomicity", testAtomicity},
		{"Invalid", testInvalid},
		{"Limits", testLimits},
		{"ListIsSortedByBytes", testListOrder},
		{"ValuesBelongToTheirOwner", testOwnership},
		{"CancelledContext", testCancelled},
		{"Closed", testClosed},
		{"Model", testModel},
		{"WatchWaits", testWatchWaits},
		{"WatchPrefix", testWatchPrefix},
		{"WatchCompacted", testWatchCompacted},
		{"WatchOwnership", testWatchOwnership},
		{"WatchCancelled", testWatchCancelled},
		{"CloseWakesWatchers", testCloseWakes},
		{"ListJoinsWatch", testListJoinsWatch},
		{"ConcurrentCounters", testCounters},
		{"ConcurrentFailures", testConcurrentFailures},
		{"ConcurrentCancelled", testConcurrentCancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func del(key string) store.Op { return store.Op{Key: key, Delete: true} }

func when(op store.Op, condition store.Precondition) store.Op {
	op.If = condition
	return op
}

// apply applies operations that must succeed.
func apply(t *testing.T, s store.Store, ops ...store.Op) store.Revision {
	t.Helper()
	revision, err := s.Apply(t.Context(), ops...)
	if err != nil {
		t.Fatalf("Apply(%v): %v", ops, err)
	}
	return revision
}

// content lists the store as "key=value@revision" lines.
func content(t *testing.T, s store.Store, prefix string) (string, store.Revision) {
	t.Helper()
	records, revision, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	var lines strings.Builder
	for _, r := range records {
		fmt.Fprintf(&lines, "%s=%s@%d\n", r.Key, r.Value, r.Revision)
	}
	return lines.String(), revision
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Errorf("got error %v, want one of kind %v", err, want)
	}
}

func testEmpty(t *testing.T, s store.Store) {
	if got, revision := content(t, s, ""); got != "" || revision != 0 {
		t.Errorf("an empty store lists %q at revision %d", got, revision)
	}
	_, err := s.Get(t.Context(), "a")
	wantKind(t, err, fault.NotFound)
}

func testPutGetDelete(t *testing.T, s store.Store) {
	first := apply(t, s, put("a", `1`), put("b", ``))
	if first != 1 {
		t.Errorf("the first commit is revision %d, want 1", first)
	}
	second := apply(t, s, put("a", `2`))
	if second != first+1 {
		t.Errorf("the second commit is revision %d, want %d", second, first+1)
	}
	for _, tt := range []struct {
		key, value string
		revision   store.Revision
	}{{"a", `2`, second}, {"b", ``, first}} {
		r, err := s.Get(t.Context(), tt.key)
		if err != nil || string(r.Value) != tt.value || r.Revision != tt.revision || r.Key != tt.key {
			t.Errorf("Get(%q) = %+v, %v, want value %q of revision %d", tt.key, r, err, tt.value, tt.revision)
		}
	}
	third := apply(t, s, del("a"), del("never was"))
	_, err := s.Get(t.Context(), "a")
	wantKind(t, err, fault.NotFound)
	if got, revision := content(t, s, ""); got != "b=@1\n" || revision != third {
		t.Errorf("got %q at %d", got, revision)
	}
}

func testPreconditions(t *testing.T, s store.Store) {
	at := apply(t, s, put("there", `1`))
	tests := []struct {
		name string
		op   store.Op
		fine bool
	}{
		{"absent, is there", when(put("there", `2`), store.Absent()), false},
		{"absent, is not", when(put("new", `2`), store.Absent()), true},
		{"at, is not there", when(put("missing", `2`), store.At(at)), false},
		{"at another", when(put("there", `2`), store.At(at+100)), false},
		{"delete at another", when(del("there"), store.At(at+100)), false},
		{"delete absent, is there", when(del("there"), store.Absent()), false},
		{"delete absent, is not", when(del("missing"), store.Absent()), true},
		{"at", when(put("there", `2`), store.At(at)), true},
		{"at the one before", when(put("there", `3`), store.At(at)), false},
	}
	for _, tt := range tests {
		before, _ := content(t, s, "")
		_, err := s.Apply(t.Context(), tt.op)
		if tt.fine {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		wantKind(t, err, fault.Conflict)
		if err != nil && !strings.Contains(err.Error(), tt.op.Key) {
			t.Errorf("%s: the error does not name the key: %v", tt.name, err)
		}
		if after, _ := content(t, s, ""); after != before {
			t.Errorf("%s: a failed commit changed %q to %q", tt.name, before, after)
		}
	}
}

func testAtomicity(t *testing.T, s store.Store) {
	apply(t, s, put("a", `1`))
	before, at := content(t, s, "")
	_, err := s.Apply(t.Context(), put("b", `1`), del("a"), when(put("c", `1`), store.At(7)))
	wantKind(t, err, fault.Conflict)
	if after, revision := content(t, s, ""); after != before || revision != at {
		t.Errorf("half a commit: %q at %d, want %q at %d", after, revision, before, at)
	}
}

func testInvalid(t *testing.T, s store.Store) {
	for name, ops := range map[string][]store.Op{
		"none":            nil,
		"empty key":       {put("", `1`)},
		"key twice":       {put("a", `1`), del("a")},
		"key twice, many": {put("a", `1`), put("b", `1`), put("c", `1`), put("d", `1`), put("e", `1`), put("c", `2`)},
		"long key":        {put(strings.Repeat("k", store.MaxKeySize+1), `1`)},
		"long value":      {put("a", strings.Repeat("v", store.MaxValueSize+1))},
		"not UTF-8":       {put("a\xff", `1`)},
		"newline":         {put("a\nb", `1`)},
		"too many":        make([]store.Op, store.MaxOps+1),
	} {
		_, err := s.Apply(t.Context(), ops...)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got error %v, want one of kind invalid", name, err)
		}
	}
	if got, revision := content(t, s, ""); got != "" || revision != 0 {
		t.Errorf("something was kept: %q at %d", got, revision)
	}
}

func testLimits(t *testing.T, s store.Store) {
	key := strings.Repeat("k", store.MaxKeySize)
	value := bytes.Repeat([]byte("7"), store.MaxValueSize)
	apply(t, s, store.Op{Key: key, Value: value})
	if r, err := s.Get(t.Context(), key); err != nil || !bytes.Equal(r.Value, value) {
		t.Errorf("the largest value came back with %d bytes, %v", len(r.Value), err)
	}
	ops := make([]store.Op, 10_000)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("many/%05d", i), `1`)
	}
	apply(t, s, ops...)
	if records, _, err := s.List(t.Context(), "many/"); err != nil || len(records) != len(ops) {
		t.Errorf("%d records of %d, %v", len(records), len(ops), err)
	}
}

func testListOrder(t *testing.T, s store.Store) {
	apply(t, s, put("b", `1`), put("a/2", `1`), put("a", `1`), put("a/10", `1`), put("ä", `1`), put("a!", `1`), put("B", `1`))
	for prefix, want := range map[string]string{
		"":     "B a a! a/10 a/2 b ä",
		"a":    "a a! a/10 a/2",
		"a/":   "a/10 a/2",
		"a/10": "a/10",
		"c":    "",
		"\xff": "",
	} {
		records, _, err := s.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		keys := make([]string, len(records))
		for i, r := range records {
			keys[i] = r.Key
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
}

func testOwnership(t *testing.T, s store.Store) {
	value := []byte(`{"a":1}`)
	apply(t, s, store.Op{Key: "a", Value: value})
	copy(value, "changed") // ours again once Apply has returned
	first, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	copy(first.Value, "YYYYYYY") // and theirs
	records, _, err := s.List(t.Context(), "")
	if err != nil || len(records) != 1 || string(records[0].Value) != `{"a":1}` {
		t.Fatalf("List = %v, %v", records, err)
	}
	copy(records[0].Value, "ZZZZZZZ")
	if r, err := s.Get(t.Context(), "a"); err != nil || string(r.Value) != `{"a":1}` {
		t.Errorf("Get = %q, %v", r.Value, err)
	}
}

func testCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, getErr := s.Get(ctx, "a")
	_, _, listErr := s.List(ctx, "")
	_, applyErr := s.Apply(ctx, put("a", `1`))
	_, watchErr := s.Watch(ctx, "", 0)
	for call, err := range map[string]error{"Get": getErr, "List": listErr, "Apply": applyErr, "Watch": watchErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want the context's", call, err)
		}
	}
	if got, _ := content(t, s, ""); got != "" {
		t.Errorf("a cancelled commit left %q", got)
	}
}

func testClosed(t *testing.T, s store.Store) {
	apply(t, s, put("a", `1`))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, getErr := s.Get(t.Context(), "a")
	_, _, listErr := s.List(t.Context(), "")
	_, applyErr := s.Apply(t.Context(), put("a", `1`))
	_, watchErr := s.Watch(t.Context(), "", 0)
	for call, err := range map[string]error{"Get": getErr, "List": listErr, "Apply": applyErr, "Watch": watchErr} {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got error %v, want one of kind unavailable", call, err)
		}
	}
}
