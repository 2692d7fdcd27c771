package site_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

// TestReadLenient holds what matchbox reads and what it skips.
func TestReadLenient(t *testing.T) {
	dir := siteOf(t, `
-- groups/good.json --
{"id": "good", "profile": "gone", "selector": {"mac": "52-54-00-A1-9C-AE"}, "metadata": {"n": 12345678901, "request": 1}}
-- groups/other-name.json --
{"id": "inner", "profile": "p"}
-- groups/unknown-field.json --
{"id": "unknown-field", "profile": "p", "requirements": {"a": 1}, "Name": "n"}
-- groups/bad-mac.json --
{"id": "bad-mac", "profile": "p", "selector": {"MAC": "zz"}}
-- groups/broken.json --
{"id": "broken",
-- groups/null.json --
null
-- groups/empty.json --
-- groups/no-id.json --
{"profile": "p"}
-- groups/no-profile.json --
{"id": "no-profile"}
-- groups/list.json --
{"id": "list", "profile": "p", "metadata": []}
-- groups/README.txt --
hello
-- groups/yaml.yaml --
profile: p
-- profiles/p.json --
{"id": "p", "boot": {"kernel": "/k quiet", "args": ["a", ""]}, "ignition_id": "gone.ign"}
-- profiles/no-id.json --
{"boot": {}}
-- profiles/newline.json --
{"id": "newline", "boot": {"kernel": "/k\nboot"}}
-- ignition/any --
{{ broken
`)
	read, err := site.ReadLenient(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, g := range read.Groups {
		got = append(got, "group "+g.Value.ID)
	}
	for _, p := range read.Profiles {
		got = append(got, "profile "+p.Value.ID)
	}
	for _, d := range read.Templates {
		got = append(got, "template "+d.Value.Name)
	}
	for _, problem := range read.LeftOut {
		got = append(got, "left out "+problem.File)
	}
	for _, warning := range read.Warnings {
		got = append(got, "warning "+warning.File)
	}
	want := []string{
		"group good", "group other-name", "group unknown-field", "profile p", "template any",
		"left out groups/bad-mac.json", "left out groups/broken.json", "left out groups/empty.json", "left out groups/list.json", "left out groups/no-id.json",
		"left out groups/no-profile.json", "left out groups/null.json", "left out profiles/newline.json", "left out profiles/no-id.json",
		"warning groups/README.txt", "warning groups/other-name.json", "warning groups/unknown-field.json", "warning groups/unknown-field.json", "warning groups/yaml.yaml",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s\n%v\n%v", diff, read.LeftOut, read.Warnings)
	}
	if group := read.Groups[0].Value; group.Selector["mac"] != "52-54-00-A1-9C-AE" || group.Metadata["n"] != 12345678901.0 {
		t.Errorf("%+v", group)
	}
	for _, problem := range read.LeftOut {
		if problem.What == "" {
			t.Errorf("%s is left out without a reason", problem.File)
		}
	}
	if _, err := site.ReadLenient(filepath.Join(dir, "gone")); err == nil {
		t.Error("a directory that is not there was read")
	}
}

// TestWriteAsMatchbox holds the bytes that matchbox writes.
func TestWriteAsMatchbox(t *testing.T) {
	dir := t.TempDir()
	d := site.NewDirectory(dir)
	objects := catalog.Objects{
		Groups: []catalog.Owned[groups.Group]{{Value: groups.Group{
			ID: "g", Name: "n", Profile: "p", Selector: groups.Selector{"os": "installed", "mac": "52-54-00-B2-2F-86"},
			Metadata: map[string]any{"b": 1.2345678901234567e19, "a": "<&>", "l": []any{true, nil}},
		}}},
		Profiles: []catalog.Owned[profiles.Profile]{
			{Value: profiles.Profile{ID: "p", IgnitionID: "p.ign", GenericID: "p", CloudID: "c", Boot: profiles.Boot{Kernel: "/k", Initrd: []string{"/i"}, Args: []string{"a=b"}}}},
			{Value: profiles.Profile{ID: "installed"}},
		},
		Templates: []catalog.Owned[profiles.Template]{{Value: profiles.Template{Kind: profiles.Ignition, Name: "p.ign", Content: []byte("{}\r\n\x00")}}},
	}
	unlock := d.Lock()
	written, err := d.Write(objects, nil)
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"groups/g.json": "{\n\t\"id\": \"g\",\n\t\"name\": \"n\",\n\t\"profile\": \"p\",\n\t\"selector\": {\n\t\t\"mac\": \"52-54-00-B2-2F-86\",\n\t\t\"os\": \"installed\"\n\t},\n" +
			"\t\"metadata\": {\n\t\t\"a\": \"\\u003c\\u0026\\u003e\",\n\t\t\"b\": 12345678901234567000,\n\t\t\"l\": [\n\t\t\ttrue,\n\t\t\tnull\n\t\t]\n\t}\n}",
		"profiles/p.json": "{\n\t\"id\": \"p\",\n\t\"ignition_id\": \"p.ign\",\n\t\"cloud_id\": \"c\",\n\t\"boot\": {\n\t\t\"kernel\": \"/k\",\n\t\t\"initrd\": [\n\t\t\t\"/i\"\n\t\t],\n" +
			"\t\t\"args\": [\n\t\t\t\"a=b\"\n\t\t]\n\t},\n\t\"generic_id\": \"p\"\n}",
		"profiles/installed.json": "{\n\t\"id\": \"installed\",\n\t\"boot\": {}\n}",
		"ignition/p.ign":          "{}\r\n\x00",
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != text {
			t.Errorf("%s: got\n%s\nwant\n%s\n%v", name, got, text, err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	// What was written is what reading gives, to the byte of the store's records.
	read, err := site.ReadLenient(dir)
	if err != nil || len(read.LeftOut)+len(read.Warnings) > 0 {
		t.Fatalf("%v %v %v", read, read.Warnings, err)
	}
	again := read.Objects()
	slicesSort := func(o *catalog.Objects) {
		if len(o.Profiles) == 2 && o.Profiles[0].Value.ID > o.Profiles[1].Value.ID {
			o.Profiles[0], o.Profiles[1] = o.Profiles[1], o.Profiles[0]
		}
	}
	slicesSort(&written)
	slicesSort(&again)
	if diff := cmp.Diff(written, again); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}

	unlock = d.Lock()
	_, err = d.Write(catalog.Objects{}, []string{"group/g", "group/never", "profile/p", "template/ignition/p.ign", "template/generic/never"})
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	if read, err := site.ReadLenient(dir); err != nil || read.Summary() != "0 groups, 1 profile, 0 templates" {
		t.Errorf("%v, %v", read.Summary(), err)
	}
}

// TestWriteNeverEscapes: no name leads out of its directory, and no error tells where that is.
func TestWriteNeverEscapes(t *testing.T) {
	dir := t.TempDir()
	d := site.NewDirectory(dir)
	for _, id := range []string{"../profiles/evil", "a/b", "..", ".hidden", ""} {
		group := catalog.Objects{Groups: []catalog.Owned[groups.Group]{{Value: groups.Group{ID: id, Profile: "p"}}}}
		if _, err := d.Write(group, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("group %q: %v", id, err)
		}
		template := catalog.Objects{Templates: []catalog.Owned[profiles.Template]{{Value: profiles.Template{Kind: profiles.Generic, Name: id}}}}
		if _, err := d.Write(template, nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("template %q: %v", id, err)
		}
		if _, err := d.Write(catalog.Objects{}, []string{"group/" + id}); !fault.Is(err, fault.Invalid) {
			t.Errorf("deleting %q: %v", id, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "groups"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := d.Write(catalog.Objects{Groups: []catalog.Owned[groups.Group]{{Value: groups.Group{ID: "g", Profile: "p"}}}}, nil)
	if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), dir) {
		t.Errorf("%v, want one without %s", err, dir)
	}
}

// TestProfileFileHasEveryField keeps the file's form complete when profiles get new fields.
func TestProfileFileHasEveryField(t *testing.T) {
	p := profiles.Profile{PlatformSnippets: map[string][]string{"aws": {"x"}}, AllowUnhashedSources: true}
	value := reflect.ValueOf(&p).Elem()
	for i := range value.NumField() {
		switch field := value.Field(i); field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Slice:
			field.Set(reflect.ValueOf([]string{"x"}))
		}
	}
	p.Boot = profiles.Boot{Kernel: "k", Initrd: []string{"i"}, Args: []string{"a"}}
	text, err := site.ProfileJSON(&p)
	if err != nil {
		t.Fatal(err)
	}
	var back profiles.Profile
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("(-profile +file)\n%s", diff)
	}
}

// TestDirectoryApply: a reading from before a change of the API does not undo the change.
func TestDirectoryApply(t *testing.T) {
	dir := siteOf(t, "-- groups/old.json --\n{\"id\": \"old\", \"profile\": \"p\"}\n")
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	d := site.NewDirectory(dir)
	stale, err := d.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock := d.Lock()
	written, err := d.Write(catalog.Objects{Groups: []catalog.Owned[groups.Group]{{Value: groups.Group{ID: "new", Profile: "p"}}}}, []string{"group/old"})
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	applied, revision, _, err := d.Apply(t.Context(), stale, opened)
	if err != nil || len(applied.Groups) != 1 || applied.Groups[0].Value.ID != "new" {
		t.Fatalf("%v, %v", applied, err)
	}
	// The writer's own record of it is what the directory says.
	if at, changed, err := catalog.ReplaceSite(t.Context(), opened, written); err != nil || changed != 0 || at != revision {
		t.Errorf("%d changed at revision %d, want none at %d: %v", changed, at, revision, err)
	}
}
