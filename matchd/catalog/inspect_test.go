package catalog_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

func TestNewSnapshot(t *testing.T) {
	objects := site()
	objects.Groups = append(objects.Groups, group("../bad", "worker", nil, nil))
	objects.Templates = append(objects.Templates, catalog.Owned[profiles.Template]{
		Value: profiles.Template{Kind: profiles.Generic, Name: "bad", Content: []byte("{{")}, File: "generic/bad",
	})
	snapshot := catalog.NewSnapshot(objects, catalog.Options{})
	if len(snapshot.Problems) != 2 {
		t.Errorf("%d problems, want 2: %v", len(snapshot.Problems), snapshot.Problems)
	}
	selection, err := snapshot.Match(labels("52:54:00:00:00:01"))
	if err != nil {
		t.Fatal(err)
	}
	if snapshot.GroupFile(selection.Group) != "groups/one.yaml" || snapshot.ProfileFile(selection.Profile) != "profiles/worker.yaml" {
		t.Errorf("files %q and %q", snapshot.GroupFile(selection.Group), snapshot.ProfileFile(selection.Profile))
	}
	config, err := snapshot.Ignition(t.Context(), selection, catalog.Request{})
	if err != nil || !strings.Contains(string(config.JSON), "data:,n1") {
		t.Errorf("got %v, %v", config, err)
	}
	documents, err := snapshot.Documents(t.Context(), selection, catalog.Request{})
	want := []catalog.Rendered{{File: "ignition/worker.bu", Text: strings.Replace(hostname, "{{.name}}", "n1", 1)}}
	if diff := cmp.Diff(want, documents); diff != "" || err != nil {
		t.Errorf("documents: %v (-want +got):\n%s", err, diff)
	}
	sources, err := snapshot.Provenance(t.Context(), selection, catalog.Request{})
	if diff := cmp.Diff([]render.Source{{Kind: "file", Name: "/etc/hostname", Documents: []string{"ignition/worker.bu"}}}, sources); diff != "" || err != nil {
		t.Errorf("provenance: %v (-want +got):\n%s", err, diff)
	}
}

func TestInspectingWhatCannotBeRendered(t *testing.T) {
	objects := site()
	objects.Groups = append(objects.Groups, group("nameless", "worker", groups.Selector{"mac": "52:54:00:00:00:04"}, nil))
	snapshot := catalog.NewSnapshot(objects, catalog.Options{})
	selection, err := snapshot.Match(labels("52:54:00:00:00:04"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snapshot.Documents(t.Context(), selection, catalog.Request{}); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "ignition/worker.bu:7") {
		t.Errorf("documents: %v", err)
	}
	if _, err := snapshot.Provenance(t.Context(), selection, catalog.Request{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("provenance: %v", err)
	}
	none := catalog.Selection{Group: selection.Group, Profile: &profiles.Profile{ID: "none"}}
	if _, err := snapshot.Documents(t.Context(), none, catalog.Request{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("documents of a profile without a config: %v", err)
	}
	if _, err := snapshot.Provenance(t.Context(), none, catalog.Request{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("provenance of a profile without a config: %v", err)
	}
}
