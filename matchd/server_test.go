package matchd_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/matchdtest"
)

const (
	group  = "profile: p\nselector: {mac: 52-54-00-00-00-01}\n"
	broken = "profile: p\nselektor: {mac: 52-54-00-00-00-01}\n"
	script = "/ipxe?mac=52-54-00-00-00-01"
)

// awaitHealth asks until the daemon serves the revision and says that it is ready, or not.
func awaitHealth(t *testing.T, d *matchdtest.Daemon, revision uint64, ready bool) matchd.Health {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		status, body := d.GetAdmin(t, "/v1/health")
		var h matchd.Health
		if err := json.Unmarshal([]byte(body), &h); err != nil || status != http.StatusOK {
			t.Fatalf("/v1/health is %d %q: %v", status, body, err)
		}
		if h.Revision == revision && h.Ready == ready && ready == (len(h.SiteProblems) == 0) {
			return h
		}
		select {
		case <-ctx.Done():
			t.Fatalf("health is %s, want revision %d, ready %v", body, revision, ready)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestBrokenSite goes through the life of a site directory: broken at the first start, mended, broken again, broken at a restart.
func TestBrokenSite(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	files := map[string]string{"groups/g.yaml": broken, "profiles/p.yaml": "boot: {kernel: /assets/k}\n"}
	matchdtest.WriteFiles(t, dir, files)
	options := matchdtest.Options{Dir: dir, Unready: true, Config: func(c *matchd.Config) { c.StateDir = state }}
	d := matchdtest.Start(t, options)
	if h := awaitHealth(t, d, 0, false); strings.Contains(strings.Join(h.NotReady, "\n"), "last good") {
		t.Errorf("nothing was ever served, and the reasons are %q", h.NotReady)
	}
	if status, body := d.Get(t, script); status != http.StatusServiceUnavailable || body == "" {
		t.Errorf("without a site the script is %d %q, want 503", status, body)
	}

	matchdtest.WriteFiles(t, dir, map[string]string{"groups/g.yaml": group})
	awaitHealth(t, d, 1, true)

	matchdtest.WriteFiles(t, dir, map[string]string{"groups/g.yaml": broken})
	if h := awaitHealth(t, d, 1, false); !strings.Contains(h.SiteProblems[0], "groups/g.yaml:2:1") {
		t.Errorf("a broken edit: %+v", h)
	}
	if status, reasons := d.GetAdmin(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(reasons, "last good state is served") {
		t.Errorf("a broken edit: /readyz is %d %q", status, reasons)
	}
	if _, metrics := d.GetAdmin(t, "/metrics"); !strings.Contains(metrics, "matchd_site_ok 0") || !strings.Contains(metrics, `matchd_build_info{version="test"} 1`) {
		t.Error("the metrics do not tell of a broken site, or of the version")
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}

	d = matchdtest.Start(t, options)
	awaitHealth(t, d, 1, false)
	if status, body := d.Get(t, script); status != http.StatusOK || !strings.Contains(body, "kernel "+d.Boot+"/assets/k") {
		t.Errorf("after a restart with a broken site the script is %d %q", status, body)
	}
}

// matchboxData is a data directory as matchbox's API writes it.
var matchboxData = map[string]string{
	"groups/default.json": "{\n\t\"id\": \"default\",\n\t\"profile\": \"install\"\n}",
	"groups/node1.json": "{\n\t\"id\": \"node1\",\n\t\"name\": \"Node 1\",\n\t\"profile\": \"node\",\n\t\"selector\": {\n\t\t\"mac\": \"52-54-00-A1-9C-AE\"\n\t},\n" +
		"\t\"metadata\": {\n\t\t\"etcd\": {\n\t\t\t\"name\": \"n1\"\n\t\t},\n\t\t\"flag\": true,\n\t\t\"list\": [1],\n\t\t\"number\": 12345678901\n\t}\n}",
	"groups/installed.json": "{\n\t\"id\": \"installed\",\n\t\"profile\": \"installed\",\n\t\"selector\": {\n\t\t\"mac\": \"52:54:00:b2:2f:86\",\n\t\t\"os\": \"installed\"\n\t},\n\t\"metadata\": {}\n}",
	"profiles/install.json": "{\n\t\"id\": \"install\",\n\t\"boot\": {\n\t\t\"kernel\": \"/assets/vmlinuz\"\n\t}\n}",
	"profiles/node.json": "{\n\t\"id\": \"node\",\n\t\"ignition_id\": \"node.yaml.tmpl\",\n\t\"cloud_id\": \"cloud.yaml\",\n\t\"boot\": {\n\t\t\"kernel\": \"/assets/vmlinuz\",\n\t\t\"initrd\": [\n\t\t\t\"--name main /assets/initrd\"\n\t\t],\n" +
		"\t\t\"args\": [\n\t\t\t\"initrd=main\",\n\t\t\t\"coreos.inst.ignition_url=http://matchbox/ignition?uuid=${uuid}\\u0026mac=${mac:hexhyp}\"\n\t\t]\n\t},\n\t\"generic_id\": \"node\"\n}",
	"profiles/installed.json": "{\n\t\"id\": \"installed\",\n\t\"ignition_id\": \"installed.ign\",\n\t\"boot\": {}\n}",
	"ignition/node.yaml.tmpl": "variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n    - path: /etc/name\n      contents:\n        inline: \"{{.etcd.name}} {{.request.query.mac}}\"\n",
	"ignition/installed.ign":  `{"ignition":{"version":"3.3.0"},"systemd":{"units":[{"name":"a.service","enabled":true}]}}`,
	"generic/node":            "{{.mac}} {{.request.raw_query}}\n",
	"cloud/cloud.yaml":        "#cloud-config\nhostname: n1\n",
	"assets/vmlinuz":          "kernel",
	"assets/initrd":           "initrd",
}

// TestMatchboxDirectory serves a matchbox data directory as it is, and leaves it so.
func TestMatchboxDirectory(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{Files: matchboxData})
	const ask, installed = "mac=5254.00a1.9cae", "mac=52:54:00:b2:2f:86&os=installed"
	for _, tc := range []struct {
		path   string
		status int
		want   []string // parts of the body, in order
	}{
		{"/", 200, []string{"matchbox\n"}},
		{"/ipxe?" + ask, 200, []string{"#!ipxe\n", "/assets/vmlinuz initrd=main coreos.inst.ignition_url=http://matchbox/ignition?uuid=${uuid}&mac=${mac:hexhyp} ", "initrd --name main "}},
		{"/ipxe?mac=zz", 200, []string{"/assets/vmlinuz"}},
		{"/grub?" + ask, 200, []string{"linux '/assets/vmlinuz' ", `"${net_default_mac}"`, "initrd '/assets/initrd'"}},
		{"/ignition?" + ask, 200, []string{`"path":"/etc/name"`, "n1%2052%3A54%3A00%3Aa1%3A9c%3Aae"}},
		{"/ignition?" + installed, 200, []string{`"a.service"`}},
		{"/ignition", 404, []string{"404"}},
		{"/ipxe?" + installed, 200, []string{"#!ipxe\n", "\nexit 1\n"}},
		{"/grub?" + installed, 200, []string{"\nexit 1\n"}},
		{"/generic?" + ask + "&mac=second", 200, []string{"52:54:00:a1:9c:ae mac=5254.00a1.9cae&mac=second\n"}},
		{"/generic?" + installed, 404, []string{"404"}},
		{"/cloud?" + ask, 200, []string{"#cloud-config\nhostname: n1\n"}},
		{"/metadata?" + ask + "&a.b=c", 200, []string{
			"ETCD_NAME=n1\nFLAG=true\nMAC=52:54:00:a1:9c:ae\nNUMBER=1.2345678901e+10\nREQUEST_QUERY_A.B=c\nREQUEST_QUERY_MAC=52:54:00:a1:9c:ae\nREQUEST_RAW_QUERY=mac=5254.00a1.9cae&a.b=c\n",
		}},
		{"/assets/vmlinuz", 200, []string{"kernel"}},
		{"/assets/../groups/default.json", 404, []string{"404"}},
		{"/ipxe/", 404, []string{"404 page not found\n"}},
	} {
		status, body := d.Get(t, tc.path)
		rest := body
		for _, part := range tc.want {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s lacks %q:\n%s", tc.path, part, body)
			}
			rest = after
		}
		if status != tc.status {
			t.Errorf("%s is %d %q, want %d", tc.path, status, body, tc.status)
		}
	}
	left := map[string]string{}
	err := filepath.WalkDir(d.Site, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(d.Site, path)
		left[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil || !maps.Equal(left, matchboxData) {
		t.Errorf("the directory changed: %v, %v", left, err)
	}
}

// TestAssetsMayComeLater makes the assets directory and links out of it while the daemon runs; the timeline says why a link gives nothing.
func TestAssetsMayComeLater(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{Files: map[string]string{"groups/g.yaml": group, "profiles/p.yaml": "boot: {kernel: /assets/k}\n"}})
	const kernel, link = "/assets/k?mac=52-54-00-00-00-01", "/assets/link?mac=52-54-00-00-00-01"
	if status, body := d.Get(t, kernel); status != http.StatusNotFound || body == "" {
		t.Errorf("without a directory the kernel is %d %q, want 404", status, body)
	}
	matchdtest.WriteFiles(t, d.Site, map[string]string{"assets/k": "kernel", "outside": "secret"})
	if err := os.Symlink("../outside", filepath.Join(d.Site, "assets/link")); err != nil {
		t.Fatal(err)
	}
	if status, body := d.Get(t, kernel); status != http.StatusOK || body != "kernel" {
		t.Errorf("with a directory the kernel is %d %q, want 200", status, body)
	}
	if status, body := d.Get(t, link); status != http.StatusNotFound || strings.Contains(body, "secret") {
		t.Errorf("a link that leads outside is %d %q, want 404", status, body)
	}
	timeline, _ := d.Server.Timeline("52:54:00:00:00:01")
	if last := timeline.Events[len(timeline.Events)-1]; last.Stage != event.Refused || !strings.Contains(last.Error, "escapes") {
		t.Errorf("the last event is %+v, want refused because the path escapes", last)
	}
}

func loopback(t *testing.T) matchd.Config {
	t.Helper()
	cfg := matchd.DefaultConfig()
	cfg.StateDir = filepath.Join(t.TempDir(), "new", "state")
	cfg.BootHTTP, cfg.Admin, cfg.TFTP, cfg.MachineHTTPS = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DHCP.Interfaces = []matchd.InterfaceConfig{{Name: "lo", Mode: matchd.ModeOff}}
	return cfg
}

// TestNewLeavesNothingOpen fails at every address in turn; the state must be free for the next attempt.
func TestNewLeavesNothingOpen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	options := matchd.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	cfg := loopback(t)
	for key, spoil := range map[string]func(*matchd.Config){
		"boot_http":        func(c *matchd.Config) { c.BootHTTP = listener.Addr().String() },
		"admin":            func(c *matchd.Config) { c.Admin = listener.Addr().String() },
		"tftp":             func(c *matchd.Config) { c.TFTP = conn.LocalAddr().String() },
		"machine_https":    func(c *matchd.Config) { c.MachineHTTPS = listener.Addr().String() },
		"machine_tls_cert": func(c *matchd.Config) { c.MachineTLSCert, c.MachineTLSKey = "/nowhere", "/nowhere" },
		"loaders":          func(c *matchd.Config) { c.Loaders = map[string]string{"x86-bios": "../x"} },
		"pools":            func(c *matchd.Config) { c.DHCP.Subnets = []matchd.SubnetConfig{{Pools: []string{"nowhere"}}} },
	} {
		spoiled := cfg
		spoil(&spoiled)
		if server, err := matchd.New(t.Context(), spoiled, options); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("with a spoiled %s: %v, %v", key, server, err)
		}
	}
	cfg.Admin, cfg.TFTP, cfg.MachineHTTPS = "", "", ""
	server, err := matchd.New(t.Context(), cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	if addrs := server.Addrs(); !addrs.BootHTTP.IsValid() || addrs.Admin.IsValid() || addrs.TFTP.IsValid() || addrs.MachineHTTPS.IsValid() {
		t.Errorf("the addresses are %+v, want boot HTTP alone", addrs)
	}
	if err := server.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestExamine(t *testing.T) {
	cfg := loopback(t)
	cfg.Site = t.TempDir()
	matchdtest.WriteFiles(t, cfg.Site, map[string]string{"groups/g.yaml": broken})
	cfg.Loaders = map[string]string{"x86-bios": "../x"}
	found := map[string]doctor.Severity{}
	for _, finding := range matchd.Examine(t.Context(), cfg, time.Time{}) {
		found[finding.ID] = max(found[finding.ID], finding.Severity)
	}
	for _, id := range []string{"loaders.config", "site.broken", "listener.loopback"} {
		if found[id] != doctor.Error {
			t.Errorf("%s is %v, want an error; found %v", id, found[id], found)
		}
	}
}
