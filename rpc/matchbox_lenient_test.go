package rpc_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/matchdtest"
)

// sloppy are documents that matchbox has served: what only matchd objects to.
var sloppy = map[string]string{
	"keys.yaml":   "variant: fcos\nversion: 1.5.0\nstorrage: {}\npasswd:\n  users:\n    - name: core\n      shel: x\n",
	"keys.ign":    `{"ignition":{"version":"3.3.0"},"storrage":{},"passwd":{"users":[{"name":"core"}]}}`,
	"source.yaml": "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: /opt/x\n      contents:\n        source: https://example.com/core\n",
	"braces.ign":  `{"ignition":{"version":"3.0.0"},"systemd":{"units":[{"name":"core.service","contents":"[Service]\nExecStart=/bin/docker ps --format {{.ID}}\n"}]}}`,
	"unit.yaml":   "variant: fcos\nversion: 1.4.0\nsystemd:\n  units:\n    - name: core.service\n      contents: |\n        [Service]\n        Typ=oneshot\n",
}

// TestMatchboxSloppy: what matchbox served goes on being served, from files and by the API. Without --matchbox it is refused, which tells whoever puts it.
func TestMatchboxSloppy(t *testing.T) {
	files := map[string]string{}
	for name, text := range sloppy {
		files["ignition/"+name] = text
		files["profiles/"+name+".json"] = `{"id":"` + name + `","ignition_id":"` + name + `"}`
		files["groups/"+name+".json"] = `{"id":"` + name + `","profile":"` + name + `","selector":{"doc":"` + name + `"}}`
	}
	d := matchboxDaemon(t, files)
	w := dialWire(t, d.RPC, d.ClientTLS(t, auth.Operator))
	strict := matchdtest.Start(t, matchdtest.Options{API: true, Unready: true, Config: storeOnly})
	s := dialWire(t, strict.RPC, strict.ClientTLS(t, auth.Operator))
	for name, text := range sloppy {
		status, config := d.Get(t, "/ignition?doc="+name)
		if status != http.StatusOK || !strings.Contains(config, "core") || strings.Contains(config, "storrage") {
			_, health := d.GetAdmin(t, "/v1/machines")
			t.Errorf("%s: %d %s\n%s", name, status, config, health)
		}
		w.ok("/rpcpb.Ignition/IgnitionPut", field(1, name), field(2, text+"\n"))
		if status, again := d.Get(t, "/ignition?doc="+name); status != http.StatusOK || again != config {
			t.Errorf("%s, put again: %d %s", name, status, again)
		}
		if name == "keys.yaml" || name == "keys.ign" {
			s.fails("/rpcpb.Ignition/IgnitionPut", field(1, name), field(2, text))
		}
	}
}
