package render_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

func compile(t testing.TB, kind profiles.Kind, name, content string) *render.Document {
	t.Helper()
	d, err := render.Compile(profiles.Template{Kind: kind, Name: name, Content: []byte(content)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCompileRefuses(t *testing.T) {
	for _, template := range []profiles.Template{
		{Kind: "assets", Name: "a"},
		{Kind: profiles.Generic, Name: "../a"},
		{Kind: profiles.Generic, Name: "a", Content: make([]byte, profiles.MaxTemplateSize+1)},
		{Kind: profiles.Generic, Name: "a", Content: []byte("{{")},
	} {
		if _, err := render.Compile(template); !fault.Is(err, fault.Invalid) {
			t.Errorf("Compile(%s/%s) = %v, want an error of kind Invalid", template.Kind, template.Name, err)
		}
	}
}

func TestKeyIsWhatTheDocumentReads(t *testing.T) {
	base := func() render.Input {
		return render.Input{
			Group:  &groups.Group{ID: "g", Metadata: map[string]any{"role": "worker", "list": []any{"a"}, "nested": map[string]any{"a": "1", "b": "2"}}},
			Labels: groups.Labels{"mac": "52:54:00:00:00:01", "os": "x"}, RawQuery: "os=x",
		}
	}
	changes := map[string]func(*render.Input){
		"role":   func(in *render.Input) { in.Group.Metadata["role"] = "controller" },
		"list":   func(in *render.Input) { in.Group.Metadata["list"] = []any{"a", "b"} },
		"nested": func(in *render.Input) { in.Group.Metadata["nested"] = map[string]any{"a": "9", "b": "2"} },
		"mac":    func(in *render.Input) { in.Labels["mac"] = "52:54:00:00:00:02" },
		"raw":    func(in *render.Input) { in.RawQuery = "os=y" },
		"absent": func(in *render.Input) { in.Group.Metadata["new"] = "x" },
	}
	tests := []struct {
		source string
		reads  string // changes that give another key
	}{
		{"nothing", ""},
		{`{{"constant"}}{{$x := 1}}{{$x}}`, ""},
		{"{{.role}}", "role"},
		{"{{$.role}}", "role"},
		{"{{.nested.b}}", ""},
		{"{{.nested.a}}", "nested"},
		{"{{with .nested}}{{.a}}{{end}}", "nested"},
		{"{{range .list}}{{.}}{{$.role}}{{end}}", "list role"},
		{"{{range .list}}{{.}}{{else}}{{.role}}{{end}}", "list role"},
		{"{{if .role}}x{{end}}", "role"},
		{"{{.request.query.mac}}", "mac"},
		{`{{index .request.query "os"}}`, "mac"}, // the whole query: index hides which
		{"{{.request.raw_query}}", "raw"},
		{`{{define "x"}}{{.}}{{end}}{{template "x" .role}}`, "role"},
		{`{{define "x"}}{{.a}}{{$.b}}{{end}}{{template "x" .nested}}`, "nested"},
		{`{{define "x"}}{{.role}}{{end}}{{template "x" .}}`, "role list nested mac raw absent"},
		{`{{print (print .role)}}`, "role"},
		{`{{(index .list 0).x}}`, "list"},
		{`{{$all := .}}{{$all.role}}`, "role list nested mac raw absent"},
		{"{{.new}}", "absent"},
	}
	for _, tt := range tests {
		t.Run(tt.source, func(t *testing.T) {
			d := compile(t, profiles.Generic, "doc", tt.source)
			key := d.Key(base().Data())
			if again := d.Key(base().Data()); again != key {
				t.Error("equal data give different keys")
			}
			if d.Static() != (key == "") {
				t.Errorf("Static() = %v with key %q", d.Static(), key)
			}
			for name, change := range changes {
				in := base()
				change(&in)
				if differs, want := d.Key(in.Data()) != key, strings.Contains(tt.reads, name); differs != want {
					t.Errorf("a change of %s gives another key: %v, want %v", name, differs, want)
				}
			}
		})
	}
}

func TestStaticRendersOnce(t *testing.T) {
	d := compile(t, profiles.Ignition, "a.yaml", worker)
	first, err := render.Composition{Base: d}.Config(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(10, func() {
		if _, err := (render.Composition{Base: d}).Config(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	if n > 100 {
		t.Errorf("rendering a static document again allocates %v times", n)
	}
	if first.ETag() != `"`+first.Digest+`"` || len(first.Digest) != 64 || first.Version != "3.4.0" {
		t.Errorf("got %s version %s", first.ETag(), first.Version)
	}
}

func TestCheck(t *testing.T) {
	if err := compile(t, profiles.Ignition, "a.yaml", "variant: {{.x}}").Check(t.Context()); err != nil {
		t.Errorf("a document that needs data: %v", err)
	}
	if err := compile(t, profiles.Ignition, "a.yaml", "variant: nothing").Check(t.Context()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong document: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := compile(t, profiles.Generic, "a", "{{.x}}{{range 1000000}}{{end}}")
	if _, err := d.Text(ctx, map[string]any{"x": 1}); !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to be Unavailable and cancelled", err)
	}
}

func TestWrongKindInComposition(t *testing.T) {
	_, err := render.Composition{Base: compile(t, profiles.Generic, "a", "x")}.Config(t.Context(), nil)
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

// TestConcurrentUse lets the race detector look.
func TestConcurrentUse(t *testing.T) {
	static := compile(t, profiles.Ignition, "static.yaml", worker)
	templated := compile(t, profiles.Ignition, "templated.yaml", strings.Replace(worker, "core", "{{.request.query.mac}}", 1))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			in := render.Input{Labels: groups.Labels{"mac": fmt.Sprint("m", i)}}
			config, err := render.Composition{Base: templated, Snippets: []*render.Document{static}}.Config(t.Context(), in.Data())
			if err != nil || !strings.Contains(string(config.JSON), fmt.Sprintf(`"m%d"`, i)) {
				t.Errorf("machine %d got %v, %v", i, config, err)
			}
		})
	}
	wg.Wait()
}

// TestHostileDocuments holds documents that would keep Butane, Ignition or text/template busy for long.
func TestHostileDocuments(t *testing.T) {
	header := "variant: fcos\nversion: 1.5.0\n"
	aliases := header + "storage:\n  files:\n    - &f {path: /etc/a}\n" + strings.Repeat("    - *f\n", 20_000)
	bomb := header + "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	var files strings.Builder
	files.WriteString(header + "storage:\n  files:\n")
	for i := range render.MaxEntries + 1 {
		fmt.Fprintf(&files, "    - path: /etc/f%d\n", i)
	}
	tests := []struct {
		name, file, content, want string
	}{
		{"20,000 aliases", "a.yaml", aliases, "holds more than 1000 YAML aliases"},
		{"alias bomb", "a.yaml", bomb, "holds more than"},
		{"alias of itself", "a.yaml", header + "storage: &a {files: [*a]}\n", "3:22: the anchor \"a\" holds itself"},
		{"too many files", "a.yaml", files.String(), "holds more than 2000 list entries"},
		{"too many values", "a.yaml", header + "a: {" + manyWords(30_000) + "}", "holds more than"},
		{"too many values in JSON", "a.ign", `{"a":[` + strings.Repeat("[],", 30_000) + `[]]}`, "it holds more than 2000 list entries"},
		{"deep JSON", "a.ign", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "it is nested more than 100 deep"},
		{"deep YAML", "a.yaml", header + "a: " + strings.Repeat("[", 20_000), "exceeded max depth"},
		{"large by templating", "a.yaml", header + "{{range 100000}}# filler\n{{end}}", "has 900029 bytes, at most 262144 are allowed"},
		{"binary", "a.yaml", "\x00\x01\x02\xff", "control characters are not allowed"},
		{"many problems", "a.yaml", header + manyKeys(500), "and 400 more problems"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			d, err := render.Compile(profiles.Template{Kind: profiles.Ignition, Name: tt.file, Content: []byte(tt.content)})
			if err == nil {
				_, err = render.Composition{Base: d}.Config(t.Context(), nil)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.500v\nwant it to contain %q", err, tt.want)
			}
			t.Logf("refused in %v", time.Since(start))
		})
	}
}

func manyWords(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "b%d,", i)
	}
	return b.String()
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "unknown%d: x\n", i)
	}
	return b.String()
}

// TestEqualsButane compares every good single Butane document, after its template has run, with what Butane itself gives.
func TestEqualsButane(t *testing.T) {
	compared := 0
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		if len(c.documents) != 1 || c.documents[0].Kind != profiles.Ignition || c.input.Version != "" || strings.HasPrefix(filepath.Base(c.path), "ignition-") {
			return
		}
		compared++
		document := compile(t, profiles.Ignition, c.documents[0].Name, string(c.documents[0].Content))
		text, err := document.Text(t.Context(), c.data())
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := config.TranslateBytes(text, common.TranslateBytesOptions{Raw: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.render(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	if compared < 15 {
		t.Errorf("only %d documents were compared", compared)
	}
}

const worker = `variant: fcos
version: 1.5.0
passwd:
  users:
    - name: core
      ssh_authorized_keys: [ssh-ed25519 AAAA]
`

// FuzzRender feeds the whole path: whatever an author writes, the answer is a valid config or a report, soon.
func FuzzRender(f *testing.F) {
	for _, pattern := range []string{"testdata/good", "testdata/wrong"} {
		entries, err := os.ReadDir(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, entry := range entries {
			seed, err := os.ReadFile(pattern + "/" + entry.Name())
			if err != nil {
				f.Fatal(err)
			}
			_, body, _ := strings.Cut(string(seed), "--\n")
			body, _, _ = strings.Cut(body, "\n-- ")
			f.Add(entry.Name()[0] == 'i', body)
		}
	}
	f.Fuzz(func(t *testing.T, verbatim bool, content string) {
		name := "doc.yaml"
		if verbatim {
			name = "doc.ign"
		}
		start := time.Now()
		defer func() {
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		}()
		d, err := render.Compile(profiles.Template{Kind: profiles.Ignition, Name: name, Content: []byte(content)})
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		data := render.Input{Group: &groups.Group{ID: "g", Metadata: map[string]any{"a": "b"}}, Labels: groups.Labels{"mac": "m"}}.Data()
		config, err := render.Composition{Base: d}.Config(t.Context(), data)
		if err != nil {
			mustBeInvalid(t, err)
			return
		}
		if len(config.JSON) < len(`{"ignition":{"version":"3.0.0"}}`)+1 || config.Version == "" {
			t.Fatalf("an empty config: %s", config.JSON)
		}
		again := compile(t, profiles.Ignition, "again.ign", string(config.JSON))
		second, err := render.Composition{Base: again}.Config(t.Context(), nil)
		if err != nil || string(second.JSON) != string(config.JSON) {
			t.Fatalf("the config does not read back: %v\n%s", err, config.JSON)
		}
	})
}

func mustBeInvalid(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, context.DeadlineExceeded) {
		return // the slow machine of a test, or the race detector: the bound on time did its work
	}
	if !fault.Is(err, fault.Invalid) || err.Error() == "" {
		t.Fatalf("got %#v, want an error of kind Invalid with a text", err)
	}
}
