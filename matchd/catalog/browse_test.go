package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

// each returns one object of every kind.
func each() []catalog.Object {
	return []catalog.Object{
		{Machine: &machine.Settings{MAC: "52:54:00:00:00:01", Name: "n1", Labels: map[string]string{"role": "db"}, Loader: "grub", ExitMethod: "sanboot", TFTPBlksize: 1024}},
		{Group: &groups.Group{ID: "web", Name: "Web", Profile: "worker", Selector: groups.Selector{"mac": "52-54-00-00-00-01"}, Metadata: map[string]any{"n": 1.5}, Priority: 3}},
		{Profile: &profiles.Profile{ID: "worker", Boot: profiles.Boot{Kernel: "/k", Args: []string{"a"}}, IgnitionID: "worker.bu"}},
		{Template: &profiles.Template{Kind: profiles.Ignition, Name: "worker.bu", Content: []byte("variant: fcos\nversion: 1.5.0\n")}},
		{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.5"), CircuitID: []byte("port 7"), Hostname: "n1"}},
	}
}

func TestEncodeDecode(t *testing.T) {
	objects := append(each(),
		catalog.Object{Template: &profiles.Template{Kind: profiles.Generic, Name: "binary", Content: []byte{0xff, 0}}},
		catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.6"), ClientID: []byte{1, 2}}},
		catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.7"), CircuitID: []byte("0x41")}},
		catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.8"), MAC: "52:54:00:00:00:08"}})
	for _, object := range objects {
		meta := catalog.Meta{Owner: "some/file", UpdatedBy: "alice", UpdatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}
		value, err := catalog.Encode(&object, meta)
		if err != nil {
			t.Fatal(err)
		}
		meta.Revision = 7
		got, err := catalog.Decode(store.Record{Key: object.Ref().Key(), Value: value, Revision: 7})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&catalog.Item{Object: object, Meta: meta}, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", object.Ref(), diff)
		}
		if ref, ok := catalog.ParseKey(object.Ref().Key()); !ok || ref != object.Ref() {
			t.Errorf("ParseKey(%q) = %v, %v", object.Ref().Key(), ref, ok)
		}
		if err := object.Validate(); err != nil {
			t.Errorf("%s: %v", object.Ref(), err)
		}
	}
	for key, value := range map[string]string{
		"meta/accepted": "{}", "group/a": `{"id":"b"}`, "machine/a": "x", "reservation/10.0.0.1": `{"address":"10.0.0.1","client_id":"zz"}`, "template/ignition/a": `{"kind":"generic","name":"a"}`,
	} {
		if _, err := catalog.Decode(store.Record{Key: key, Value: []byte(value)}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s %s: got %v", key, value, err)
		}
	}
	if _, err := catalog.Encode(&catalog.Object{}, catalog.Meta{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no object: %v", err)
	}
	if err := (&catalog.Object{}).Validate(); err == nil {
		t.Error("no object is valid")
	}
}

func putObject(t testing.TB, s store.Store, object catalog.Object, meta catalog.Meta) store.Revision {
	t.Helper()
	value, err := catalog.Encode(&object, meta)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := s.Apply(t.Context(), store.Op{Key: object.Ref().Key(), Value: value})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func TestBrowse(t *testing.T) {
	s, c := start(t)
	if loaded, err := c.Loaded(t.Context()); err != nil || loaded.Revision != 0 || c.Current() != nil {
		t.Errorf("an empty store: %v, %v, current %v", loaded, err, c.Current())
	}
	var revision store.Revision
	for _, object := range each() {
		revision = putObject(t, s, object, catalog.Meta{UpdatedBy: "alice"})
	}
	snapshot, err := c.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	for i, object := range each() {
		item, found := snapshot.Get(object.Ref())
		if !found || item.Revision != store.Revision(i+1) || item.UpdatedBy != "alice" {
			t.Errorf("%s: %+v, %v", object.Ref(), item, found)
		}
		if list := snapshot.List(object.Ref().Kind); len(list) != 1 || list[0] != item {
			t.Errorf("%s is not all that is listed: %v", object.Ref(), list)
		}
	}
	if _, found := snapshot.Get(catalog.Ref{Kind: "no", ID: "x"}); found || snapshot.List("no") != nil {
		t.Error("there are things of no kind")
	}
	if got := snapshot.Settings("52:54:00:00:00:01"); got == nil || got.Name != "n1" || snapshot.Settings("52:54:00:00:00:02") != nil {
		t.Errorf("settings: %+v", got)
	}
	objects := snapshot.Objects()
	if len(objects.Groups) != 1 || len(objects.Profiles) != 1 || len(objects.Templates) != 1 {
		t.Errorf("objects: %+v", objects)
	}
}

func TestLeftOutIsKnown(t *testing.T) {
	s, c := start(t)
	revision, err := s.Apply(t.Context(), store.Op{Key: "group/bad", Value: []byte(`{"id":"bad","site_file":"groups/bad.yaml","selector":{"mac":"no"},"profile":"x"}`)})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	ref := catalog.Ref{Kind: catalog.Group, ID: "bad"}
	if _, found := snapshot.Get(ref); found || len(snapshot.Problems) != 1 {
		t.Errorf("it is there: %v", snapshot.Problems)
	}
	if meta, there := snapshot.Meta(ref); !there || meta.Revision != revision || meta.Owner != "groups/bad.yaml" {
		t.Errorf("got %+v, %v", meta, there)
	}
}

// TestFixed: what the configuration file says is there before and whatever the store says, and cannot be replaced there.
func TestFixed(t *testing.T) {
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	object := each()[0]
	var told []string
	c := catalog.New(opened, catalog.Options{
		Fixed: []catalog.Item{{Object: object, Meta: catalog.Meta{Owner: "matchd.yaml"}}},
		Follow: func(snapshot *catalog.Snapshot, changed []catalog.Ref) {
			told = append(told, fmt.Sprint(snapshot.Revision, changed))
		},
	})
	if c.Latest().Settings("52:54:00:00:00:01") == nil || c.Current() != nil {
		t.Error("it is not there from the start")
	}
	other := *object.Machine
	other.Name = "other"
	putObject(t, opened, catalog.Object{Machine: &other}, catalog.Meta{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	revision := putObject(t, opened, each()[1], catalog.Meta{})
	snapshot, err := c.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	if got := snapshot.Settings("52:54:00:00:00:01"); got == nil || got.Name != "n1" || snapshot.Owner(object.Ref()) != "matchd.yaml" {
		t.Errorf("got %+v", got)
	}
	if len(snapshot.Problems) != 1 || !strings.Contains(snapshot.Problems[0].Error(), "matchd.yaml says something of it, too, and wins") {
		t.Errorf("problems %v", snapshot.Problems)
	}
	if _, err := opened.Apply(t.Context(), store.Op{Key: object.Ref().Key(), Delete: true}); err != nil {
		t.Fatal(err)
	}
	if snapshot, err = c.WaitFor(t.Context(), revision+1); err != nil || len(snapshot.Problems) != 0 || snapshot.Settings("52:54:00:00:00:01") == nil {
		t.Errorf("after deleting the record: %v, %v", snapshot.Problems, err)
	}
	if told[0] != "0 [machine 52:54:00:00:00:01]" || !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "group web") }) {
		t.Errorf("told %q", told)
	}
}

func TestCandidate(t *testing.T) {
	now := catalog.NewSnapshot(site(), catalog.Options{})
	better := group("one", "worker", groups.Selector{"mac": "52:54:00:00:00:01"}, map[string]any{"name": "new"})
	candidate := now.With([]*catalog.Item{{Object: catalog.Object{Group: &better.Value}}}, []catalog.Ref{{Kind: catalog.Group, ID: "two"}})
	for snapshot, want := range map[*catalog.Snapshot]string{now: "data:,n1", candidate: "data:,new"} {
		selection, err := snapshot.Match(labels("52:54:00:00:00:01"))
		if err != nil {
			t.Fatal(err)
		}
		config, err := snapshot.Ignition(t.Context(), selection, catalog.Request{})
		if err != nil || !strings.Contains(string(config.JSON), want) {
			t.Errorf("got %v, %v, want %s", config, err, want)
		}
	}
	if _, err := candidate.Match(labels("52:54:00:00:00:02")); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is deleted matches: %v", err)
	}
	if _, err := now.Match(labels("52:54:00:00:00:02")); err != nil {
		t.Errorf("the snapshot itself changed: %v", err)
	}
	bad := now.With([]*catalog.Item{{Object: catalog.Object{Template: &profiles.Template{Kind: profiles.Ignition, Name: "worker.bu", Content: []byte("{{")}}}}, nil)
	if len(bad.Problems) != 1 {
		t.Errorf("problems: %v", bad.Problems)
	}
}

// TestStepsEqualOneReading changes a store in many steps; what a catalog makes of the steps is what one makes of the result.
func TestStepsEqualOneReading(t *testing.T) {
	s, c := start(t)
	r := rand.New(rand.NewPCG(5, 6))
	var revision store.Revision
	for step := range 400 {
		ops := []store.Op{{Key: "meta/step", Value: []byte(fmt.Sprint(step))}} // deleting what is not there changes nothing, and nobody is told
		seen := map[string]bool{}
		for range 1 + r.IntN(3) {
			object := each()[1+r.IntN(3)]
			switch {
			case object.Group != nil:
				object.Group.ID = fmt.Sprint("g", r.IntN(300))
				object.Group.Profile = fmt.Sprint("p", r.IntN(10))
			case object.Profile != nil:
				object.Profile.ID = fmt.Sprint("p", r.IntN(10))
			default:
				object.Template.Name = fmt.Sprint("t", r.IntN(10))
			}
			key := object.Ref().Key()
			if seen[key] {
				continue
			}
			seen[key] = true
			value, err := catalog.Encode(&object, catalog.Meta{})
			if err != nil {
				t.Fatal(err)
			}
			if r.IntN(20) == 0 {
				value = []byte(`{"id": 7}`)
			}
			ops = append(ops, store.Op{Key: key, Value: value, Delete: r.IntN(4) == 0})
		}
		var err error
		if revision, err = s.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			if _, err := c.WaitFor(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := c.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	again := catalog.New(s, catalog.Options{})
	done := make(chan error)
	go func() { done <- again.Run(ctx) }()
	want, err := again.WaitFor(t.Context(), revision)
	cancel()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
		t.Errorf("(-one reading +steps):\n%s", diff)
	}
}

func texts(s *catalog.Snapshot) []string {
	var out []string
	for _, kind := range catalog.Kinds() {
		for _, item := range s.List(kind) {
			out = append(out, fmt.Sprint(item.Ref(), item.Revision))
		}
	}
	for _, group := range s.Groups.All() {
		out = append(out, "asked: "+group.ID+" "+group.Profile)
	}
	for _, problem := range s.Problems {
		out = append(out, problem.Error())
	}
	return out
}

// TestSiteTakesNoNoticeOfStamps: who wrote an object last, and when, is not what a site says.
func TestSiteTakesNoNoticeOfStamps(t *testing.T) {
	s, c := start(t)
	replace(t, s, c, site())
	one := site().Groups[0]
	putObject(t, s, catalog.Object{Group: &one.Value}, catalog.Meta{Owner: one.File, UpdatedBy: "alice", UpdatedAt: time.Now()})
	if snapshot, changed := replace(t, s, c, site()); changed != 0 || snapshot.Revision != 2 {
		t.Errorf("%d changed, revision %d", changed, snapshot.Revision)
	}
}

// BenchmarkPut is what one more group costs a catalog that has many already: commit, snapshot, swap.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			s, c := start(b)
			objects := site()
			for i := range n {
				objects.Groups = append(objects.Groups, group(fmt.Sprint("g", i), "worker", groups.Selector{"serial": fmt.Sprint(i)}, nil))
			}
			if _, _, err := catalog.ReplaceSite(b.Context(), s, objects); err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				i++
				g := group(fmt.Sprint("new", i), "worker", groups.Selector{"serial": fmt.Sprint("new", i)}, nil)
				if _, err := c.WaitFor(b.Context(), putObject(b, s, catalog.Object{Group: &g.Value}, catalog.Meta{})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
