package site_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/profiles"
)

var update = flag.Bool("update", false, "write what was found into the golden files")

// writeFiles makes a directory of the files of an archive, all but "want".
func writeFiles(t testing.TB, dir string, files []txtar.File) {
	t.Helper()
	for _, file := range files {
		if file.Name == "want" {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(file.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func siteOf(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, txtar.Parse([]byte(text)).Files)
	return dir
}

// outcome is everything that a person would be told of a site.
func outcome(loaded *site.Site, err error) string {
	var b strings.Builder
	var problems *site.Problems
	switch {
	case errors.As(err, &problems):
		fmt.Fprintln(&b, err)
		for _, warning := range problems.Warnings {
			fmt.Fprintln(&b, "warning:", warning)
		}
	case err != nil:
		fmt.Fprintln(&b, "unexpected:", err)
	default:
		fmt.Fprintln(&b, loaded.Summary())
		for _, warning := range loaded.Warnings {
			fmt.Fprintln(&b, "warning:", warning)
		}
	}
	return b.String()
}

// TestLoad reads each site of testdata/load and compares everything that is said about it.
func TestLoad(t *testing.T) {
	paths, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			writeFiles(t, dir, archive.Files)
			compareGolden(t, path, archive, outcome(site.Load(dir)))
		})
	}
}

// compareGolden compares got with the archive's file "want", or writes it.
func compareGolden(t *testing.T, path string, archive *txtar.Archive, got string) {
	t.Helper()
	last := len(archive.Files) - 1
	if last < 0 || archive.Files[last].Name != "want" {
		archive.Files = append(archive.Files, txtar.File{Name: "want"})
		last++
	}
	if !*update {
		if diff := cmp.Diff(string(archive.Files[last].Data), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		return
	}
	archive.Files[last].Data = []byte(got)
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLoadObjects(t *testing.T) {
	dir := siteOf(t, `
-- groups/node.yaml --
profile: worker
selector: {mac: 52-54-00-AA-BB-CC, os: installed}
priority: 5
boot_policy: always
snippets: [ntp.yaml]
metadata:
  port: 8080
  list: [a, 1, true, null]
  nested: {deep: {er: x}}
  date: 2026-01-02
-- profiles/worker.json --
{
	"id": "worker",
	"boot": {"kernel": "/assets/vmlinuz", "initrd": ["/assets/initrd"], "args": ["a=\ud83d\ude00", "q=\"x\""]},
	"ignition_id": "worker.yaml"
}
-- ignition/worker.yaml --
variant: fcos
version: 1.5.0
passwd: {users: [{name: "{{.nested.deep.er}}"}]}
-- ignition/ntp.yaml --
variant: fcos
version: 1.5.0
-- generic/preseed --
text
`)
	loaded, err := site.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	wantGroup := groups.Group{
		ID: "node", Profile: "worker", Selector: groups.Selector{"mac": "52-54-00-AA-BB-CC", "os": "installed"}, Priority: 5,
		BootPolicy: groups.BootAlways, Snippets: []string{"ntp.yaml"},
		Metadata: map[string]any{
			"port": 8080.0, "list": []any{"a", 1.0, true, nil}, "nested": map[string]any{"deep": map[string]any{"er": "x"}}, "date": "2026-01-02",
		},
	}
	if diff := cmp.Diff([]groups.Group{wantGroup}, loaded.GroupList()); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	wantProfile := profiles.Profile{
		ID: "worker", IgnitionID: "worker.yaml",
		Boot: profiles.Boot{Kernel: "/assets/vmlinuz", Initrd: []string{"/assets/initrd"}, Args: []string{"a=😀", `q="x"`}},
	}
	if diff := cmp.Diff([]profiles.Profile{wantProfile}, loaded.ProfileList()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	objects := loaded.Objects()
	if len(objects.Templates) != 3 || objects.Groups[0].File != "groups/node.yaml" || objects.Templates[0].File != "ignition/ntp.yaml" {
		t.Errorf("objects: %+v", objects)
	}
	places := map[string][2]int{"": {1, 1}, "profile": {1, 10}, "selector.os": {2, 40}, "metadata.list[2]": {8, 16}, "metadata.list[9].x": {8, 9}, "absent": {1, 1}}
	for field, want := range places {
		if line, column := loaded.Groups[0].At(field); line != want[0] || column != want[1] {
			t.Errorf("At(%q) = %d:%d, want %d:%d", field, line, column, want[0], want[1])
		}
	}
	if line, column := loaded.Profiles[0].At("boot.args[1]"); line != 3 || column != 97 {
		t.Errorf("At in JSON = %d:%d", line, column)
	}
}

func TestLoadNowhere(t *testing.T) {
	_, err := site.Load(filepath.Join(t.TempDir(), "nowhere"))
	var problems *site.Problems
	if err == nil || errors.As(err, &problems) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a plain error", err)
	}
}

func TestLoadIsOfKindInvalid(t *testing.T) {
	_, err := site.Load(siteOf(t, "-- groups/a.yaml --\nprofile: [\n"))
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

// TestReadUntried leaves to others what only everything together can tell.
func TestReadUntried(t *testing.T) {
	dir := siteOf(t, "-- groups/a.yaml --\nprofile: elsewhere\n-- ignition/bad.bu --\n{{\n")
	loaded, err := site.Read(t.Context(), dir, site.ReadOptions{Untried: true})
	if err != nil || loaded.Summary() != "1 group, 0 profiles, 1 template" {
		t.Errorf("got %v, %v", loaded, err)
	}
	if _, err := site.Read(t.Context(), siteOf(t, "-- groups/a.yaml --\nwrong: 1\n"), site.ReadOptions{Untried: true}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file that is wrong by itself: %v", err)
	}
}

func TestLoadLinksAndOddFiles(t *testing.T) {
	dir := siteOf(t, `
-- groups/a.yaml --
profile: p
-- shared/p.yaml --
boot: {kernel: /assets/k}
-- profiles/.p.yaml.swp --
not read
-- profiles/p.yaml~ --
not read
-- profiles/#p.yaml# --
not read
-- profiles/.gitkeep --
-- profiles/README.md --
not read, and said so
-- profiles/sub/deep.yaml --
not read, and said so
-- generic/a name with spaces --
not read, and said so
`)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("profile: p\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("../shared/p.yaml", "profiles/p.yaml")
	got := outcome(site.Load(dir))
	want := `1 group, 1 profile, 0 templates
warning: generic/a name with spaces: is not read, since no profile could name it: name: "a name with spaces" may hold letters, digits and _ . : @ - only, and starts with a letter, a digit or _
warning: profiles/README.md: is not read: profiles are files ending in .json, .yaml or .yml
warning: profiles/sub: directories in profiles/ are not read
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	link(outside, "groups/escape.yaml")
	link("nowhere", "groups/dangling.yaml")
	link("../groups", "groups/loop")
	got = outcome(site.Load(dir))
	for _, want := range []string{
		"groups/escape.yaml: leads out of the site's directory\n", "groups/dangling.yaml: no such file or directory\n", "warning: groups/loop: directories in groups/ are not read\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got:\n%swant it to contain %q", got, want)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("a path outside is told: %s", got)
	}
}

func TestLoadLargeFiles(t *testing.T) {
	dir := siteOf(t, "-- groups/a.yaml --\nprofile: p\n-- groups/b.yaml --\nprofile: q\n-- profiles/p.yaml --\n{}\n-- profiles/q.yaml --\ngeneric_id: big\n-- generic/big --\n")
	for name, size := range map[string]int{"groups/a.yaml": site.MaxFileSize + 1, "generic/big": profiles.MaxTemplateSize + 1} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("#", size)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := "generic/big: has more than 262144 bytes  (group b)\ngroups/a.yaml: has more than 262144 bytes\n"
	if got := outcome(site.Load(dir)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		dir := b.TempDir()
		files := []txtar.File{{Name: "profiles/p.yaml", Data: []byte("boot: {kernel: /assets/k}\n")}}
		for i := range n {
			text := fmt.Sprintf("{\n\t\"id\": \"g%d\",\n\t\"profile\": \"p\",\n\t\"selector\": {\"mac\": \"52:54:00:00:%02x:%02x\"},\n\t\"metadata\": {\"a\": \"b\"}\n}\n", i, i>>8&255, i&255)
			files = append(files, txtar.File{Name: fmt.Sprintf("groups/g%d.json", i), Data: []byte(text)})
		}
		writeFiles(b, dir, files)
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := site.Load(dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
