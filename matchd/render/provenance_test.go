package render_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

func TestProvenance(t *testing.T) {
	document := func(name, version, body string) *render.Document {
		return compile(t, profiles.Ignition, name, "variant: fcos\nversion: "+version+"\n"+body)
	}
	c := render.Composition{
		Base: document("base", "1.4.0", `
storage:
  files: [{path: /a, contents: {inline: a}}, {path: /b}, {path: /gone}]
passwd:
  users: [{name: core, ssh_authorized_keys: [ssh-ed25519 AAAA]}]
kernel_arguments: {should_exist: [quiet]}
`),
		Snippets: []*render.Document{
			document("second", "1.5.0", "storage:\n  files: [{path: /c}, {path: /a, mode: 0600}]\n  directories: [{path: /gone}]\n"),
			document("third", "1.5.0", "systemd:\n  units: [{name: a.service, mask: true}]\npasswd:\n  users: [{name: core, ssh_authorized_keys: [ssh-ed25519 BBBB]}]\n"),
			document("fourth", "1.5.0", "storage:\n  files: [{path: /a, user: {name: root}}, {path: /c, mode: 0600}]\n"),
		},
	}
	sources, err := c.Provenance(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range sources {
		fmt.Fprintln(&got, s.Kind, s.Name, strings.ReplaceAll(strings.Join(s.Documents, " "), "ignition/", ""))
	}
	want := `user core base third
directory /gone second
file /a base second fourth
file /b base
file /c second fourth
unit a.service third
kernel argument quiet base
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	c.Version = "3.0.0"
	if _, err := c.Provenance(t.Context(), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a version that is too low: %v", err)
	}
}
