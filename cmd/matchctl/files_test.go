package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// quiet is an app whose streams are buffers.
func quiet(stdin string) (*app, *bytes.Buffer) {
	var out bytes.Buffer
	return &app{in: strings.NewReader(stdin), out: terminal{Writer: &out}, err: terminal{Writer: &out}}, &out
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func namesOfObjects(objects []object) []string {
	var names []string
	for i := range objects {
		names = append(names, client.Name(refOf(objects[i].pb)))
	}
	return names
}

func TestReadObjects(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a site", map[string]string{"groups/a.yaml": "profile: p\n", "profiles/p.json": "{}", "ignition/i.bu": "x", "matchd.yaml": "site: x\n"},
			[]string{"group/a", "profile/p", "template/ignition/i.bu"}},
		{"documents", map[string]string{"x.yaml": "kind: Group\nid: a\n---\nkind: Machine\nid: 52-54-00-00-00-01\n", "y.json": `{"kind":"Reservation","id":"10.0.0.1"}`, "README.md": "x"},
			[]string{"group/a", "machine/52:54:00:00:00:01", "reservation/10.0.0.1"}},
		{"both", map[string]string{"groups/a.yaml": "profile: p\n", "machines.yaml": "kind: Machine\nid: 52:54:00:00:00:01\n"},
			[]string{"group/a", "machine/52:54:00:00:00:01"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, out := quiet("")
			objects, err := a.readObjects(t.Context(), []string{writeTree(t, tt.files)})
			if err != nil {
				t.Fatal(err, out.String())
			}
			if diff := cmp.Diff(tt.want, namesOfObjects(objects)); diff != "" {
				t.Error(diff)
			}
		})
	}
	a, _ := quiet(`{"kind": "Group", "id": "a"}`)
	if objects, err := a.readObjects(t.Context(), []string{"-"}); err != nil || len(objects) != 1 {
		t.Errorf("standard input: %v, %v", objects, err)
	}
}

func TestReadObjectsProblems(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no kind", "id: a\n", `x.yaml:1:1: a document needs a "kind"`},
		{"an unknown kind", "kind: Gruop\nid: a\n", `x.yaml:1:7: unknown kind "Gruop": did you mean "Group"?`},
		{"an unknown field", "kind: Group\nid: a\nprofil: b\n", `x.yaml:3:1: unknown field "profil": did you mean "profile"?`},
		{"no id", "kind: Group\nprofile: b\n", "x.yaml:1:1: has no id"},
		{"a template's id", "kind: Template\nid: worker\n", "x.yaml:2:5: a template's id is KIND/NAME"},
		{"no Base64", "kind: Template\nid: generic/a\ncontent_base64: '?'\n", "x.yaml:3:17: is not Base64"},
		{"a priority", "kind: Group\nid: a\npriority: 99999999999\n", "x.yaml:3:11: is a whole number from -2147483648"},
		{"twice", "kind: Group\nid: a\n---\nkind: Group\nid: a\n", "x.yaml:4:1: group/a is there already: "},
		{"nothing", "# nothing\n", "there are no objects"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := quiet("")
			_, err := a.readObjects(t.Context(), []string{filepath.Join(writeTree(t, map[string]string{"x.yaml": tt.text}), "x.yaml")})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestRefusalsNameFiles looks where a server's complaints are told.
func TestRefusalsNameFiles(t *testing.T) {
	dir := writeTree(t, map[string]string{
		"groups/a.yaml": "profile: p\nselector:\n  mac: x1\n", "ignition/i.bu": "x\n",
		"more.yaml": "kind: Template\nid: generic/g\ncontent: |\n  x\n---\nkind: Machine\nid: 52:54:00:00:00:01\nloader: x\n",
	})
	a, out := quiet("")
	// The selector is no address, which the reader of sites finds by itself.
	if _, err := a.readObjects(t.Context(), []string{dir}); err == nil || !strings.Contains(err.Error(), "a.yaml:3:8: selector.mac") {
		t.Fatalf("%v %s", err, out.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "groups/a.yaml"), []byte("profile: p\nselector:\n  rack: x1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	objects, err := a.readObjects(t.Context(), []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	set := &changeset{app: a, put: objects}
	set.index()
	ref := func(kind matchdpb.Kind, id string) *matchdpb.Ref { return &matchdpb.Ref{Kind: kind, Id: id} }
	tests := []struct {
		problem *matchdpb.Problem
		want    string
	}{
		{&matchdpb.Problem{Ref: ref(matchdpb.Kind_KIND_GROUP, "a"), Field: "selector.rack", What: "is odd"}, "groups/a.yaml:3:9: is odd"},
		{&matchdpb.Problem{Ref: ref(matchdpb.Kind_KIND_TEMPLATE, "ignition/i.bu"), Line: 1, Column: 2, What: "is odd", Source: "x"}, "ignition/i.bu:1:2: is odd: x"},
		{&matchdpb.Problem{Ref: ref(matchdpb.Kind_KIND_TEMPLATE, "generic/g"), Line: 1, Column: 2, What: "is odd"}, "more.yaml (template/generic/g):1:2: is odd"},
		{&matchdpb.Problem{Ref: ref(matchdpb.Kind_KIND_MACHINE, "52:54:00:00:00:01"), Field: "loader", What: "is odd"}, "more.yaml:8:9: is odd: loader: x"},
		{&matchdpb.Problem{Ref: ref(matchdpb.Kind_KIND_GROUP, "other"), Field: "profile", What: "does not exist", Groups: []string{"other"}}, "group/other: profile: does not exist  (group other)"},
	}
	for _, tt := range tests {
		got := set.place(tt.problem).String()
		if !strings.HasSuffix(got, tt.want) {
			t.Errorf("got %q, want …%q", got, tt.want)
		}
	}
	if got := set.placeField(client.Field{Name: "changes[0].put.group.selector.rack", Description: "is odd"}).String(); !strings.HasSuffix(got, "groups/a.yaml:3:9: is odd") {
		t.Errorf("got %q", got)
	}
}

func TestPruneByLabels(t *testing.T) {
	group := func(id, profile, site string, snippets ...string) *matchdpb.Object {
		return wrap(&matchdpb.Group{Id: id, Profile: profile, Selector: map[string]string{"site": site}, Snippets: snippets})
	}
	profile := func(id, ignition string) *matchdpb.Object {
		return wrap(&matchdpb.Profile{Id: id, IgnitionId: ignition})
	}
	template := func(name string) *matchdpb.Object {
		return wrap(&matchdpb.Template{Kind: "ignition", Name: name})
	}
	owned := group("owned", "own", "fra")
	owned.GetGroup().Meta = &matchdpb.Meta{Owner: "groups/owned.yaml"}
	there := []*matchdpb.Object{
		group("kept", "common", "fra"), group("old", "old", "fra", "snippet"), group("other", "common", "ams"), group("older", "shared", "fra"),
		group("sharing", "shared", "ams"), owned,
		profile("common", "common.bu"), profile("old", "old.bu"), profile("shared", "shared.bu"), profile("nobodys", "nobodys.bu"), profile("own", "own.bu"),
		template("common.bu"), template("old.bu"), template("shared.bu"), template("nobodys.bu"), template("snippet"), template("own.bu"),
		wrap(&matchdpb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"site": "fra"}}),
		wrap(&matchdpb.Machine{Id: "52:54:00:00:00:02", Labels: map[string]string{"site": "ams"}}),
	}
	s := &scope{labels: map[string]string{"site": "fra"}}
	var got []string
	for _, ref := range s.labelled(there, map[string]bool{"group/kept": true}, []object{{pb: group("kept", "common", "fra")}}) {
		got = append(got, client.Name(ref))
	}
	want := []string{"group/old", "group/older", "machine/52:54:00:00:00:01", "profile/old", "template/ignition/old.bu", "template/ignition/snippet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
