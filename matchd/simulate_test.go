package matchd_test

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// playedSite is a site with a machine for each way that a boot can end.
func playedSite() map[string]string {
	files := map[string]string{
		"profiles/runs.yaml":    "boot:\n  kernel: /assets/vmlinuz\n  initrd: [/assets/initrd.img]\n  args: [\"ignition.config.url=${matchd:config-url}\"]\nignition_id: runs.bu\n",
		"profiles/inside.yaml":  "boot: {kernel: /assets/vmlinuz}\nconfig: initrd\nignition_id: runs.bu\n",
		"profiles/pointer.yaml": "boot: {kernel: /assets/vmlinuz, args: [\"ignition.config.url=${matchd:config-url}\"]}\nconfig: pointer\nignition_id: runs.bu\n",
		"profiles/missing.yaml": "boot: {kernel: /assets/nothing}\n",
		"profiles/remote.yaml":  "boot: {kernel: \"http://198.51.100.7/vmlinuz\"}\n",
		"profiles/disk.yaml":    "name: installed\n",
		"profiles/shim.yaml":    "boot: {kernel: /assets/vmlinuz}\nloader: shim\n",
		"profiles/refused.yaml": "boot: {kernel: /assets/vmlinuz, args: [\"ignition.config.url=${matchd:config-url}\"]}\nignition_id: refused.bu\n",
		"ignition/runs.bu":      "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      contents: {inline: n1}\n",
		"ignition/refused.bu": "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n" +
			"    - path: '{{if eq (index .request.query \"product\") \"odd\"}}relative{{else}}/etc/a{{end}}'\n",
		"assets/vmlinuz": "kernel", "assets/initrd.img": "initrd",
	}
	for i, name := range []string{"runs", "inside", "pointer", "missing", "remote", "disk", "shim", "refused", "lost"} {
		profile := name
		if name == "lost" {
			profile = "runs"
		}
		files["groups/"+name+".yaml"] = fmt.Sprintf("profile: %s\nselector: {mac: 52-54-00-00-00-%02d}\n", profile, i+1)
	}
	return files
}

func startPlayed(t *testing.T, change func(*matchd.Config)) *matchdtest.Daemon {
	t.Helper()
	loaders := t.TempDir()
	matchdtest.WriteFiles(t, loaders, map[string]string{
		"undionly.kpxe": "undi", "snponly.efi": "snp", "snponly-arm64.efi": "snp arm64", "shimx64.efi": "shim", "grubx64.efi": "grub",
		"shimaa64.efi": "shim", "grubaa64.efi": "grub",
	})
	return matchdtest.Start(t, matchdtest.Options{Files: playedSite(), API: true, Config: func(c *matchd.Config) {
		c.LoadersDir = loaders
		c.DHCP.Subnets = []matchd.SubnetConfig{{Subnet: netip.MustParsePrefix("127.0.0.0/8"), Pools: []string{"127.2.0.10-127.2.0.20"}}}
		c.Machines = []matchd.MachineConfig{{MAC: "52:54:00:00:00:09", Loader: "lost.efi"}}
		if change != nil {
			change(c)
		}
	}})
}

// traces is everything that a boot could leave behind.
func traces(t *testing.T, d *matchdtest.Daemon) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{"/v1/store/config/backup", "/v1/store/leases/backup", "/v1/store/events/backup", "/v1/machines"} {
		status, body := d.GetAdmin(t, path)
		fmt.Fprintf(&all, "%s: %d, %d bytes, %x\n", path, status, len(body), sha256.Sum256([]byte(body)))
	}
	fmt.Fprintf(&all, "%d leases, %d machines\n", d.Server.Leases(), d.Server.Tracked())
	return all.String()
}

// TestPlayedBoots plays every kind of firmware against every end, as a proxy and as the server.
func TestPlayedBoots(t *testing.T) {
	tests := []struct {
		mac   string
		boots bool
		want  string   // in the outcome
		steps []string // somewhere on the way; empty: none in particular
		not   string   // kinds that it does not happen to
	}{
		{"52:54:00:00:00:01", true, `/assets/vmlinuz: group "runs", profile "runs"`, []string{"has the config http://", "has the initrd http"}, ""},
		{"52:54:00:00:00:02", true, `/assets/vmlinuz: group "inside"`, []string{"has its config in the initrd config.img"}, ""},
		{"52:54:00:00:00:03", true, `/assets/vmlinuz: group "pointer"`, []string{"pointer-sent", "has the config https://"}, ""},
		{"52:54:00:00:00:04", false, "could not load the kernel http", nil, ""},
		{"52:54:00:00:00:05", true, "would boot http://198.51.100.7/vmlinuz", []string{"takes the kernel http://198.51.100.7/vmlinuz to be there"}, ""},
		{"52:54:00:00:00:06", true, "would boot from its disk: group \"disk\"", nil, ""},
		{"52:54:00:00:00:07", true, `/assets/vmlinuz: group "shim"`, nil, "bios ovmf-http"},
		{"52:54:00:00:00:08", false, "refused.bu", []string{"config-refused"}, ""},
		{"52:54:00:00:00:09", false, "lost.efi", nil, "ipxe-rom"},
		{"52:54:00:00:00:99", false, "would go to its disk: no group matches", []string{"to-disk"}, ""},
	}
	d := startPlayed(t, nil)
	before := traces(t, d)
	for _, mode := range []dhcp.Mode{dhcp.Proxy, dhcp.Serve} {
		link := &dhcp.Link{Name: "test0", Index: 1, MTU: 1500, Mode: mode, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
		for _, kind := range []firmware.Kind{firmware.BIOS, firmware.OVMF, firmware.OVMFHTTP, firmware.IPXEROM, firmware.AAVMF} {
			for _, tt := range tests {
				if slices.Contains(strings.Fields(tt.not), string(kind)) {
					continue
				}
				m := firmware.Machine{Kind: kind, MAC: machine.MAC(tt.mac), UUID: "00112233-4455-6677-8899-aabbccddeeff", Labels: map[string]string{"product": "odd"}}
				var steps strings.Builder
				outcome := d.Server.PlayAt(t.Context(), link, netip.Addr{}, m, func(s firmware.Step) { fmt.Fprintf(&steps, "%s: %s (%d)\n", s.Actor, s.Text, s.Bytes) })
				if outcome.WouldBoot != tt.boots || !strings.Contains(outcome.Text, tt.want) {
					t.Errorf("%s, %s, %s: %+v, want %v %s\n%s", mode, kind, tt.mac, outcome, tt.boots, tt.want, steps.String())
				}
				for _, step := range tt.steps {
					if !strings.Contains(steps.String(), step) {
						t.Errorf("%s, %s, %s: no step %q in\n%s", mode, kind, tt.mac, step, steps.String())
					}
				}
			}
		}
	}
	if after := traces(t, d); after != before {
		t.Errorf("playing left something behind:\n%s\nbefore it was\n%s", after, before)
	}
}

func TestPlayedPolicies(t *testing.T) {
	link := &dhcp.Link{Name: "test0", Index: 1, MTU: 1500, Mode: dhcp.Serve, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	for policy, want := range map[string]string{"hold": "no group matches", "ignore": "unmatched machines are ignored"} {
		d := startPlayed(t, func(c *matchd.Config) { c.Unmatched = boot.Unmatched(policy) })
		for _, kind := range []firmware.Kind{firmware.BIOS, firmware.OVMF, firmware.IPXEROM} {
			outcome := d.Server.PlayAt(t.Context(), link, netip.Addr{}, firmware.Machine{Kind: kind, MAC: machine.MAC("52:54:00:00:00:99")}, func(firmware.Step) {})
			if outcome.WouldBoot || !strings.Contains(outcome.Text, want) {
				t.Errorf("%s, %s: %+v, want %s", policy, kind, outcome, want)
			}
		}
	}
}

// TestPlayedBehindARelay: the machine's packets come by the relay that its real ones came by.
func TestPlayedBehindARelay(t *testing.T) {
	d := startPlayed(t, func(c *matchd.Config) {
		c.DHCP.Subnets = append(c.DHCP.Subnets, matchd.SubnetConfig{Subnet: netip.MustParsePrefix("10.9.0.0/24"), Pools: []string{"10.9.0.10-10.9.0.20"}})
	})
	link := &dhcp.Link{Name: "test0", Index: 1, MTU: 1500, Mode: dhcp.Serve, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	var steps strings.Builder
	outcome := d.Server.PlayAt(t.Context(), link, netip.MustParseAddr("10.9.0.1"), firmware.Machine{Kind: firmware.OVMF, MAC: machine.MAC("52:54:00:00:00:01")},
		func(s firmware.Step) { fmt.Fprintf(&steps, "%s: %s\n", s.Actor, s.Text) })
	if !outcome.WouldBoot || !strings.Contains(steps.String(), "address 10.9.0.10,") || !strings.Contains(steps.String(), "to 10.9.0.1:67") {
		t.Errorf("%+v\n%s", outcome, steps.String())
	}
}

// sockets counts the sockets of this process.
func sockets(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			count++
		}
	}
	return count
}

// TestPlayingOpensNoSocket counts at each step.
func TestPlayingOpensNoSocket(t *testing.T) {
	d := startPlayed(t, nil)
	link := &dhcp.Link{Name: "test0", Index: 1, MTU: 1500, Mode: dhcp.Proxy, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	before := sockets(t)
	steps := 0
	d.Server.PlayAt(t.Context(), link, netip.Addr{}, firmware.Machine{Kind: firmware.OVMF, MAC: machine.MAC("52:54:00:00:00:03")}, func(s firmware.Step) {
		steps++
		if now := sockets(t); now > before {
			t.Errorf("%d sockets were open, now there are %d: %s", before, now, s.Text)
		}
	})
	if steps < 10 {
		t.Errorf("%d steps only", steps)
	}
}

// TestSimulate goes through the API: without DHCP of its own, the server plays as if somebody else's named its boot files.
func TestSimulate(t *testing.T) {
	d := startPlayed(t, nil)
	files := d.NewClient(t, auth.Identity{Name: "viewer", Role: auth.Viewer})
	c, err := client.Dial(client.Options{Endpoint: d.RPC, CA: files.CA, Cert: files.Cert, Key: files.Key, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := traces(t, d)
	for _, kind := range []string{"", "bios", "ovmf", "ovmf-http", "ipxe", "arm64"} {
		stream, err := c.Boot.Simulate(t.Context(), &matchdpb.SimulateRequest{Mac: "52-54-00-00-00-01", Firmware: kind, Facts: map[string]string{"serial": "s 1"}})
		if err != nil {
			t.Fatal(err)
		}
		var outcome *matchdpb.SimulateOutcome
		contents := map[string]bool{}
		assumed := false
		for outcome == nil {
			got, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if content := got.GetStep().GetContent(); content != "" {
				contents[got.GetStep().GetActor()] = true
			}
			assumed = assumed || strings.Contains(got.GetStep().GetMessage(), "answers no DHCP here")
			outcome = got.GetOutcome()
		}
		if !outcome.GetWouldBoot() || !contents["iPXE"] || !contents["Ignition"] || !assumed {
			t.Errorf("%q: %v, contents of %v, assumed %v", kind, outcome, contents, assumed)
		}
	}
	if after := traces(t, d); after != before {
		t.Errorf("playing left something behind:\n%s\nbefore it was\n%s", after, before)
	}
}
