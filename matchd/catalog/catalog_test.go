package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

// hostname is a Butane document that reads metadata.
const hostname = `variant: fcos
version: 1.5.0
storage:
  files:
    - path: /etc/hostname
      mode: 0644
      contents: {inline: "{{.name}}"}
`

func group(id, profile string, selector groups.Selector, metadata map[string]any) catalog.Owned[groups.Group] {
	return catalog.Owned[groups.Group]{
		Value: groups.Group{ID: id, Profile: profile, Selector: selector, Metadata: metadata}, File: "groups/" + id + ".yaml",
	}
}

func site() catalog.Objects {
	return catalog.Objects{
		Groups: []catalog.Owned[groups.Group]{
			group("one", "worker", groups.Selector{"mac": "52:54:00:00:00:01"}, map[string]any{"name": "n1"}),
			group("two", "worker", groups.Selector{"mac": "52:54:00:00:00:02"}, map[string]any{"name": "n2"}),
			group("orphan", "missing", groups.Selector{"mac": "52:54:00:00:00:03"}, map[string]any{"name": "n3"}),
		},
		Profiles: []catalog.Owned[profiles.Profile]{{
			Value: profiles.Profile{ID: "worker", Boot: profiles.Boot{Kernel: "/k"}, IgnitionID: "worker.bu", GenericID: "note"}, File: "profiles/worker.yaml",
		}},
		Templates: []catalog.Owned[profiles.Template]{
			{Value: profiles.Template{Kind: profiles.Ignition, Name: "worker.bu", Content: []byte(hostname)}, File: "ignition/worker.bu"},
			{Value: profiles.Template{Kind: profiles.Generic, Name: "note", Content: []byte("{{.name}} at {{.matchd.server.url}}")}, File: "generic/note"},
		},
	}
}

// start opens a store and runs a catalog on it until the test ends.
func start(t testing.TB) (store.Store, *catalog.Catalog) {
	t.Helper()
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(opened, catalog.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Registry: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait(); opened.Close() })
	return opened, c
}

func replace(t *testing.T, s store.Store, c *catalog.Catalog, objects catalog.Objects) (*catalog.Snapshot, int) {
	t.Helper()
	revision, changed, err := catalog.ReplaceSite(t.Context(), s, objects)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	snapshot, err := c.WaitFor(ctx, revision)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot, changed
}

func labels(mac string) groups.Labels { return groups.Labels{"mac": mac} }

func TestNothingLoadedIsNothing(t *testing.T) {
	s, c := start(t)
	if c.Current() != nil {
		t.Error("an empty store is served")
	}
	snapshot, changed := replace(t, s, c, catalog.Objects{})
	if changed != 0 || snapshot.Revision != 1 || snapshot.Groups.Len() != 0 {
		t.Errorf("an accepted empty site: %d changed, revision %d, %d groups", changed, snapshot.Revision, snapshot.Groups.Len())
	}
}

func TestReplaceSiteIsOneRevision(t *testing.T) {
	s, c := start(t)
	first, changed := replace(t, s, c, site())
	if changed != 6 || first.Revision != 1 {
		t.Errorf("first: %d changed, revision %d", changed, first.Revision)
	}
	again, changed := replace(t, s, c, site())
	if changed != 0 || again.Revision != 1 {
		t.Errorf("the same again: %d changed, revision %d", changed, again.Revision)
	}
	// One object changed, one gone, one put by the API stays.
	if _, err := s.Apply(t.Context(), store.Op{Key: "group/api", Value: []byte(`{"id":"api","profile":"worker"}`)}); err != nil {
		t.Fatal(err)
	}
	next := site()
	next.Groups = next.Groups[:2]
	next.Groups[0].Value.Priority = 7
	last, changed := replace(t, s, c, next)
	if changed != 2 || last.Revision != 3 {
		t.Errorf("changed: %d changed, revision %d", changed, last.Revision)
	}
	if got, _ := last.Groups.Match(groups.Labels{}); got == nil || got.ID != "api" {
		t.Errorf("the API's group is gone: %v", got)
	}
	one, api := catalog.Ref{Kind: catalog.Group, ID: "one"}, catalog.Ref{Kind: catalog.Group, ID: "api"}
	if last.Owner(one) != "groups/one.yaml" || last.Owner(api) != "" {
		t.Errorf("owners: %q, %q", last.Owner(one), last.Owner(api))
	}
	if first.Groups.Len() != 3 {
		t.Error("an older snapshot changed")
	}
}

func TestReplaceSiteRefusesTwins(t *testing.T) {
	s, _ := start(t)
	twins := site()
	twins.Groups = append(twins.Groups, twins.Groups[0])
	if _, _, err := catalog.ReplaceSite(t.Context(), s, twins); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestMatchAndRender(t *testing.T) {
	s, c := start(t)
	snapshot, _ := replace(t, s, c, site())
	for mac, want := range map[string]string{"52:54:00:00:00:01": "n1", "52:54:00:00:00:02": "n2"} {
		selection, err := snapshot.Match(labels(mac))
		if err != nil {
			t.Fatal(err)
		}
		request := catalog.Request{Labels: labels(mac), RawQuery: "mac=" + mac, BaseURL: "http://boot:8080"}
		for range 2 { // the second time from the cache
			config, err := snapshot.Ignition(t.Context(), selection, request)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(config.JSON), "data:,"+want) || config.Version != "3.4.0" {
				t.Errorf("%s: %s", mac, config.JSON)
			}
			text, err := snapshot.Generic(t.Context(), selection, request)
			if err != nil || string(text) != want+" at http://boot:8080" {
				t.Errorf("%s: %q, %v", mac, text, err)
			}
		}
		metadata, err := snapshot.Metadata(t.Context(), selection, request)
		if err != nil || !strings.Contains(string(metadata), "NAME="+want+"\n") {
			t.Errorf("%s: %q, %v", mac, metadata, err)
		}
	}
}

// TestOrderOfComposition lets every document set the same file: base, profile's snippets, platform's, group's; the last one wins.
func TestOrderOfComposition(t *testing.T) {
	s, c := start(t)
	document := func(name string) catalog.Owned[profiles.Template] {
		text := fmt.Sprintf("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /last\n      overwrite: true\n      contents: {inline: %s}\n    - path: /%s\n", name, name)
		return catalog.Owned[profiles.Template]{Value: profiles.Template{Kind: profiles.Ignition, Name: name, Content: []byte(text)}, File: "ignition/" + name}
	}
	objects := catalog.Objects{
		Groups: []catalog.Owned[groups.Group]{
			group("plain", "p", nil, nil),
			{Value: groups.Group{ID: "own", Profile: "p", Selector: groups.Selector{"mac": "52:54:00:00:00:01"}, Snippets: []string{"group"}}, File: "f"},
		},
		Profiles: []catalog.Owned[profiles.Profile]{{Value: profiles.Profile{
			ID: "p", IgnitionID: "base", Snippets: []string{"snippet"}, PlatformSnippets: map[string][]string{"metal": {"metal"}, "aws": {"aws"}}, IgnitionVersion: "3.5.0",
		}, File: "f"}},
		Templates: []catalog.Owned[profiles.Template]{document("base"), document("snippet"), document("metal"), document("aws"), document("group")},
	}
	snapshot, _ := replace(t, s, c, objects)
	for _, tt := range []struct{ mac, platform, want string }{
		{"", "", "metal: base snippet metal"},
		{"", "metal", "metal: base snippet metal"},
		{"", "aws", "aws: base snippet aws"},
		{"", "gcp", "snippet: base snippet"},
		{"52:54:00:00:00:01", "aws", "group: base snippet aws group"},
	} {
		selection, err := snapshot.Match(labels(tt.mac))
		if err != nil {
			t.Fatal(err)
		}
		config, err := snapshot.Ignition(t.Context(), selection, catalog.Request{Machine: map[string]string{"platform": tt.platform}})
		if err != nil {
			t.Fatal(err)
		}
		last, merged := "", ""
		for _, name := range []string{"base", "snippet", "metal", "aws", "group"} {
			if strings.Contains(string(config.JSON), `"data:,`+name+`"`) {
				last = name
			}
			if strings.Contains(string(config.JSON), `"/`+name+`"`) {
				merged += " " + name
			}
		}
		if got := last + ":" + merged; got != tt.want || config.Version != "3.5.0" {
			t.Errorf("%+v: got %q, version %s", tt, got, config.Version)
		}
	}
}

// TestEmptyIsNeverGiven holds the ways to an empty config: a machine that got one would boot unconfigured.
func TestEmptyIsNeverGiven(t *testing.T) {
	s, c := start(t)
	for name, text := range map[string]string{
		"nothing": "", "blank": " \n\n", "comment": "# nothing\n", "header": "variant: fcos\nversion: 1.5.0\n", "empty JSON": `{"ignition":{"version":"3.4.0"}}`,
		"template": "{{if false}}x{{end}}", "template with a header": "variant: fcos\nversion: 1.5.0\n{{if .more}}passwd: {}{{end}}\n",
	} {
		objects := catalog.Objects{
			Groups:    []catalog.Owned[groups.Group]{group("g", "p", nil, map[string]any{"more": false})},
			Profiles:  []catalog.Owned[profiles.Profile]{{Value: profiles.Profile{ID: "p", IgnitionID: "base"}, File: "f"}},
			Templates: []catalog.Owned[profiles.Template]{{Value: profiles.Template{Kind: profiles.Ignition, Name: "base", Content: []byte(text)}, File: "f"}},
		}
		snapshot, _ := replace(t, s, c, objects)
		selection, err := snapshot.Match(nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := snapshot.Ignition(t.Context(), selection, catalog.Request{})
		if !fault.Is(err, fault.Unavailable) || config != nil || !strings.Contains(err.Error(), "the config is empty") {
			t.Errorf("%s: got %+v, %v", name, config, err)
		}
	}
}

func TestErrorsSayWhoseTheyAre(t *testing.T) {
	s, c := start(t)
	broken := site()
	broken.Groups = append(broken.Groups, group("nameless", "worker", groups.Selector{"mac": "52:54:00:00:00:04"}, nil))
	broken.Profiles = append(broken.Profiles, catalog.Owned[profiles.Profile]{Value: profiles.Profile{ID: "dangling", IgnitionID: "nothing.bu"}})
	broken.Groups = append(broken.Groups, group("dangling", "dangling", groups.Selector{"mac": "52:54:00:00:00:05"}, nil))
	snapshot, _ := replace(t, s, c, broken)

	_, err := snapshot.Match(labels("52:54:00:00:00:99"))
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "52:54:00:00:00:99") {
		t.Errorf("no match: %v", err)
	}
	selection, err := snapshot.Match(labels("52:54:00:00:00:03"))
	if !fault.Is(err, fault.Unavailable) || selection.Group == nil || !strings.Contains(err.Error(), `"missing"`) {
		t.Errorf("missing profile: %v, %v", selection, err)
	}
	if _, err := snapshot.Metadata(t.Context(), selection, catalog.Request{}); err != nil {
		t.Errorf("metadata needs no profile: %v", err)
	}
	tests := []struct {
		name, mac string
		ask       func(catalog.Selection) error
		want      fault.Kind
		text      string
	}{
		{"template error", "52:54:00:00:00:04", func(sel catalog.Selection) error {
			_, err := snapshot.Ignition(t.Context(), sel, catalog.Request{})
			return err
		}, fault.Unavailable, "ignition/worker.bu:7"},
		{"missing template", "52:54:00:00:00:05", func(sel catalog.Selection) error {
			_, err := snapshot.Ignition(t.Context(), sel, catalog.Request{})
			return err
		}, fault.Unavailable, `"nothing.bu"`},
		{"no template named", "52:54:00:00:00:01", func(sel catalog.Selection) error {
			_, err := snapshot.Cloud(t.Context(), sel, catalog.Request{})
			return err
		}, fault.NotFound, "cloud_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			selection, err := snapshot.Match(labels(tt.mac))
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.ask(selection); !fault.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v\nwant kind %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestUndecodableRecordsAreLeftOutAlone(t *testing.T) {
	s, c := start(t)
	replace(t, s, c, site())
	revision, err := s.Apply(t.Context(),
		store.Op{Key: "group/one", Value: []byte(`{"id":`)},
		store.Op{Key: "group/alias", Value: []byte(`{"id":"two","profile":"worker"}`)},
		store.Op{Key: "group/badmac", Value: []byte(`{"id":"badmac","profile":"worker","selector":{"mac":"zz"}}`)},
		store.Op{Key: "profile/x", Value: []byte(`[]`)},
		store.Op{Key: "template/ignition/t", Value: []byte(`{"kind":"ignition","name":"t","text":"{{"}`)},
		store.Op{Key: "cluster/later", Value: []byte(`{}`)},
	)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshot.Problems) != 5 {
		t.Errorf("%d problems, want 5: %v", len(snapshot.Problems), snapshot.Problems)
	}
	if _, err := snapshot.Match(labels("52:54:00:00:00:02")); err != nil {
		t.Errorf("a neighbour was taken down: %v", err)
	}
	if _, err := snapshot.Match(labels("52:54:00:00:00:01")); !fault.Is(err, fault.NotFound) {
		t.Errorf("a broken record is served: %v", err)
	}
	// Mended, it is served again.
	snapshot, _ = replace(t, s, c, site())
	if _, err := snapshot.Match(labels("52:54:00:00:00:01")); err != nil {
		t.Errorf("a mended record is not served: %v", err)
	}
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	_, c := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitFor(ctx, 1); !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestReadersSeeWholeRevisions moves a group and its profile together, again and again: no reader may see one without the other.
func TestReadersSeeWholeRevisions(t *testing.T) {
	s, c := start(t)
	generation := func(n int) catalog.Objects {
		id := fmt.Sprintf("p%d", n)
		return catalog.Objects{
			Groups:   []catalog.Owned[groups.Group]{group("g", id, nil, map[string]any{"name": id})},
			Profiles: []catalog.Owned[profiles.Profile]{{Value: profiles.Profile{ID: id, GenericID: "t"}, File: "f"}},
			Templates: []catalog.Owned[profiles.Template]{{
				Value: profiles.Template{Kind: profiles.Generic, Name: "t", Content: fmt.Appendf(nil, "{{.name}}=%s", id)}, File: "f",
			}},
		}
	}
	replace(t, s, c, generation(0))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				snapshot := c.Current()
				selection, err := snapshot.Match(nil)
				if err != nil {
					t.Errorf("revision %d: %v", snapshot.Revision, err)
					return
				}
				text, err := snapshot.Generic(t.Context(), selection, catalog.Request{})
				id := selection.Profile.ID
				if err != nil || string(text) != id+"="+id {
					t.Errorf("revision %d: %q for %s, %v", snapshot.Revision, text, id, err)
					return
				}
			}
		})
	}
	for n := 1; n <= 50; n++ {
		replace(t, s, c, generation(n))
	}
	close(stop)
	readers.Wait()
}

func TestStormRendersOnce(t *testing.T) {
	s, c := start(t)
	snapshot, _ := replace(t, s, c, site())
	selection, err := snapshot.Match(labels("52:54:00:00:00:01"))
	if err != nil {
		t.Fatal(err)
	}
	var first *render.Config
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			config, err := snapshot.Ignition(t.Context(), selection, catalog.Request{})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = config
			}
			if config != first {
				t.Error("the same config was rendered twice")
			}
		})
	}
	wg.Wait()
}
