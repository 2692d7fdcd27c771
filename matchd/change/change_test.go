package change_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

// house is a store, a catalog that follows it and an applier.
type house struct {
	*change.Applier
	t       testing.TB
	store   store.Store
	catalog *catalog.Catalog
	now     time.Time
}

type noLoaders struct{}

func (noLoaders) For(string, string) []string { return nil }

func newHouse(t testing.TB, edit func(*change.Options)) *house {
	t.Helper()
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, store: opened, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	h.catalog = catalog.New(opened, catalog.Options{Fixed: []catalog.Item{{
		Object: catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:99"}}, Meta: catalog.Meta{Owner: "/etc/matchd/matchd.yaml"},
	}}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.catalog.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); opened.Close() })
	opt := change.Options{
		Catalog: h.catalog, Store: opened, Now: func() time.Time { return h.now },
		Planner: boot.NewPlanner(boot.Options{Catalog: h.catalog, Machines: machine.NewRegistry(0), Loaders: noLoaders{}, HTTPPort: 8080}),
	}
	if edit != nil {
		edit(&opt)
	}
	h.Applier = change.New(opt)
	return h
}

func put(object catalog.Object) change.Op { return change.Op{Put: &object} }

func remove(kind catalog.Kind, id string) change.Op {
	return change.Op{Delete: catalog.Ref{Kind: kind, ID: id}}
}

func at(op change.Op, revision store.Revision) change.Op {
	op.If = &revision
	return op
}

func group(id, profile, name string) catalog.Object {
	return catalog.Object{Group: &groups.Group{
		ID: id, Profile: profile, Selector: groups.Selector{"mac": "52:54:00:00:01:" + id}, Metadata: map[string]any{"name": name},
	}}
}

func profile(id, ignition string) catalog.Object {
	return catalog.Object{Profile: &profiles.Profile{ID: id, IgnitionID: ignition, Boot: profiles.Boot{Kernel: "/assets/" + id}}}
}

func document(name, content string) catalog.Object {
	text := "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/hostname, contents: {inline: \"" + content + "\"}}]}\n"
	return catalog.Object{Template: &profiles.Template{Kind: profiles.Ignition, Name: name, Content: []byte(text)}}
}

// site is a healthy start.
func site() []change.Op {
	return []change.Op{
		put(document("host.bu", "{{.name}}")), put(profile("web", "host.bu")), put(profile("db", "host.bu")),
		put(group("01", "web", "n1")), put(group("02", "web", "n2")), put(group("03", "db", "n3")),
	}
}

func (h *house) must(ops ...change.Op) *change.Result {
	h.t.Helper()
	result, err := h.Apply(h.t.Context(), change.Change{Ops: ops, Author: "alice"})
	if err != nil {
		h.t.Fatal(err)
	}
	return result
}

func actions(r *change.Result) string {
	var out []string
	for _, o := range r.Objects {
		out = append(out, fmt.Sprintf("%s %s", o.Ref, [...]string{"", "created", "changed", "unchanged", "deleted"}[o.Action]))
	}
	return strings.Join(out, ", ")
}

func TestApply(t *testing.T) {
	h := newHouse(t, nil)
	r := h.must(site()...)
	if r.Revision != 1 || len(r.Warnings) != 0 || !strings.HasPrefix(actions(r), "template ignition/host.bu created, profile web created") {
		t.Errorf("got revision %d, %s, %v", r.Revision, actions(r), r.Warnings)
	}
	want := &catalog.Item{Object: group("01", "web", "n1"), Meta: catalog.Meta{Revision: 1, UpdatedBy: "alice", UpdatedAt: h.now}}
	item, _ := h.catalog.Current().Get(catalog.Ref{Kind: catalog.Group, ID: "01"})
	for _, got := range []*catalog.Item{r.Objects[3].Item, item} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// The same again changes nothing; with something else, only that has a new revision.
	if r = h.must(site()...); r.Revision != 1 || strings.Contains(actions(r), "created") || r.Objects[0].Item.Revision != 1 {
		t.Errorf("the same again: revision %d, %s", r.Revision, actions(r))
	}
	r = h.must(put(group("01", "web", "n1")), put(group("02", "web", "new")), remove(catalog.Group, "03"), remove(catalog.Group, "04"))
	if got := actions(r); r.Revision != 2 || got != "group 01 unchanged, group 02 changed, group 03 deleted, group 04 unchanged" {
		t.Errorf("revision %d: %s", r.Revision, got)
	}
	if r.Objects[0].Item.Revision != 1 || r.Objects[1].Item.Revision != 2 || r.Objects[2].Item != nil {
		t.Errorf("items: %+v", r.Objects)
	}
	if _, err := h.catalog.Current().Match(groups.Labels{"mac": "52:54:00:00:01:03"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is deleted is served: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name string
		ops  []change.Op
		kind fault.Kind
		want string
	}{
		{"fields", []change.Op{put(catalog.Object{Group: &groups.Group{ID: "../x", Selector: groups.Selector{"mac": "no"}}})}, fault.Invalid,
			"group ../x: id: \"../x\" may hold letters, digits and _ . : @ - only, and starts with a letter, a digit or _\n" +
				"group ../x: profile: a group needs the id of a profile\ngroup ../x: selector.mac: \"no\" is not a MAC address"},
		{"twice", []change.Op{put(group("01", "web", "x")), remove(catalog.Group, "01")}, fault.Invalid, "group 01: it occurs twice in one change"},
		{"nothing", []change.Op{{}}, fault.Invalid, "changes[0]: it names no object"},
		{"no object", []change.Op{put(catalog.Object{})}, fault.Invalid, "changes[0]: it names no object"},
		{"a control character", []change.Op{remove(catalog.Group, "a\nb")}, fault.Invalid, `group : id: key "group/a\nb" contains a control character`},
		{"dangling", []change.Op{put(group("04", "wep", "x"))}, fault.Invalid, `group 04: profile: there is no profile "wep": did you mean "web"?`},
		{"a profile in use", []change.Op{remove(catalog.Profile, "web")}, fault.Invalid,
			"group 01: profile: there is no profile \"web\"\ngroup 02: profile: there is no profile \"web\""},
		{"a template in use", []change.Op{remove(catalog.Template, "ignition/host.bu")}, fault.Invalid,
			"profile db: ignition_id: there is no file ignition/host.bu\nprofile web: ignition_id: there is no file ignition/host.bu"},
		{"a document that its groups cannot fill", []change.Op{put(document("host.bu", "{{.nam}}"))}, fault.Invalid,
			`template ignition/host.bu:3:63: .nam: there is no "nam" in the group's metadata, its selector or the request: storage: {files: [{path: /etc/hostname, contents: {inline: "{{.nam}}"}}]}  (group 01 and 2 more)`},
		{"a group that cannot fill its document", []change.Op{put(catalog.Object{Group: &groups.Group{ID: "x", Profile: "web", Selector: groups.Selector{"os": "x"}}})}, fault.Invalid,
			`template ignition/host.bu:3:63: .name: there is no "name" in the group's metadata, its selector or the request: storage: {files: [{path: /etc/hostname, contents: {inline: "{{.name}}"}}]}  (group x)`},
		{"the configuration's machine", []change.Op{put(catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:99", Name: "x"}})}, fault.Conflict,
			"machine 52:54:00:00:00:99 belongs to the file /etc/matchd/matchd.yaml: change it there"},
		{"stale", []change.Op{at(put(group("01", "web", "x")), 7)}, fault.Conflict, "group 01 is at revision 1, not at 7: somebody changed it meanwhile"},
		{"there already", []change.Op{at(put(group("01", "web", "x")), 0)}, fault.Conflict, "group 01 exists already, at revision 1"},
		{"gone", []change.Op{at(remove(catalog.Group, "09"), 1)}, fault.Conflict, "group 09 does not exist, it was expected at revision 1"},
		{"no addresses here", []change.Op{put(catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.1"), MAC: "52:54:00:00:00:01"}})}, fault.Conflict,
			"no address can be reserved: this server gives none, since no subnet with mode server is configured"},
	}
	h := newHouse(t, nil)
	h.must(site()...)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for _, dry := range []bool{true, false} {
				_, err := h.Apply(t.Context(), change.Change{Ops: tc.ops, DryRun: dry})
				if err == nil || !fault.Is(err, tc.kind) || err.Error() != tc.want {
					t.Errorf("dry run %v: got %v %v\nwant %v %s", dry, fault.KindOf(err), err, tc.kind, tc.want)
				}
			}
		})
	}
	if r := h.catalog.Current().Revision; r != 1 {
		t.Errorf("revision %d after refusals", r)
	}
}

func TestOwnedByTheSite(t *testing.T) {
	h := newHouse(t, nil)
	owned := group("01", "web", "n1")
	_, _, err := catalog.ReplaceSite(t.Context(), h.store, catalog.Objects{Groups: []catalog.Owned[groups.Group]{{Value: *owned.Group, File: "groups/one.yaml"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.catalog.WaitFor(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	_, err = h.Apply(t.Context(), change.Change{Ops: []change.Op{remove(catalog.Group, "01")}})
	var refused *change.Owned
	if !errors.As(err, &refused) || refused.File != "groups/one.yaml" {
		t.Errorf("got %v", err)
	}
	if r := h.must(put(owned)); r.Objects[0].Action != change.Unchanged {
		t.Errorf("what the file says already is refused: %+v", r)
	}
}

// TestMendingOneAtATime: what was broken before does not keep anybody from changing something else, even of the same groups.
func TestMendingOneAtATime(t *testing.T) {
	h := newHouse(t, nil)
	h.must(site()...)
	broken := group("04", "none", "x")
	value, err := catalog.Encode(&broken, catalog.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := h.store.Apply(t.Context(), store.Op{Key: "group/04", Value: value})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.catalog.WaitFor(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	h.must(put(group("05", "web", "x")))
	broken.Group.Name = "still broken"
	if _, err := h.Apply(t.Context(), change.Change{Ops: []change.Op{put(broken)}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("what is wrong with the object itself passes: %v", err)
	}
	h.must(put(profile("none", "host.bu")))
}

func TestLenient(t *testing.T) {
	h := newHouse(t, nil)
	apply := func(ops ...change.Op) (*change.Result, error) {
		return h.Apply(t.Context(), change.Change{Ops: ops, Lenient: true})
	}
	for _, object := range []catalog.Object{group("01", "later", "x"), profile("p", "later.bu"), document("unfilled.bu", "{{.none}}")} {
		if r, err := apply(put(object)); err != nil || r.Objects[0].Action != change.Created {
			t.Errorf("%s: %v", object.Ref(), err)
		}
	}
	r, err := apply(put(group("02", "later", "x")))
	if err != nil || len(r.Warnings) != 1 || r.Warnings[0].String() != `group 02: profile: there is no profile "later"` {
		t.Errorf("got %v, %v", r.Warnings, err)
	}
	if _, err := apply(remove(catalog.Profile, "p")); err != nil {
		t.Error(err)
	}
	for name, object := range map[string]catalog.Object{
		"no template": {Template: &profiles.Template{Kind: profiles.Ignition, Name: "x.bu", Content: []byte("{{")}},
		"no config":   {Template: &profiles.Template{Kind: profiles.Ignition, Name: "x.ign", Content: []byte("{")}},
		"no MAC":      {Group: &groups.Group{ID: "x", Profile: "p", Selector: groups.Selector{"mac": "no"}}},
	} {
		if _, err := apply(put(object)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllow(t *testing.T) {
	h := newHouse(t, nil)
	h.must(site()...)
	var asked []string
	allow := func(ref catalog.Ref, before, after *catalog.Object) error {
		asked = append(asked, fmt.Sprint(ref, before != nil, after != nil))
		if ref.ID == "09" {
			return fault.New(fault.Denied, "no")
		}
		return nil
	}
	_, err := h.Apply(t.Context(), change.Change{Ops: []change.Op{remove(catalog.Group, "01"), put(group("08", "web", "x")), put(group("09", "web", "x"))}, Allow: allow})
	if !fault.Is(err, fault.Denied) || strings.Join(asked, "; ") != "group 01 true false; group 08 false true; group 09 false true" {
		t.Errorf("got %v, asked %v", err, asked)
	}
	if h.catalog.Current().Revision != 1 {
		t.Error("something was changed")
	}
}

func TestAudit(t *testing.T) {
	var told []change.Written
	h := newHouse(t, func(o *change.Options) {
		o.Audit = func(_ context.Context, w change.Written) (store.Op, error) {
			told = append(told, w)
			return store.Op{Key: fmt.Sprint("audit/", len(told)), Value: []byte(`{}`)}, nil
		}
	})
	h.must(site()...)
	h.must(put(group("01", "web", "new")))
	h.must(put(group("01", "web", "new")))
	if len(told) != 2 || len(told[0].Refs) != 6 || told[1].Before != 1 || told[1].Author != "alice" {
		t.Errorf("told %+v", told)
	}
	records, _, err := h.store.List(t.Context(), "audit/")
	if err != nil || len(records) != 2 || records[1].Revision != 2 {
		t.Errorf("kept %v, %v", records, err)
	}
}

func TestSiteNotReadYet(t *testing.T) {
	h := newHouse(t, func(o *change.Options) { o.Site = true })
	if _, err := h.Apply(t.Context(), change.Change{Ops: site()}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestDryRunComparesMachines(t *testing.T) {
	h := newHouse(t, func(o *change.Options) {
		o.Seen = func() []machine.Machine { return []machine.Machine{{MAC: "52:54:00:00:00:77", UUID: "u"}} }
	})
	h.must(append(site(), put(catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:88", Labels: map[string]string{"role": "db"}}}),
		put(catalog.Object{Group: &groups.Group{ID: "role", Profile: "db", Selector: groups.Selector{"role": "db"}, Metadata: map[string]any{"name": "by role"}}}))...)
	compare := func(limit int, ops ...change.Op) *change.Result {
		t.Helper()
		r, err := h.Apply(t.Context(), change.Change{Ops: ops, DryRun: true, CompareMachines: limit})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	list := func(r *change.Result) string {
		var out []string
		for _, m := range r.Machines {
			out = append(out, m.Machine+" "+m.Before.Group+">"+m.After.Group)
		}
		return strings.Join(out, ", ")
	}
	r := compare(100, put(group("01", "web", "new")))
	if len(r.Machines) != 1 || r.Machines[0].Machine != "52:54:00:00:01:01" {
		t.Fatalf("got %+v", r.Machines)
	}
	m := r.Machines[0]
	if m.Before.Script != m.After.Script || !strings.Contains(m.Before.Config, "data:,n1") || !strings.Contains(m.After.Config, "data:,new") || !strings.Contains(m.After.Config, "\n  \"") {
		t.Errorf("got %+v", m)
	}
	other := profile("web", "host.bu")
	other.Profile.Boot.Kernel = "/assets/other"
	if got := list(compare(100, put(other))); got != "52:54:00:00:01:01 01>01, 52:54:00:00:01:02 02>02" {
		t.Errorf("a profile: %s", got)
	}
	if r := compare(1, put(document("host.bu", "x {{.name}}"))); len(r.Machines) != 1 || r.Omitted != 3 {
		t.Errorf("bounded: %s, %d omitted", list(r), r.Omitted)
	}
	if got := list(compare(100, put(catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:88"}}))); got != "52:54:00:00:00:88 role>" {
		t.Errorf("a machine's labels: %s", got)
	}
	all := catalog.Object{Group: &groups.Group{ID: "all", Profile: "db", Metadata: map[string]any{"name": "all"}}}
	if got := list(compare(100, put(all))); got != "52:54:00:00:00:77 >all, 52:54:00:00:00:99 >all" {
		t.Errorf("a group for the rest: %s", got)
	}
	if got := list(compare(100, remove(catalog.Group, "03"))); got != "52:54:00:00:01:03 03>" {
		t.Errorf("a group deleted: %s", got)
	}
	if h.catalog.Current().Revision != 1 {
		t.Error("a dry run changed something")
	}
	if r := compare(0, put(group("01", "web", "new"))); r.Machines != nil || r.Objects[0].Action != change.Changed || r.Revision != 1 {
		t.Errorf("without comparing: %+v", r)
	}
}

func TestCanceled(t *testing.T) {
	h := newHouse(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Apply(ctx, change.Change{Ops: site()}); err == nil {
		t.Error("a canceled change is made")
	}
}

// directory stands for matchbox's.
type directory struct {
	locked bool
	files  []string
}

func (d *directory) Lock() func() {
	d.locked = true
	return func() { d.locked = false }
}

func (d *directory) Write(put catalog.Objects, deleted []string) (catalog.Objects, error) {
	if !d.locked {
		return put, errors.New("not locked")
	}
	for i := range put.Groups {
		put.Groups[i].File = "groups/" + put.Groups[i].Value.ID + ".json"
		put.Groups[i].Value.Name = "as the file says"
		d.files = append(d.files, put.Groups[i].File)
	}
	d.files = append(d.files, deleted...)
	return put, nil
}

func TestDirectory(t *testing.T) {
	d := &directory{}
	h := newHouse(t, func(o *change.Options) { o.Directory = d })
	for _, ops := range [][]change.Op{{put(group("01", "web", "a"))}, {put(group("01", "web", "b"))}, {remove(catalog.Group, "01")}} {
		if _, err := h.Apply(t.Context(), change.Change{Ops: ops, Lenient: true}); err != nil {
			t.Fatal(err)
		}
		if item, found := h.catalog.Current().Get(ops[0].Delete); found && (item.Owner != "groups/01.json" || item.Group.Name != "as the file says") {
			t.Errorf("got %+v", item)
		}
	}
	if got := strings.Join(d.files, " "); got != "groups/01.json groups/01.json group/01" || d.locked {
		t.Errorf("files %s, locked %v", got, d.locked)
	}
}
