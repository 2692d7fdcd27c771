package matchd_test

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
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
	loaded, err := site.Load(dir)
	if err != nil {
		t.Fatalf("the site is refused:\n%v", err)
	}
	for _, warning := range loaded.Warnings {
		t.Errorf("warning: %v", warning)
	}
	readme := readText(t, filepath.Join(dir, "README.md"))
	planner := planExample(t, loaded)
	for _, group := range loaded.Groups {
		if !strings.Contains(readme, group.Value.ID) && !strings.Contains(readme, "*.yaml") {
			t.Errorf("README.md does not mention the group %s", group.Value.ID)
		}
		askAs(t, planner, &group.Value)
	}
}

// planExample returns a planner that serves the site.
func planExample(t *testing.T, loaded *site.Site) *boot.Planner {
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
	return boot.NewPlanner(boot.Options{Catalog: served, Machines: machine.NewRegistry(0), HTTPPort: 8080})
}

// askAs plays a machine that the group selects.
func askAs(t *testing.T, planner *boot.Planner, group *groups.Group) {
	t.Helper()
	labels := groups.Labels{"mac": "52:54:00:0a:0b:0c", "uuid": "5a1e7d0c-0000-4000-8000-00000a0b0c00", "serial": "S1", "product": "P1", "arch": "x86_64"}
	for key, value := range group.Selector {
		labels[key] = value
	}
	ask := boot.Ask{Labels: labels, BaseURL: "http://10.0.0.2:8080", Peer: netip.MustParseAddrPort("10.0.0.7:4711")}
	plan, err := planner.Plan(t.Context(), ask)
	switch {
	case err != nil && labels["os"] != "installed": // an installed system asks for its config only
		t.Errorf("group %s: no plan: %v", group.ID, err)
	case err == nil && plan.Group.ID != group.ID:
		t.Errorf("group %s: a machine that it selects gets group %s", group.ID, plan.Group.ID)
	case err == nil:
		for language, script := range map[string][]byte{"iPXE": plan.IPXE(), "GRUB": plan.GRUB()} {
			checkText(t, group.ID+": "+language, script)
			if language == "GRUB" && strings.Contains(string(script), ":uristring}") {
				t.Errorf("group %s: GRUB would not understand an iPXE variable:\n%s", group.ID, script)
			}
		}
	}
	askDocuments(t, planner, group, ask)
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
