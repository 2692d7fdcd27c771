package render_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// TestValidityIsNotGuessed asks for configs one after the other whose documents are valid, but not always together: what was found valid for one
// machine says nothing of another whose config differs in more than what is in its files.
func TestValidityIsNotGuessed(t *testing.T) {
	tests := []struct {
		name, base, snippet string
		asks                [][2]string // value of the label, what is wrong
	}{
		{
			"a unit that is enabled by one document and written by the other",
			"systemd: {units: [{name: a.service, enabled: true}]}\n",
			"systemd: {units: [{name: a.service, contents: \"[Service]\\nExecStart=/a\\n{{.request.query.v}}\"}]}\n",
			[][2]string{{`[Install]\nWantedBy=a.target\n`, ""}, {"Restart=no", "no install section"}, {`[Install]\nWantedBy=b.target\n`, ""}},
		},
		{
			"headers that one document sets for the source of the other",
			"storage: {files: [{path: /a, contents: {source: \"https://example.com\", http_headers: [{name: a, value: b}]}}]}\n",
			"storage: {files: [{path: /a, overwrite: true, contents: {source: \"{{.request.query.v}}\"}}]}\n",
			[][2]string{{"https://example.org", ""}, {"data:,x", "http_headers"}, {"http://example.org", ""}},
		},
		{
			"a path that becomes a file's and a directory's",
			"storage: {files: [{path: /a, contents: {inline: x}}]}\n",
			"storage: {files: [{path: \"{{.request.query.v}}\", contents: {inline: y}}]}\n",
			[][2]string{{"/b", ""}, {"/a/b", "lies below /a"}, {"/c", ""}},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			const header = "variant: fcos\nversion: 1.5.0\n"
			composition := render.Composition{
				Base: compile(t, profiles.Ignition, "base.bu", header+tc.base), Snippets: []*render.Document{compile(t, profiles.Ignition, "snippet.bu", header+tc.snippet)}, AllowUnhashed: true,
			}
			for round := range 2 {
				for _, ask := range tc.asks {
					data := render.Input{Group: &groups.Group{ID: "g"}, Labels: groups.Labels{"v": ask[0]}}.Data()
					_, err := composition.Config(t.Context(), data)
					switch {
					case ask[1] == "" && err != nil, ask[1] != "" && err == nil:
						t.Errorf("round %d, %q: %v, want %q", round, ask[0], err, ask[1])
					case ask[1] != "" && !strings.Contains(strings.ReplaceAll(err.Error(), "httpHeaders", "http_headers"), ask[1]):
						t.Errorf("round %d, %q: %v, want %q", round, ask[0], err, ask[1])
					}
				}
			}
		})
	}
}

// TestShapeIsSharedByContents has many machines whose files hold something else each: each gets its own.
func TestShapeIsSharedByContents(t *testing.T) {
	composition := render.Composition{
		Base:     compile(t, profiles.Ignition, "base.bu", "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/motd, contents: {inline: hello}}]}\n"),
		Snippets: []*render.Document{compile(t, profiles.Ignition, "name.bu", "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/hostname, contents: {inline: \"{{.request.query.v}}\"}}]}\n")},
	}
	for _, name := range []string{"a", "b", strings.Repeat("long", 100), "c"} {
		config, err := composition.Config(t.Context(), render.Input{Group: &groups.Group{ID: "g"}, Labels: groups.Labels{"v": name}}.Data())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(config.JSON), `"source":"data:,hello"`) || len(name) == 1 && !strings.Contains(string(config.JSON), `"source":"data:,`+name+`"`) {
			t.Errorf("%s got %s", name, config.JSON)
		}
	}
}
