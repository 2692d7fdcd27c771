package matchdtest_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/matchdtest"
)

const (
	worker   = machine.MAC("52:54:00:00:00:01")
	secure   = machine.MAC("52:54:00:00:00:02")
	stranger = machine.MAC("52:54:00:00:00:99")
)

func files() map[string]string {
	return map[string]string{
		"groups/worker.yaml": "profile: worker\nselector: {mac: 52-54-00-00-00-01}\nmetadata: {name: n1}\n",
		"groups/secure.yaml": "profile: secure\nselector: {mac: 52-54-00-00-00-02}\n",
		"profiles/worker.yaml": "boot:\n  kernel: /assets/vmlinuz\n  initrd: [/assets/initrd.img]\n" +
			"  args: [\"ignition.config.url=${matchd:config-url}\"]\nignition_id: worker.bu\n",
		"profiles/secure.yaml": "boot: {kernel: /assets/vmlinuz}\nloader: shim\n",
		"ignition/worker.bu":   "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      contents: {inline: \"{{.name}}\"}\n",
		"assets/vmlinuz":       "kernel",
		"assets/initrd.img":    "initrd",
	}
}

// loaders is a directory of network boot programs with nothing in them: what matters is which one is fetched.
func loaders(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	matchdtest.WriteFiles(t, dir, map[string]string{
		"undionly.kpxe": "undi", "snponly.efi": "snp", "snponly-arm64.efi": "snp arm64", "shimx64.efi": "shim", "grubx64.efi": "grub",
	})
	return dir
}

func start(t *testing.T, change func(*matchd.Config)) *matchdtest.Daemon {
	t.Helper()
	return matchdtest.Start(t, matchdtest.Options{Files: files(), Config: func(c *matchd.Config) {
		c.LoadersDir = loaders(t)
		c.DHCP.Subnets = []matchd.SubnetConfig{{Subnet: netip.MustParsePrefix("127.0.0.0/8"), Pools: []string{"127.2.0.10-127.2.0.20"}}}
		if change != nil {
			change(c)
		}
	}})
}

func TestEveryFirmwareBoots(t *testing.T) {
	for _, mode := range []dhcp.Mode{dhcp.Proxy, dhcp.Serve} {
		for _, kind := range firmware.Kinds() {
			t.Run(string(mode)+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				d := start(t, nil)
				trace := d.Boots(t, firmware.Machine{Kind: kind, MAC: worker, UUID: "00112233-4455-6677-8899-aabbccddeeff"}, mode)
				if !trace.Booted || !strings.HasSuffix(trace.Kernel, "/assets/vmlinuz") {
					t.Fatalf("did not boot: %s\n%v", trace.Reason, trace.Steps)
				}
				_, url, _ := strings.Cut(trace.Args, "ignition.config.url=")
				url, _, _ = strings.Cut(url, " ")
				status, config := d.Get(t, strings.TrimPrefix(url, d.Boot))
				if status != 200 || !strings.Contains(config, "data:,n1") {
					t.Errorf("%s: %d %s", url, status, config)
				}
				for _, stage := range []event.Stage{event.Seen, event.ScriptSent, event.ConfigSent} {
					d.Await(t, worker.String(), stage)
				}
			})
		}
	}
}

func TestSecureBootByShim(t *testing.T) {
	d := start(t, nil)
	trace := d.Boots(t, firmware.Machine{Kind: firmware.OVMF, MAC: secure}, dhcp.Serve)
	if !trace.Booted || !strings.HasSuffix(trace.Loader, "/shimx64.efi") {
		t.Errorf("%s by %s\n%v", trace.Reason, trace.Loader, trace.Steps)
	}
}

// TestConfigInAnInitrd boots by iPXE over HTTP and by GRUB over TFTP: both find the config where the plan says.
func TestConfigInAnInitrd(t *testing.T) {
	for kind, want := range map[firmware.Kind]string{
		firmware.OVMF:  "/v1/config.img?",
		firmware.AAVMF: "/m/52:54:00:00:00:01/config.img",
	} {
		t.Run(string(kind), func(t *testing.T) {
			site := files()
			site["profiles/worker.yaml"] = strings.Replace(site["profiles/worker.yaml"], "ignition_id:", "config: initrd\nignition_id:", 1)
			d := matchdtest.Start(t, matchdtest.Options{Files: site, Config: func(c *matchd.Config) {
				c.LoadersDir = t.TempDir()
				matchdtest.WriteFiles(t, c.LoadersDir, map[string]string{"snponly.efi": "snp", "grubaa64.efi": "grub"})
				c.Loaders = map[string]string{"arm64-efi": "grub"}
				c.DHCP.Subnets = []matchd.SubnetConfig{{Subnet: netip.MustParsePrefix("127.0.0.0/8"), Pools: []string{"127.2.0.10-127.2.0.20"}}}
			}})
			trace := d.Boots(t, firmware.Machine{Kind: kind, MAC: worker}, dhcp.Serve)
			if !trace.Booted || len(trace.Initrd) != 2 || !strings.Contains(trace.Initrd[1], want) || strings.Contains(trace.Args, "ignition.config.url") {
				t.Fatalf("%s: initrds %v, args %q\n%v", trace.Reason, trace.Initrd, trace.Args, trace.Steps)
			}
			d.Await(t, worker.String(), event.ConfigSent)
		})
	}
}

func TestStrangersGoToTheirDisk(t *testing.T) {
	d := start(t, nil)
	trace := d.Boots(t, firmware.Machine{Kind: firmware.IPXEROM, MAC: stranger}, dhcp.Proxy)
	if !trace.Disk || trace.Kernel != "" {
		t.Errorf("%+v", trace)
	}
	d.Await(t, stranger.String(), event.ToDisk)
	timeline, _ := d.Server.Timeline(stranger.String())
	if !strings.Contains(timeline.Diagnosed.Text, "no group") {
		t.Errorf("diagnosis %q", timeline.Diagnosed.Text)
	}
}

func TestStrangersAreIgnored(t *testing.T) {
	d := start(t, func(c *matchd.Config) { c.Unmatched = "ignore" })
	if trace := d.Boots(t, firmware.Machine{Kind: firmware.OVMF, MAC: stranger}, dhcp.Proxy); trace.Loader != "" {
		t.Errorf("a stranger was given %s", trace.Loader)
	}
	if trace := d.Boots(t, firmware.Machine{Kind: firmware.OVMF, MAC: worker}, dhcp.Proxy); !trace.Booted {
		t.Errorf("a machine with a group was not booted: %s", trace.Reason)
	}
}

func TestSiteFollowsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	matchdtest.WriteFiles(t, dir, files())
	d := matchdtest.Start(t, matchdtest.Options{Dir: dir})
	ignition := "/ignition?mac=" + worker.Hyphens()
	if status, body := d.Get(t, ignition); status != 200 || !strings.Contains(body, "n1") {
		t.Fatalf("%d %s", status, body)
	}

	// A broken edit changes nothing for machines, and says so to operators.
	matchdtest.WriteFiles(t, dir, map[string]string{"groups/worker.yaml": "profil: worker\n"})
	awaitStatus(t, d, "/readyz", 503, "groups/worker.yaml:1:1")
	if status, body := d.Get(t, ignition); status != 200 || !strings.Contains(body, "n1") {
		t.Errorf("while the site is broken: %d %s", status, body)
	}
	if _, body := d.GetAdmin(t, "/v1/health"); !strings.Contains(body, "profil") {
		t.Errorf("health does not tell: %s", body)
	}
	if _, body := d.GetAdmin(t, "/metrics"); !strings.Contains(body, "matchd_site_ok 0") {
		t.Error("the metric does not tell")
	}

	// Mended with another name, the new one is served.
	matchdtest.WriteFiles(t, dir, map[string]string{"groups/worker.yaml": "profile: worker\nselector: {mac: 52-54-00-00-00-01}\nmetadata: {name: n2}\n"})
	awaitStatus(t, d, "/readyz", 200, "")
	if status, body := d.Get(t, ignition); status != 200 || !strings.Contains(body, "n2") {
		t.Errorf("mended: %d %s", status, body)
	}

	// A removed group is gone.
	if err := os.Remove(filepath.Join(dir, "groups/worker.yaml")); err != nil {
		t.Fatal(err)
	}
	for {
		if status, _ := d.Get(t, ignition); status == 404 {
			break
		}
	}
}

// awaitStatus asks the admin listener until it answers with the status and the text.
func awaitStatus(t *testing.T, d *matchdtest.Daemon, path string, status int, text string) {
	t.Helper()
	for t.Context().Err() == nil {
		if got, body := d.GetAdmin(t, path); got == status && strings.Contains(body, text) {
			return
		}
	}
}

func TestLastAcceptedSiteSurvives(t *testing.T) {
	state, dir := t.TempDir(), t.TempDir()
	matchdtest.WriteFiles(t, dir, files())
	keep := func(c *matchd.Config) { c.StateDir = state }
	if err := matchdtest.Start(t, matchdtest.Options{Dir: dir, Config: keep}).Stop(); err != nil {
		t.Fatal(err)
	}
	matchdtest.WriteFiles(t, dir, map[string]string{"profiles/worker.yaml": "boot: [\n"})
	d := matchdtest.Start(t, matchdtest.Options{Dir: dir, Config: keep, Unready: true})
	awaitStatus(t, d, "/readyz", 503, "problems")
	if status, body := d.Get(t, "/ignition?mac="+worker.Hyphens()); status != 200 {
		t.Errorf("the last accepted site is not served: %d %s", status, body)
	}
}

func TestNothingAcceptedIs503(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{Files: map[string]string{"groups/a.yaml": "]"}, Unready: true})
	awaitStatus(t, d, "/readyz", 503, "nothing to serve")
	for _, path := range []string{"/ipxe?mac=" + worker.Hyphens(), "/ignition?mac=" + worker.Hyphens(), "/grub", "/metadata"} {
		if status, body := d.Get(t, path); status != 503 || body == "" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
}
