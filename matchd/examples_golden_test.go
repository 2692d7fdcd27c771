package matchd_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/fault"
)

var update = flag.Bool("update", false, "write what the examples render to into testdata")

const goldenDir = "testdata/examples"

// TestExamplesGolden compares what a machine of every group of every example gets with a file. It begins with the command that shows
// the same, and holds the config with the contents of its files and units behind it, as text.
func TestExamplesGolden(t *testing.T) {
	sites, err := filepath.Glob("../examples/*/groups")
	if err != nil || len(sites) == 0 {
		t.Fatalf("found no examples: %v", err)
	}
	wanted := map[string]bool{}
	for _, groupsDir := range sites {
		dir := filepath.Dir(groupsDir)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			example := loadExample(t, dir)
			for _, group := range example.groups {
				name := filepath.Join(goldenDir, example.name, group.ID+".txt")
				wanted[name] = true
				compareGolden(t, name, example.render(t, group))
			}
		})
	}
	files, err := filepath.Glob(goldenDir + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !wanted[file] {
			t.Errorf("%s belongs to no group of an example: remove it", file)
		}
	}
}

// render returns what a machine of the group gets, for people to read.
func (e *example) render(t *testing.T, group *groups.Group) *txtar.Archive {
	t.Helper()
	ask, options := e.asker(group)
	archive := &txtar.Archive{Comment: fmt.Appendf(nil, "matchd render --site examples/%s %s\n\n", e.name, options)}
	add := func(name string, data []byte) {
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(bytes.Clone(data), '\n')
		}
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: data})
	}
	plan, err := e.planner.Plan(t.Context(), ask)
	if err != nil {
		t.Fatalf("group %s: %v", group.ID, err)
	}
	if plan.Do == boot.Run {
		add("script.ipxe", plan.IPXE())
	}
	switch config, err := e.planner.Ignition(t.Context(), ask); {
	case err == nil:
		for _, part := range takeApart(t, config.JSON) {
			add(part.Name, part.Data)
		}
	case !fault.Is(err, fault.NotFound): // the profile has none
		t.Fatalf("group %s: %v", group.ID, err)
	}
	if text, err := e.planner.Generic(t.Context(), ask); err == nil {
		add("generic", text)
	}
	if text, err := e.planner.Cloud(t.Context(), ask); err == nil {
		add("cloud", text)
	}
	return archive
}

func compareGolden(t *testing.T, name string, archive *txtar.Archive) {
	t.Helper()
	got := txtar.Format(archive)
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Errorf("%v: go test ./matchd -run Golden -update writes it", err)
		return
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// takeApart returns a config as indented JSON without the contents of files and units, and each of these after it.
func takeApart(t *testing.T, config []byte) []txtar.File {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(config, &root); err != nil {
		t.Fatal(err)
	}
	var parts []txtar.File
	for _, file := range objects(root, "storage", "files") {
		contents, ok := file["contents"].(map[string]any)
		if !ok {
			continue
		}
		text := decode(t, contents)
		parts = append(parts, txtar.File{Name: "files" + file["path"].(string), Data: text})
		delete(file, "contents")
	}
	for _, unit := range objects(root, "systemd", "units") {
		name := "units/" + unit["name"].(string)
		if text, ok := unit["contents"].(string); ok {
			parts = append(parts, txtar.File{Name: name, Data: []byte(text)})
			delete(unit, "contents")
		}
		for _, dropin := range objects(unit, "dropins") {
			if text, ok := dropin["contents"].(string); ok {
				parts = append(parts, txtar.File{Name: name + ".d/" + dropin["name"].(string), Data: []byte(text)})
				delete(dropin, "contents")
			}
		}
	}
	indented, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append([]txtar.File{{Name: "config.json", Data: indented}}, parts...)
}

// objects returns the list of objects that a path of keys leads to.
func objects(from map[string]any, path ...string) (list []map[string]any) {
	for _, key := range path[:len(path)-1] {
		from, _ = from[key].(map[string]any)
	}
	items, _ := from[path[len(path)-1]].([]any)
	for _, item := range items {
		list = append(list, item.(map[string]any))
	}
	return list
}

// decode returns what a data URL of a config holds.
func decode(t *testing.T, contents map[string]any) []byte {
	t.Helper()
	source, _ := contents["source"].(string)
	head, body, isData := strings.Cut(strings.TrimPrefix(source, "data:"), ",")
	if !isData {
		return []byte(source)
	}
	var data []byte
	var err error
	if strings.HasSuffix(head, ";base64") {
		data, err = base64.StdEncoding.DecodeString(body)
	} else {
		var text string
		text, err = url.PathUnescape(body)
		data = []byte(text)
	}
	if err == nil && contents["compression"] == "gzip" {
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
			data, err = io.ReadAll(r)
		}
	}
	if err != nil {
		t.Fatalf("decoding %.60q: %v", source, err)
	}
	return data
}
