package render_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// TestStandInsAccuseNobody takes one key of the metadata after the other away from documents that are good with it: nothing but actions that fail may be
// reported.
func TestStandInsAccuseNobody(t *testing.T) {
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		all := c.input.Metadata
		for key := range all {
			c.input.Metadata = maps.Clone(all)
			delete(c.input.Metadata, key)
			_, err := c.render(t.Context())
			var report *render.Report
			if err != nil && !errors.As(err, &report) {
				t.Fatal(err)
			}
			for _, p := range problemsIn(report) {
				if !strings.Contains(p.Source, "{{") {
					t.Errorf("without %q: %v", key, p)
				}
			}
		}
	})
}

func problemsIn(report *render.Report) []render.Problem {
	if report == nil {
		return nil
	}
	return report.Problems
}

// TestStandInsDoNotJudge holds what could be right with a value in place of the action that failed.
func TestStandInsDoNotJudge(t *testing.T) {
	const header = "variant: fcos\nversion: 1.5.0\n"
	tests := []struct {
		name, source string
		want         int // problems
	}{
		{"keys of a map", header + "storage:\n  files:\n    - path: /a\n      {{.x}}\n", 1},
		{"a list", header + "storage:\n  files:\n{{.x}}\n", 1},
		{"the kind of config", "{{.x}}\nstorage: {filez: []}\n", 1},
		{"its version", "variant: fcos\nversion: {{.x}}\nsystemd: {units: [{name: a.service, nosuch: 1}]}\n", 1},
		{"a key above", header + "{{.x}}:\n  filez: []\n", 1},
		{"a map below", header + "storage:\n  filez:\n    - {{.x}}\n", 1},
		{"a hash", header + "storage:\n  files:\n    - path: /a\n      contents:\n        source: http://10.0.0.1/a\n        verification:\n          {{.x}}\n", 1},
		{"braces over lines", header + "storage: {\n  filez: [],\n  files: [{path: \"{{.x}}\"}]\n}\n", 1},
		{"JSON", "{\"ignition\": {\"version\": \"3.4.0\"},\n\"nosuch\": 1,\n\"x\": \"{{.x}}\"}", 1},
		{"a branch", header + "storage:\n  filez: []\n{{if .x}}\n  files: []\n{{end}}\n", 1},
		{"a variable", header + "{{$v := .x}}{{if $v}}{{.y}}{{end}}", 1},
		{"a variable in a branch", header + "{{$v := 1}}{{if .x}}{{$v = 2}}{{end}}{{if eq $v 1}}{{.y}}{{end}}", 1},
		{"the end of a loop", header + "{{range .list}}{{if .x}}{{break}}{{end}}{{.y}}{{end}}", 1},
		{"the type of a unit", header + "systemd:\n  units:\n    - contents: |\n        [Service]\n        ExecStart=/a\n      name: {{.x}}\n", 1},
		{"beside all this", header + "# {{.x}}\nstorage:\n  filez: []\n", 2},
		{"below what is known", header + "storage:\n  filez: []\n  files:\n    - path: /{{.x}}\n      modus: 0644\n", 3},
		{"one key in many actions", header + strings.Repeat("# {{.x}}\n", 1000), 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			document := compile(t, profiles.Ignition, "a.yaml", tt.source)
			data := map[string]any{"list": []any{map[string]any{"a": "b"}}}
			_, err := document.Text(t.Context(), data)
			var report *render.Report
			if !errors.As(err, &report) || len(report.Problems) != tt.want {
				t.Errorf("got %v, want %d problems", err, tt.want)
			}
		})
	}
}

// TestFurtherEndsSoon has twenty actions fail behind loops that take their time.
func TestFurtherEndsSoon(t *testing.T) {
	source := "{{range 300000}}{{end}}"
	for i := range 20 {
		source += fmt.Sprintf("{{.x%d}}", i)
	}
	start := time.Now()
	_, err := compile(t, profiles.Generic, "x", source).Text(t.Context(), map[string]any{})
	if took := time.Since(start); err == nil || took > render.MaxDuration {
		t.Errorf("took %v: %v", took, err)
	}
}
