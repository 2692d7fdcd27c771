package trial_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/profiles"
)

func group(id, profile, name string, snippets ...string) catalog.Owned[groups.Group] {
	return catalog.Owned[groups.Group]{Value: groups.Group{
		ID: id, Profile: profile, Snippets: snippets, Selector: groups.Selector{"id": id}, Metadata: map[string]any{"name": name},
	}}
}

func profile(id, ignition string, snippets ...string) catalog.Owned[profiles.Profile] {
	return catalog.Owned[profiles.Profile]{Value: profiles.Profile{ID: id, IgnitionID: ignition, Snippets: snippets}}
}

func document(name, text string) catalog.Owned[profiles.Template] {
	if !strings.HasPrefix(text, "{") {
		text = "variant: fcos\nversion: 1.5.0\n" + text
	}
	return catalog.Owned[profiles.Template]{Value: profiles.Template{Kind: profiles.Ignition, Name: name, Content: []byte(text)}}
}

// file is a document that writes one file.
func file(name, path, contents string) catalog.Owned[profiles.Template] {
	return document(name, fmt.Sprintf("storage: {files: [{path: %s, contents: {inline: %q}}]}\n", path, contents))
}

func healthy() catalog.Objects {
	return catalog.Objects{
		Groups:   []catalog.Owned[groups.Group]{group("a", "web", "a"), group("b", "web", "b", "motd.bu"), group("c", "db", "c")},
		Profiles: []catalog.Owned[profiles.Profile]{profile("web", "host.bu", "ntp.bu"), profile("db", "db.bu")},
		Templates: []catalog.Owned[profiles.Template]{
			file("host.bu", "/etc/hostname", "{{.name}}"), file("ntp.bu", "/etc/ntp", "x"), file("motd.bu", "/etc/motd", "x"), file("db.bu", "/etc/db", "x"),
		},
	}
}

// told returns a result as text.
func told(t *testing.T, objects catalog.Objects, options trial.Options) string {
	t.Helper()
	found, err := trial.Run(t.Context(), objects, options)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range found.Problems {
		fmt.Fprintln(&b, p)
	}
	for _, p := range found.Warnings {
		fmt.Fprintln(&b, "warning:", p)
	}
	return b.String()
}

func TestHealthyObjects(t *testing.T) {
	if got := told(t, healthy(), trial.Options{}); got != "" {
		t.Errorf("got:\n%s", got)
	}
}

// TestRun changes healthy objects and looks at everything, or at what was changed.
func TestRun(t *testing.T) {
	const missingName = `ignition/host.bu:3:63: .nam: there is no "nam" in the group's metadata, its selector or the request: ` +
		`storage: {files: [{path: /etc/hostname, contents: {inline: "{{.nam}}"}}]}  (groups a and b)` + "\n"
	tests := []struct {
		name    string
		change  func(*catalog.Objects)
		options trial.Options
		want    string
	}{
		{"a template that its groups cannot fill", func(o *catalog.Objects) {
			o.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
		}, trial.Options{}, missingName},
		{"the same, restricted to it", func(o *catalog.Objects) {
			o.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
		}, trial.Options{Changed: []string{"ignition/host.bu"}}, missingName},
		{"restricted to one of its groups", func(o *catalog.Objects) {
			o.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
		}, trial.Options{Changed: []string{"groups/a"}}, strings.ReplaceAll(missingName, "groups a and b", "group a")},
		{"restricted to what has nothing to do with it", func(o *catalog.Objects) {
			o.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
		}, trial.Options{Changed: []string{"profiles/db", "groups/c"}}, ""},
		{"restricted to nothing", func(o *catalog.Objects) {
			o.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
		}, trial.Options{Changed: []string{}}, ""},
		{"a group without profile", func(o *catalog.Objects) {
			o.Groups[2].Value.Profile = "dbs"
		}, trial.Options{}, "groups/c: profile: there is no profile \"dbs\": did you mean \"db\"?\n"},
		{"a profile that is removed", func(o *catalog.Objects) {
			o.Profiles = o.Profiles[:1]
		}, trial.Options{Changed: []string{"profiles/db"}}, "groups/c: profile: there is no profile \"db\"\n"},
		{"a template that is removed", func(o *catalog.Objects) {
			o.Templates = o.Templates[1:]
		}, trial.Options{Changed: []string{"ignition/host.bu"}}, "profiles/web: ignition_id: there is no file ignition/host.bu\n"},
		{"a template that is there, but broken, and told of by others", func(o *catalog.Objects) {
			o.Templates = o.Templates[1:]
		}, trial.Options{Broken: map[string]bool{"ignition/host.bu": true}}, ""},
		{"two documents, one file", func(o *catalog.Objects) {
			o.Templates[1] = file("ntp.bu", "/etc/hostname", "other")
		}, trial.Options{Changed: []string{"ignition/ntp.bu"}}, "warning: ignition/ntp.bu:3:26: storage.files: /etc/hostname: these contents replace those of ignition/host.bu, and neither says overwrite: true: " +
			"storage: {files: [{path: /etc/hostname, contents: {inline: \"other\"}}]}  (groups a and b)\n"},
		{"two documents, one file, refused", func(o *catalog.Objects) {
			o.Templates[1] = file("ntp.bu", "/etc/hostname", "other")
		}, trial.Options{RefuseOverlaps: true}, "ignition/ntp.bu:3:26: storage.files: /etc/hostname: these contents replace those of ignition/host.bu, and neither says overwrite: true: " +
			"storage: {files: [{path: /etc/hostname, contents: {inline: \"other\"}}]}  (groups a and b)\n"},
		{"equal selectors", func(o *catalog.Objects) {
			o.Groups[1].Value.Selector = groups.Selector{"id": "a"}
		}, trial.Options{Changed: []string{"groups/b"}}, "warning: groups/b: selector: it equals that of group \"a\", which comes first, so no machine ever gets this group; a priority settles it\n"},
		{"equal selectors of others", func(o *catalog.Objects) {
			o.Groups[1].Value.Selector = groups.Selector{"id": "a"}
		}, trial.Options{Changed: []string{"groups/c"}}, ""},
		{"a broken document beside a template that cannot be filled, and neither has a hash", func(o *catalog.Objects) {
			o.Templates[0] = document("host.bu", "storage: {files: [{path: {{.path}}, contents: {source: http://x/}}]}\n")
			o.Templates[1] = document("ntp.bu", "storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}\n")
		}, trial.Options{}, `ignition/host.bu:3:28: .path: there is no "path" in the group's metadata, its selector or the request: storage: {files: [{path: {{.path}}, contents: {source: http://x/}}]}  (groups a and b)
ignition/ntp.bu:3:19: storage.files.0.path: path not specified: storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}  (groups a and b)
ignition/ntp.bu:3:20: storage.files.0.paths: unused key paths: storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}  (groups a and b)
ignition/ntp.bu:3:56: storage.files.0.contents.source: what comes over http needs a verification.hash, unless the profile says allow_unhashed_sources: storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}  (groups a and b)
`},
		{"a profile that allows sources without a hash", func(o *catalog.Objects) {
			o.Profiles[0].Value.AllowUnhashedSources = true
			o.Templates[1] = document("ntp.bu", "storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}\n")
		}, trial.Options{}, `ignition/ntp.bu:3:19: storage.files.0.path: path not specified: storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}  (groups a and b)
ignition/ntp.bu:3:20: storage.files.0.paths: unused key paths: storage: {files: [{paths: /etc/ntp, contents: {source: http://y/}}]}  (groups a and b)
`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			objects := healthy()
			tc.change(&objects)
			if diff := cmp.Diff(tc.want, told(t, objects, tc.options)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDanglingIsTold(t *testing.T) {
	objects := healthy()
	objects.Templates = objects.Templates[:3]
	found, err := trial.Run(t.Context(), objects, trial.Options{})
	if err != nil || len(found.Problems) != 1 || !found.Problems[0].Dangling || found.Problems[0].File != "profiles/db" {
		t.Errorf("got %+v, %v", found, err)
	}
}

func TestPlaces(t *testing.T) {
	objects := healthy()
	objects.Groups[0].File, objects.Groups[0].Value.Profile = "groups/a.yaml", "nothing"
	got := told(t, objects, trial.Options{Place: func(file, field string) (int, int, string) { return 7, 9, file + " " + field }})
	want := "groups/a.yaml:7:9: profile: there is no profile \"nothing\": groups/a.yaml profile\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trial.Run(ctx, healthy(), trial.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCacheIsShared runs trials of everything and of parts at the same time with one cache; each finds what it would find alone.
func TestCacheIsShared(t *testing.T) {
	cache := trial.NewCache()
	broken := healthy()
	broken.Templates[0] = file("host.bu", "/etc/hostname", "{{.nam}}")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			objects, problems := healthy(), 0
			if i%2 == 0 {
				objects, problems = broken, 1
			}
			options := trial.Options{Cache: cache}
			if i%4 < 2 {
				options.Changed = []string{"ignition/host.bu"}
			}
			for range 20 {
				found, err := trial.Run(t.Context(), objects, options)
				if err != nil || len(found.Problems) != problems {
					t.Errorf("run %d: %+v, %v", i, found, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestCacheTellsLenientApart has lenient and strict trials share a cache, in both orders: what one lets pass the other refuses.
func TestCacheTellsLenientApart(t *testing.T) {
	objects := healthy()
	objects.Templates[0] = document("host.bu", "storage: {files: [{path: '/etc/{{.name}}', modes: 1}]}\n")
	objects.Templates[1] = document("ntp.bu", "storage: {files: [{path: /etc/ntp, modes: 1}]}\n")
	for _, order := range [][]bool{{true, false}, {false, true}} {
		cache := trial.NewCache()
		for _, lenient := range append(order, order...) {
			got := told(t, objects, trial.Options{Cache: cache, Lenient: lenient, Changed: []string{"ignition/host.bu", "ignition/ntp.bu"}})
			if want := told(t, objects, trial.Options{Lenient: lenient}); got != want || lenient != (got == "") {
				t.Errorf("order %v, lenient %v: got\n%swant\n%s", order, lenient, got, want)
			}
		}
	}
}

// BenchmarkOneGroupOf10000 is what the change of one group costs among many: no more than looking at them all.
func BenchmarkOneGroupOf10000(b *testing.B) {
	objects := healthy()
	for i := range 10_000 {
		objects.Groups = append(objects.Groups, group(fmt.Sprint("g", i), "web", fmt.Sprint("n", i)))
	}
	options := trial.Options{Cache: trial.NewCache(), Changed: []string{"groups/g77"}}
	for b.Loop() {
		if found, err := trial.Run(b.Context(), objects, options); err != nil || len(found.Problems) > 0 {
			b.Fatal(found, err)
		}
	}
}
