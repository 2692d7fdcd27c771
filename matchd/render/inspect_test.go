package render_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

func TestAllowUnhashed(t *testing.T) {
	base := compile(t, profiles.Ignition, "a.yaml", "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /a\n      contents: {source: 'http://10.0.0.1/a'}\n")
	c := render.Composition{Base: base}
	if _, err := c.Config(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "ignition/a.yaml:6:26: storage.files.0.contents.source: what comes over http") {
		t.Errorf("not allowed: %v", err)
	}
	c.AllowUnhashed = true
	if _, err := c.Config(t.Context(), nil); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

func TestSourcesThatNeedNoHash(t *testing.T) {
	hash := "sha256-b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"
	for name, contents := range map[string]string{
		"hashed":       "{source: 'https://example.com/a', verification: {hash: " + hash + "}}",
		"data":         "{source: 'data:,http://example.com'}",
		"inline":       "{inline: 'source: http://example.com'}",
		"object store": "{source: 's3://bucket/a'}",
	} {
		t.Run(name, func(t *testing.T) {
			document := compile(t, profiles.Ignition, "a.yaml", "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /a\n      contents: "+contents+"\n")
			if _, err := (render.Composition{Base: document}).Config(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLostContentsAreAWarning(t *testing.T) {
	document := func(name, file string) *render.Document {
		return compile(t, profiles.Ignition, name, "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - "+file+"\n")
	}
	base := document("base.yaml", "{path: /a, contents: {inline: base}}")
	tests := []struct {
		name, child string
		want        string
	}{
		{"neither overrides", "{path: /a, contents: {inline: child}}", "ignition/child.yaml:5:14: storage.files: /a: these contents replace those of ignition/base.yaml, and neither says overwrite: true"},
		{"the child overrides", "{path: /a, overwrite: true, contents: {inline: child}}", ""},
		{"only a mode", "{path: /a, mode: 0600}", ""},
		{"appended", "{path: /a, append: [{inline: more}]}", ""},
		{"another file", "{path: /b, contents: {inline: child}}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, err := render.Composition{Base: base, Snippets: []*render.Document{document("child.yaml", tt.child)}}.Config(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, w := range config.Warnings {
				w.Source = ""
				got += w.String()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	between := document("mode.yaml", "{path: /a, mode: 0600}")
	last := document("last.yaml", "{path: /a, contents: {inline: last}}")
	config, err := render.Composition{Base: base, Snippets: []*render.Document{between, last}}.Config(t.Context(), nil)
	if err != nil || len(config.Warnings) != 1 {
		t.Errorf("with a document in between that sets the mode: %+v, %v", config, err)
	}
}
