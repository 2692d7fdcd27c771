package matchd_test

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

// TestExamples loads every site under examples strictly, and asks for each group as one of its machines would: for the boot scripts
// and for every document that the profile names.
func TestExamples(t *testing.T) {
	entries, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			t.Run(entry.Name(), func(t *testing.T) { tryExample(t, filepath.Join("../examples", entry.Name())) })
		}
	}
}

func tryExample(t *testing.T, dir string) {
	example := loadExample(t, dir)
	readme := readText(t, filepath.Join(dir, "README.md"))
	for _, group := range example.groups {
		if !mentions(readme, group.ID) {
			t.Errorf("README.md does not mention the group %s", group.ID)
		}
		example.askAs(t, group)
	}
}

// mentions reports whether a text names a group, or a pattern of files that has its file.
func mentions(text, id string) bool {
	patterns := regexp.MustCompile(`groups/[\w*-]+\.yaml`).FindAllString(strings.ReplaceAll(text, "PLATFORM", "*"), -1)
	return strings.Contains(text, id) || slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, err := path.Match(pattern, "groups/"+id+".yaml")
		return matched && err == nil
	})
}

// example is a site under examples, served.
type example struct {
	name     string // of its directory
	groups   []*groups.Group
	planner  *boot.Planner
	machines *machine.Registry
}

// loadExample reads a site, in which there may be nothing to complain about, and serves it.
func loadExample(t *testing.T, dir string) *example {
	t.Helper()
	loaded, err := site.Load(dir)
	if err != nil {
		t.Fatalf("the site is refused:\n%v", err)
	}
	for _, warning := range loaded.Warnings {
		t.Errorf("warning: %v", warning)
	}
	e := &example{name: filepath.Base(dir), machines: machine.NewRegistry(0)}
	e.planner = planExample(t, loaded, e.machines)
	for i := range loaded.Groups {
		e.groups = append(e.groups, &loaded.Groups[i].Value)
	}
	return e
}

// asker is a machine that belongs to a group, as the options of "matchd render" describe it.
func (e *example) asker(group *groups.Group) (ask boot.Ask, options string) {
	labels := groups.Labels{"mac": "52:54:00:0a:0b:0c", "uuid": "5a1e7d0c-0000-4000-8000-00000a0b0c00", "serial": "S1", "product": "P1", "arch": "x86_64"}
	known := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(group.Selector)) {
		if labels[key] = group.Selector[key]; key == "platform" { // only the server knows that
			known[key] = group.Selector[key]
			delete(labels, key)
		}
	}
	mac, err := machine.ParseMAC(labels["mac"])
	if err != nil {
		panic(err) // the group's selector has been read already
	}
	labels["mac"] = mac.Hyphens()
	e.machines.Pin(machine.Machine{MAC: mac, Labels: known})

	options = "--mac " + mac.String() + " --uuid " + labels["uuid"]
	query := url.Values{}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if query.Set(key, labels[key]); key != "mac" && key != "uuid" {
			options += " --label '" + key + "=" + labels[key] + "'"
		}
	}
	if platform := known["platform"]; platform != "" {
		options += " --label platform=" + platform
	}
	labels, _ = groups.LabelsFromQuery(query)
	ask = boot.Ask{Labels: labels, RawQuery: query.Encode(), BaseURL: "http://192.0.2.1:8080", Peer: netip.MustParseAddrPort("10.0.0.7:4711")}
	return ask, options
}

// planExample returns a planner that serves the site.
func planExample(t *testing.T, loaded *site.Site, machines *machine.Registry) *boot.Planner {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := catalog.New(store, catalog.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Registry: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := served.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait(); store.Close() })

	revision, _, err := catalog.ReplaceSite(t.Context(), store, loaded.Objects())
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := served.WaitFor(t.Context(), revision)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range snapshot.Problems {
		t.Error(problem)
	}
	return boot.NewPlanner(boot.Options{Catalog: served, Machines: machines, HTTPPort: 8080})
}

// askAs plays a machine that the group selects. Systems that run from their disk or in a cloud may have a config without a kernel.
func (e *example) askAs(t *testing.T, group *groups.Group) {
	t.Helper()
	ask, _ := e.asker(group)
	plan, err := e.planner.Plan(t.Context(), ask)
	switch {
	case err != nil:
		t.Errorf("group %s: no plan: %v", group.ID, err)
	case plan.Group == nil || plan.Group.ID != group.ID:
		t.Errorf("group %s: a machine that it selects does not get it: %s", group.ID, plan.Reason)
	case plan.Do != boot.Run && onMetal(group) && group.Selector["os"] != "installed":
		t.Errorf("group %s: a machine that it selects loads nothing", group.ID)
	default:
		for language, script := range map[string][]byte{"iPXE": plan.IPXE(), "GRUB": plan.GRUB()} {
			checkText(t, group.ID+": "+language, script)
			if language == "GRUB" && strings.Contains(string(script), ":uristring}") {
				t.Errorf("group %s: GRUB would not understand an iPXE variable:\n%s", group.ID, script)
			}
		}
	}
	askDocuments(t, e.planner, group, ask)
}

func onMetal(group *groups.Group) bool {
	return group.Selector["platform"] == "" || group.Selector["platform"] == profiles.Metal
}

func askDocuments(t *testing.T, planner *boot.Planner, group *groups.Group, ask boot.Ask) {
	t.Helper()
	found := 0
	config, err := planner.Ignition(t.Context(), ask)
	if err == nil {
		found++
		checkText(t, group.ID+": Ignition", config.JSON)
	}
	failures := []error{err}
	for name, get := range map[string]func(context.Context, boot.Ask) ([]byte, error){"generic": planner.Generic, "cloud": planner.Cloud} {
		text, err := get(t.Context(), ask)
		if err == nil {
			found++
			checkText(t, group.ID+": "+name, text)
		}
		failures = append(failures, err)
	}
	if found == 0 {
		t.Errorf("group %s: no document could be had: %v", group.ID, failures)
	}
}

// checkText looks for what a template or a variable of ours that was not replaced leaves behind.
func checkText(t *testing.T, what string, text []byte) {
	t.Helper()
	for _, rest := range []string{"{{", "<no value>", "${matchd:"} {
		if strings.Contains(string(text), rest) {
			t.Errorf("%s still has %q:\n%s", what, rest, text)
		}
	}
	if len(text) == 0 {
		t.Errorf("%s is empty", what)
	}
}
