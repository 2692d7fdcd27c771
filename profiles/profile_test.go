package profiles_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/matchd/matchd/profiles"
)

func TestProfileValidate(t *testing.T) {
	fine := profiles.Profile{
		ID:         "fedora-coreos",
		IgnitionID: "worker.yaml.tmpl", GenericID: "preseed", CloudID: "cloud.yaml", Snippets: []string{"ntp.yaml"},
		Boot: profiles.Boot{
			Kernel: "/assets/vmlinuz", Initrd: []string{"--name main http://example.com/initrd"},
			Args: []string{"initrd=main", "coreos.inst.ignition_url=http://10.0.0.1/ignition?uuid=${uuid}&mac=${mac:hexhyp}"},
		},
		IgnitionVersion: "3.4.0", Config: profiles.ConfigURL, OS: profiles.Flatcar, Loader: profiles.LoaderShim,
	}
	with := func(change func(*profiles.Profile)) profiles.Profile {
		p := fine
		change(&p)
		return p
	}
	tests := []struct {
		name    string
		profile profiles.Profile
		want    []string // the start of each expected line
	}{
		{"fine", fine, nil},
		{"only an id", profiles.Profile{ID: "x"}, nil},
		{"nothing", profiles.Profile{}, []string{"id: is empty"}},
		{"references that escape", with(func(p *profiles.Profile) {
			p.IgnitionID, p.GenericID, p.CloudID, p.Snippets = "../a", "a/b", ".hidden", []string{"ok", ""}
		}), []string{"ignition_id: ", "generic_id: ", "cloud_id: ", "snippets[1]: is empty"}},
		{"kernel with a second word", with(func(p *profiles.Profile) { p.Boot.Kernel = "http://a/k\nboot" }), []string{"boot.kernel: "}},
		{"initrd with a second line", with(func(p *profiles.Profile) { p.Boot.Initrd = []string{" ", "a\nboot"} }), []string{"boot.initrd[0]: ", "boot.initrd[1]: "}},
		{"too many initrds", with(func(p *profiles.Profile) {
			p.Boot.Initrd = strings.Split(strings.Repeat("x,", profiles.MaxInitrds)+"x", ",")
		}), []string{"boot.initrd: 65 images"}},
		{"argument with a line break", with(func(p *profiles.Profile) { p.Boot.Args = []string{"quiet", "a\rb", ""} }), []string{"boot.args[1]: ", "boot.args[2]: "}},
		{"long argument", with(func(p *profiles.Profile) { p.Boot.Args = []string{strings.Repeat("a", profiles.MaxArgLength+1)} }), []string{"boot.args[0]: "}},
		{"long command line", with(func(p *profiles.Profile) {
			p.Boot.Args = strings.Split(strings.Repeat(strings.Repeat("a", 4000)+",", 17)+"b", ",")
		}), []string{"boot.args: 68019 bytes"}},
		{"pointer", with(func(p *profiles.Profile) { p.Config = profiles.ConfigPointer }), nil},
		{"too many snippets", with(func(p *profiles.Profile) {
			p.Snippets = strings.Split(strings.Repeat("x,", profiles.MaxSnippets)+"x", ",")
			p.PlatformSnippets = map[string][]string{"aws": p.Snippets}
		}), []string{"snippets: 65 names", "platform_snippets.aws: 65 names"}},
		{"platforms", with(func(p *profiles.Profile) {
			p.PlatformSnippets = map[string][]string{"metal": {"a.bu"}, "gpc": {"b.bu"}, "aws": {"../c"}}
		}), []string{"platform_snippets.aws[0]: ", `platform_snippets.gpc: there is no platform "gpc", but metal, aws, azure, gcp, digitalocean`}},
		{"words outside their list", with(func(p *profiles.Profile) {
			p.IgnitionVersion, p.Config, p.OS, p.Loader = "3.4", "usb", "debian", "lilo"
		}),
			[]string{"ignition_version: ", "config: ", "os: ", "loader: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantLines(t, tt.profile.Validate(), tt.want) })
	}
}

func TestTemplateValidate(t *testing.T) {
	tests := []struct {
		name     string
		template profiles.Template
		want     []string
	}{
		{"fine", profiles.Template{Kind: profiles.Ignition, Name: "a.ign", Content: []byte("{}")}, nil},
		{"nothing", profiles.Template{}, []string{"name: is empty", "kind: "}},
		{"long name", profiles.Template{Kind: profiles.Cloud, Name: strings.Repeat("n", profiles.MaxIDLength+1)}, []string{"name: has 254 bytes"}},
		{"big", profiles.Template{Kind: profiles.Generic, Name: "a", Content: make([]byte, profiles.MaxTemplateSize+1)}, []string{"content: has 262145 bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantLines(t, tt.template.Validate(), tt.want) })
	}
}

func wantLines(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		if want != nil {
			t.Errorf("accepted, want %q", want)
		}
		return
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("got %q, want %d lines: %q", got, len(want), want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d: got %q, want it to start with %q", i, got[i], want[i])
		}
	}
}

func TestComposition(t *testing.T) {
	p := profiles.Profile{Snippets: []string{"a", "b"}, PlatformSnippets: map[string][]string{"metal": {"m"}, "aws": {"w"}}}
	for platform, want := range map[string]string{"": "a b m g", "metal": "a b m g", "aws": "a b w g", "azure": "a b g"} {
		if got := strings.Join(p.Composition(platform, []string{"g"}), " "); got != want {
			t.Errorf("on %q: %s, want %s", platform, got, want)
		}
	}
	if len(p.Snippets) != 2 {
		t.Error("the profile has changed")
	}
}

// TestProfileJSON holds the field names that matchbox's files have.
func TestProfileJSON(t *testing.T) {
	text := `{"id":"a","name":"b","boot":{"kernel":"k","initrd":["i"],"args":["x"]},"ignition_id":"c","generic_id":"d","cloud_id":"e"}`
	var p profiles.Profile
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != text {
		t.Errorf("got  %s\nwant %s", again, text)
	}
}
