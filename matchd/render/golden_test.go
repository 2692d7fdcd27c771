package render_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

var update = flag.Bool("update", false, "write what was rendered into the golden files")

// goldenCase is one file of testdata: documents named KIND/NAME (the first is rendered, or the base of the others), optionally
// input.json, and "want".
type goldenCase struct {
	archive   *txtar.Archive
	path      string
	documents []profiles.Template
	input     struct {
		Metadata map[string]any
		Selector map[string]string
		Labels   map[string]string
		RawQuery string
		Machine  map[string]any
		Server   map[string]any
		Version  string
	}
	want []byte
}

func readCase(t *testing.T, path string) *goldenCase {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &goldenCase{archive: archive, path: path}
	for _, file := range archive.Files {
		switch kind, name, isDocument := strings.Cut(file.Name, "/"); {
		case isDocument:
			c.documents = append(c.documents, profiles.Template{Kind: profiles.Kind(kind), Name: name, Content: file.Data})
		case file.Name == "input.json":
			if err := json.Unmarshal(file.Data, &c.input); err != nil {
				t.Fatal(err)
			}
		case file.Name == "want":
			c.want = file.Data
		}
	}
	if len(c.documents) == 0 {
		t.Fatal("the case has no document")
	}
	return c
}

func (c *goldenCase) data() map[string]any {
	return render.Input{
		Group:  &groups.Group{ID: "group-1", Profile: "profile-1", Metadata: c.input.Metadata, Selector: c.input.Selector},
		Labels: c.input.Labels, RawQuery: c.input.RawQuery, Machine: c.input.Machine, Server: c.input.Server,
		Profile: &profiles.Profile{ID: "profile-1", OS: profiles.Flatcar},
	}.Data()
}

// render returns what a machine would get.
func (c *goldenCase) render(ctx context.Context) ([]byte, error) {
	var documents []*render.Document
	for _, template := range c.documents {
		document, err := render.Compile(template)
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	if documents[0].Kind() != profiles.Ignition {
		return documents[0].Text(ctx, c.data())
	}
	config, err := render.Composition{Base: documents[0], Snippets: documents[1:], Version: c.input.Version}.Config(ctx, c.data())
	if err != nil {
		return nil, err
	}
	return config.JSON, nil
}

// check compares got with the golden part, or writes it.
func (c *goldenCase) check(t *testing.T, got []byte) {
	t.Helper()
	if !bytes.HasSuffix(got, []byte("\n")) {
		got = append(bytes.Clone(got), '\n')
	}
	if !*update {
		if diff := cmp.Diff(string(c.want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.path, diff)
		}
		return
	}
	files := c.archive.Files[:0]
	for _, file := range c.archive.Files {
		if file.Name != "want" {
			files = append(files, file)
		}
	}
	c.archive.Files = append(files, txtar.File{Name: "want", Data: got})
	if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func eachCase(t *testing.T, pattern string, run func(*testing.T, *goldenCase)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { run(t, readCase(t, path)) })
	}
}

func TestGood(t *testing.T) {
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		got, err := c.render(t.Context())
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		c.check(t, got)
		again, err := c.render(t.Context())
		if err != nil || !bytes.Equal(got, again) {
			t.Errorf("a second rendering differs (%v)", err)
		}
	})
}

// TestWrong holds documents that must be refused, each with the exact message.
func TestWrong(t *testing.T) {
	eachCase(t, "testdata/wrong/*.txtar", func(t *testing.T, c *goldenCase) {
		got, err := c.render(t.Context())
		if err == nil {
			t.Fatalf("accepted: %s", got)
		}
		var report *render.Report
		if !errors.As(err, &report) {
			t.Errorf("the error holds no report: %v", err)
		}
		c.check(t, []byte(err.Error()))
	})
}
