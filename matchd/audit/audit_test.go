package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

type fixture struct {
	*audit.Log
	written, refused *boltstore.Store
	now              time.Time
	log              bytes.Buffer
}

// open opens a log in a directory; what was opened there before must be closed.
func open(t testing.TB, dir string) *fixture {
	t.Helper()
	f := &fixture{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for name, s := range map[string]**boltstore.Store{"config": &f.written, "events": &f.refused} {
		opened, err := boltstore.Open(filepath.Join(dir, name+".db"), boltstore.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		*s = opened
		t.Cleanup(func() { opened.Close() })
	}
	var err error
	f.Log, err = audit.Open(t.Context(), audit.Options{
		Written: f.written, Refused: f.refused, Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Metrics: prometheus.NewRegistry(),
		Now: func() time.Time { f.now = f.now.Add(time.Second); return f.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// put writes a group and its record in one commit, as the API does.
func (f *fixture) put(t testing.TB, identity, group string) store.Revision {
	t.Helper()
	op, err := f.Op(audit.Record{Identity: identity, Role: "operator", Method: "/matchd.v1.Groups/PutGroup", Objects: []audit.Object{{Kind: "group", ID: group}}})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := f.written.Apply(t.Context(), store.Op{Key: "group/" + group, Value: []byte("{}")}, op)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// refuse records refused calls and waits until they are written.
func (f *fixture) refuse(t testing.TB, records ...audit.Record) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range records {
		f.Refuse(r)
	}
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) list(t testing.TB, q audit.Query) ([]audit.Record, bool) {
	t.Helper()
	records, more, err := f.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return records, more
}

func TestWritesAndRefusalsInOneList(t *testing.T) {
	f := open(t, t.TempDir())
	first := f.put(t, "jo", "a")
	f.refuse(t, audit.Record{Identity: "eve", Code: "PERMISSION_DENIED", Error: "the role viewer may not write", Objects: []audit.Object{{Kind: "group", ID: "a"}}})
	second := f.put(t, "jo", "b")
	got, more := f.list(t, audit.Query{Limit: 10})
	if more || len(got) != 3 {
		t.Fatalf("got %d records, more %v", len(got), more)
	}
	if got[0].After != second || got[2].After != first || got[0].Code != "OK" || got[0].Identity != "jo" || got[0].Objects[0].ID != "b" {
		t.Errorf("the writes: %+v, %+v, want revisions %d and %d", got[0], got[2], second, first)
	}
	if got[1].After != 0 || got[1].Code != "PERMISSION_DENIED" || got[1].Identity != "eve" {
		t.Errorf("the refusal: %+v", got[1])
	}
	if !got[0].Time.After(got[1].Time) || got[0].Seq <= got[1].Seq {
		t.Errorf("the order: %v, %v", got[0].Time, got[1].Time)
	}
	if _, revision, err := f.written.List(t.Context(), ""); err != nil || revision != second {
		t.Errorf("a refusal made a revision: %d after %d, %v", revision, second, err)
	}
}

func TestQueries(t *testing.T) {
	f := open(t, t.TempDir())
	for i := range 5 {
		f.put(t, "jo", fmt.Sprintf("g%d", i))
		f.put(t, "al", fmt.Sprintf("g%d", i))
	}
	all, _ := f.list(t, audit.Query{Limit: 100})
	for name, test := range map[string]struct {
		query audit.Query
		want  int
	}{
		"everything":      {audit.Query{Limit: 100}, 10},
		"of one identity": {audit.Query{Limit: 100, Identity: "jo"}, 5},
		"of one object":   {audit.Query{Limit: 100, Object: audit.Object{Kind: "group", ID: "g3"}}, 2},
		"of one kind":     {audit.Query{Limit: 100, Object: audit.Object{Kind: "group"}}, 10},
		"of another kind": {audit.Query{Limit: 100, Object: audit.Object{Kind: "profile", ID: "g3"}}, 0},
		"since":           {audit.Query{Limit: 100, Since: all[2].Time}, 3},
		"before":          {audit.Query{Limit: 100, Before: all[7].Seq}, 2},
		"all of these":    {audit.Query{Limit: 100, Identity: "al", Object: audit.Object{Kind: "group", ID: "g0"}, Since: all[9].Time}, 1},
	} {
		if got, more := f.list(t, test.query); len(got) != test.want || more {
			t.Errorf("%s: %d records, want %d", name, len(got), test.want)
		}
	}
	var pages []audit.Record
	for query := (audit.Query{Limit: 3}); ; query.Before = pages[len(pages)-1].Seq {
		page, more := f.list(t, query)
		pages = append(pages, page...)
		if !more {
			break
		}
	}
	if len(pages) != 10 || !slices.IsSortedFunc(pages, func(a, b audit.Record) int { return int(b.Seq) - int(a.Seq) }) {
		t.Errorf("%d records in pages", len(pages))
	}
	if _, _, err := f.List(t.Context(), audit.Query{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a limit: %v", err)
	}
}

func TestTheLogOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	f.put(t, "jo", "a")
	f.refuse(t, audit.Record{Identity: "eve", Code: "PERMISSION_DENIED"})
	before, _ := f.list(t, audit.Query{Limit: 10})
	f.written.Close()
	f.refused.Close()

	f = open(t, dir)
	f.put(t, "jo", "b")
	f.refuse(t, audit.Record{Identity: "mallory", Code: "PERMISSION_DENIED"})
	got, _ := f.list(t, audit.Query{Limit: 10})
	if len(got) != 4 || got[3].Seq != before[1].Seq || got[1].Seq <= before[0].Seq {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestTheLogIsBounded goes round both rings; the slots of one are not taken by the other.
func TestTheLogIsBounded(t *testing.T) {
	f := open(t, t.TempDir())
	var ops []store.Op
	for i := range audit.MaxWritten + 5 {
		op, err := f.Op(audit.Record{Identity: "jo", Objects: []audit.Object{{Kind: "group", ID: fmt.Sprint(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		if ops = append(ops, op); len(ops) == 1000 || i == audit.MaxWritten+4 {
			if _, err := f.written.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	for range audit.MaxRefused/200 + 1 {
		f.refuse(t, slices.Repeat([]audit.Record{{Identity: "eve", Code: "PERMISSION_DENIED"}}, 200)...)
	}
	all, _ := f.list(t, audit.Query{Limit: 1 << 20})
	if want := audit.MaxWritten + audit.MaxRefused; len(all) != want {
		t.Errorf("%d records, want %d", len(all), want)
	}
	writes, _ := f.list(t, audit.Query{Limit: 1 << 20, Identity: "jo"})
	if oldest := writes[len(writes)-1].Objects[0].ID; len(writes) != audit.MaxWritten || oldest != "5" {
		t.Errorf("%d writes, the oldest is %s", len(writes), oldest)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	f := open(t, t.TempDir())
	objects := make([]audit.Object, 5000)
	for i := range objects {
		objects[i] = audit.Object{Kind: "group", ID: strings.Repeat("é", 1000)}
	}
	call := audit.Call{Identity: "jo", Role: "admin", Peer: "192.0.2.1:5", Method: strings.Repeat("x", 5000)}
	record := call.Record(objects)
	record.Error = strings.Repeat("\xff", 5000)
	op, err := f.Op(record)
	if err != nil || len(op.Value) > 64<<10 || !utf8.Valid(op.Value) {
		t.Fatalf("%d bytes, %v", len(op.Value), err)
	}
	if _, err := f.written.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	got, _ := f.list(t, audit.Query{Limit: 1})
	if len(got[0].Objects) != audit.MaxObjects || got[0].More != 5000-audit.MaxObjects || got[0].Peer != "192.0.2.1:5" {
		t.Errorf("%d objects and %d more, from %s", len(got[0].Objects), got[0].More, got[0].Peer)
	}
}

func TestRefusalsNeverWait(t *testing.T) {
	f := open(t, t.TempDir())
	for range 1000 { // nobody writes them
		f.Refuse(audit.Record{Identity: "eve", Code: "PERMISSION_DENIED"})
	}
	f.refuse(t)
	got, _ := f.list(t, audit.Query{Limit: 2000})
	if len(got) == 0 || len(got) == 1000 {
		t.Errorf("%d records", len(got))
	}
	if !strings.Contains(f.log.String(), fmt.Sprintf("left_out=%d", 1000-len(got))) {
		t.Errorf("the log does not tell of %d: %s", 1000-len(got), f.log.String())
	}
}

func TestRunWritesAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		slow := &countingStore{}
		log, err := audit.Open(ctx, audit.Options{Written: slow, Refused: slow, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = log.Run(ctx) })
		for range 10 {
			log.Refuse(audit.Record{Code: "PERMISSION_DENIED"})
		}
		synctest.Wait()
		if slow.count() != 10 {
			t.Errorf("%d records are written", slow.count())
		}
		cancel()
		running.Wait()
	})
}

// countingStore counts operations.
type countingStore struct {
	store.Store
	mu  sync.Mutex
	ops int
}

func (s *countingStore) List(context.Context, string) ([]store.Record, store.Revision, error) {
	return nil, 0, nil
}

func (s *countingStore) Apply(_ context.Context, ops ...store.Op) (store.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ops += len(ops)
	return 1, nil
}

func (s *countingStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops
}

func TestUnreadableRecordsAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	f.put(t, "jo", "a")
	if _, err := f.written.Apply(t.Context(), store.Op{Key: audit.Prefix + "000007", Value: []byte("{")}, store.Op{Key: audit.Prefix + "x", Value: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.list(t, audit.Query{Limit: 10}); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}

func TestCallInContext(t *testing.T) {
	if got := audit.FromContext(t.Context()); got != (audit.Call{}) {
		t.Errorf("a call from nowhere: %v", got)
	}
	call := audit.Call{Identity: "jo"}
	if got := audit.FromContext(audit.NewContext(t.Context(), call)); got != call {
		t.Errorf("got %v", got)
	}
}
