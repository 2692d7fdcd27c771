package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/profiles"
)

const socketHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"

// udpLine is a row of /proc/net/udp for a little-endian host, which every machine that runs these tests is.
func udpLine(addr string, inode int) string {
	return fmt.Sprintf("  101: %s 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 %d 2 0000000000000000 0\n", addr, inode)
}

func tcpLine(addr, state string, inode int) string {
	return fmt.Sprintf("   1: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 100 0 0 10 0\n", addr, state, inode)
}

// host is a healthy system whose parts a test replaces.
func host(files fstest.MapFS) *doctor.System {
	root := fstest.MapFS{
		"proc/self/net/udp": {Data: []byte(socketHeader)},
		"proc/self/status":  {Data: []byte("Name:\tmatchd\nCapEff:\t0000000000002400\n")},
	}
	for name, file := range files {
		root[name] = file
	}
	return &doctor.System{
		Files: root,
		PID:   1,
		Interfaces: func() ([]doctor.NIC, error) {
			return []doctor.NIC{
				{Name: "lo", Up: true, Running: true, Loopback: true, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
				{Name: "eth0", Up: true, Running: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}},
				{Name: "eth1", Up: false},
				{Name: "eth2", Up: true},
				{Name: "eth3", Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.3.0.2/24")}},
			}, nil
		},
		Command: func(context.Context, string, ...string) ([]byte, error) { return nil, exec.ErrNotFound },
		Clock:   func() (doctor.Clock, error) { return doctor.Clock{Now: built.Add(time.Hour), Synchronised: true}, nil },
		Space:   func(string) (uint64, error) { return 20 << 30, nil },
		Probe:   func(string) error { return nil },
	}
}

var built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run returns the findings as "severity id subject: what" and, for those with a next step, " → next".
func run(t *testing.T, opts doctor.Options) []string {
	t.Helper()
	opts.BuildTime = built
	if opts.System == nil {
		opts.System = host(nil)
	}
	var lines []string
	for _, f := range doctor.Run(t.Context(), opts) {
		line := fmt.Sprintf("%s %s %s: %s", f.Severity, f.ID, f.Subject, f.What)
		if f.Next != "" {
			line += " → " + f.Next
		}
		lines = append(lines, line)
	}
	return lines
}

// wantLine fails unless a line starts with want.
func wantLine(t *testing.T, lines []string, want string) {
	t.Helper()
	for _, line := range lines {
		if strings.HasPrefix(line, want) {
			return
		}
	}
	t.Errorf("no finding starts with %q; got\n  %s", want, strings.Join(lines, "\n  "))
}

func listener(name, network, addr string, machines, perInterface bool) doctor.Listener {
	return doctor.Listener{Name: name, Network: network, Addr: netip.MustParseAddrPort(addr), Machines: machines, PerInterface: perInterface}
}

func TestPorts(t *testing.T) {
	taken := host(fstest.MapFS{
		"proc/self/net/udp": {Data: []byte(socketHeader + udpLine("00000000:0043", 111) + udpLine("0100007F:0045", 112) + udpLine("00000000:0FAB", 117))},
		"proc/self/net/tcp": {Data: []byte(socketHeader + tcpLine("0200000A:1F90", "0A", 113) + tcpLine("0200000A:1F91", "01", 114))},
		"proc/self/net/tcp6": {Data: []byte(socketHeader +
			strings.Replace(tcpLine("00000000000000000000000000000000:1F92", "0A", 115), "00000000:0000", "00000000000000000000000000000000:0000", 1))},
		"proc/700/comm":  {Data: []byte("dnsmasq\n")},
		"proc/700/fd/4":  {Data: []byte("socket:[111]"), Mode: fs.ModeSymlink},
		"proc/701/comm":  {Data: []byte("nginx\n")},
		"proc/701/fd/10": {Data: []byte("socket:[113]"), Mode: fs.ModeSymlink},
		"proc/702/comm":  {Data: []byte("matchd\n")},
		"proc/702/fd/7":  {Data: []byte("socket:[115]"), Mode: fs.ModeSymlink},
		"proc/1/comm":    {Data: []byte("matchd\n")},
		"proc/1/fd/7":    {Data: []byte("socket:[117]"), Mode: fs.ModeSymlink},
		"proc/net":       {Data: []byte("self/net"), Mode: fs.ModeSymlink},
	})
	tests := []struct {
		name     string
		listener doctor.Listener
		want     string
	}{
		{"udp by a neighbour", listener("dhcp", "udp", "0.0.0.0:67", true, false), "error port.taken udp 0.0.0.0:67: dnsmasq (process 700) has 0.0.0.0:67, which dhcp needs → stop dnsmasq, or move dhcp"},
		{"udp per interface", listener("dhcp", "udp", "0.0.0.0:67", true, true), "warn port.taken udp 0.0.0.0:67: dnsmasq (process 700)"},
		{"owner unknown", listener("tftp", "udp", "0.0.0.0:69", true, false), "error port.taken udp 0.0.0.0:69: another program has 127.0.0.1:69, which tftp needs → find it with `ss -lnp sport = :69`"},
		{"other address", listener("tftp", "udp", "10.0.0.2:69", true, false), "ok port.free udp 10.0.0.2:69: is free for tftp"},
		{"tcp", listener("boot_http", "tcp", "[::]:8080", true, false), "error port.taken tcp [::]:8080: nginx (process 701) has 10.0.0.2:8080"},
		{"tcp connection only", listener("boot_http", "tcp", "0.0.0.0:8081", true, false), "ok port.free"},
		{"a daemon of ours", listener("admin", "tcp", "127.0.0.1:8082", false, false), "info port.taken tcp 127.0.0.1:8082: a running matchd (process 702) has it"},
		{"this process", listener("dhcp", "udp", "0.0.0.0:4011", true, false), "ok port.free udp 0.0.0.0:4011: is ours"},
		{"any port", listener("admin", "tcp", "127.0.0.1:0", false, false), "ok port.free"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantLine(t, run(t, doctor.Options{System: taken, Listeners: []doctor.Listener{tt.listener}}), tt.want)
		})
	}
}

func TestPortsCannotTell(t *testing.T) {
	sys := host(nil)
	sys.Files = fstest.MapFS{}
	lines := run(t, doctor.Options{System: sys, Listeners: []doctor.Listener{listener("tftp", "udp", "0.0.0.0:69", true, false)}})
	wantLine(t, lines, "info port.taken ports: cannot tell")
	wantLine(t, lines, "info capability.unknown")

	sys.Files = fstest.MapFS{"proc/self/net/udp": {Data: []byte(socketHeader + udpLine("zz:0043", 1))}}
	lines = run(t, doctor.Options{System: sys, Listeners: []doctor.Listener{listener("tftp", "udp", "0.0.0.0:69", true, false)}})
	wantLine(t, lines, `info port.taken ports: cannot tell which ports are taken: reading /proc/self/net/udp: "zz:0043" is no socket address`)
}

func TestReach(t *testing.T) {
	tests := []struct {
		name string
		opts doctor.Options
		want string
	}{
		{"loopback for machines", doctor.Options{Listeners: []doctor.Listener{listener("boot_http", "tcp", "127.0.0.1:8080", true, false)}},
			`error listener.loopback boot_http: listens on 127.0.0.1:8080, which no machine can reach → set it to ":8080"`},
		{"advertised loopback", doctor.Options{Advertise: netip.MustParseAddr("127.0.0.1")}, "error advertise.address"},
		{"advertised of ours", doctor.Options{Advertise: netip.MustParseAddr("10.0.0.2")}, "ok advertise.address"},
		{"advertised elsewhere", doctor.Options{Advertise: netip.MustParseAddr("192.0.2.1")}, "info advertise.address advertise: machines are told 192.0.2.1, which is no address of this host"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantLine(t, run(t, tt.opts), tt.want) })
	}
}

func TestInterfaces(t *testing.T) {
	subnets := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	tests := []struct {
		name  string
		iface doctor.Interface
		want  string
	}{
		{"missing", doctor.Interface{Name: "eth9", Mode: doctor.Proxy}, "error interface.missing eth9: there is no such interface → create it, or correct dhcp.interfaces; this host has eth0, eth1, eth2, eth3"},
		{"down", doctor.Interface{Name: "eth1", Mode: doctor.Proxy}, "error interface.down eth1: is switched off → ip link set eth1 up"},
		{"no address", doctor.Interface{Name: "eth2", Mode: doctor.Proxy}, "error interface.address eth2"},
		{"no carrier", doctor.Interface{Name: "eth3", Mode: doctor.Proxy}, "warn interface.carrier eth3: has no carrier"},
		{"server without its subnet", doctor.Interface{Name: "eth3", Mode: doctor.Server}, "warn interface.subnet eth3: none of its addresses lies in a configured subnet"},
		{"server", doctor.Interface{Name: "eth0", Mode: doctor.Server}, "ok interface.ready eth0: is up with 10.0.0.2/24, mode server"},
		{"off everywhere", doctor.Interface{Name: "eth9", Mode: doctor.Off}, "warn interface.none dhcp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantLine(t, run(t, doctor.Options{Interfaces: []doctor.Interface{tt.iface}, Subnets: subnets}), tt.want)
		})
	}
	sys := host(nil)
	sys.Interfaces = func() ([]doctor.NIC, error) { return nil, errors.New("no netlink") }
	wantLine(t, run(t, doctor.Options{System: sys, Interfaces: []doctor.Interface{{Name: "eth0", Mode: doctor.Proxy}}}), "info interface.unknown interfaces: cannot tell: no netlink")
}

func TestOtherServers(t *testing.T) {
	found := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	tests := []struct {
		name    string
		mode    doctor.Mode
		servers []netip.Addr
		err     error
		want    string
	}{
		{"two servers", doctor.Server, found, nil, "error dhcp.other eth0: another DHCP server gives addresses here: 10.0.0.1 → switch it off"},
		{"one server", doctor.Server, nil, nil, "ok dhcp.other eth0: no other"},
		{"proxy beside one", doctor.Proxy, found, nil, "ok dhcp.other eth0: 10.0.0.1 gives addresses, we add the boot offer"},
		{"proxy alone", doctor.Proxy, nil, nil, "warn dhcp.other eth0: no DHCP server answers, and mode proxy gives no addresses"},
		{"cannot tell", doctor.Proxy, nil, errors.New("not permitted"), "info dhcp.other eth0: cannot tell whether another DHCP server answers: not permitted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := doctor.Options{
				Interfaces:  []doctor.Interface{{Name: "eth0", Mode: tt.mode}},
				FindServers: func(context.Context, string) ([]netip.Addr, error) { return tt.servers, tt.err },
			}
			wantLine(t, run(t, opts), tt.want)
		})
	}
}

// TestTimeout shows that a run ends when its time is up, and that silence on two interfaces costs one wait.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		lines := run(t, doctor.Options{
			Interfaces: []doctor.Interface{{Name: "eth0", Mode: doctor.Proxy}, {Name: "eth3", Mode: doctor.Proxy}},
			FindServers: func(ctx context.Context, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			Timeout: 3 * time.Second,
		})
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the run took %v, want its timeout", took)
		}
		wantLine(t, lines, "info dhcp.other eth3: cannot tell whether another DHCP server answers: context deadline exceeded")
	})
}

func TestLoaders(t *testing.T) {
	lines := run(t, doctor.Options{Loaders: []doctor.Loaders{{Arch: "x86-bios", Names: []string{"undionly.kpxe", "ipxe.pxe"}}, {Arch: "arm64-efi"}}})
	wantLine(t, lines, "ok loader.found network boot programs: x86-bios undionly.kpxe")
	wantLine(t, lines, "warn loader.missing arm64-efi: there is no network boot program, such machines are refused → build with `make build`")
	wantLine(t, run(t, doctor.Options{Loaders: []doctor.Loaders{{Arch: "x86-bios"}}}), "error loader.none")
}

func TestSite(t *testing.T) {
	assets := fstest.MapFS{"vmlinuz": {}, "initrd.img": {}}
	boot := profiles.Boot{Kernel: "/assets/vmlinuz", Initrd: []string{"--name main /assets/initrd.img"}}
	tests := []struct {
		name string
		site doctor.Site
		want string
	}{
		{"broken", doctor.Site{Dir: "/srv/site", Err: errors.New("groups/a.yaml:3:1: unknown field")}, "error site.broken site /srv/site: groups/a.yaml:3:1: unknown field → correct it; `matchd validate /srv/site`"},
		{"empty", doctor.Site{Dir: "/srv/site"}, "warn site.empty"},
		{"default", doctor.Site{Groups: []groups.Group{{ID: "all", Profile: "p"}}, Profiles: []profiles.Profile{{ID: "p", Boot: boot}}, Assets: assets}, "ok site.default site: group all takes every machine"},
		{"no default", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p", Selector: groups.Selector{"mac": "52:54:00:00:00:01"}}}, Profiles: []profiles.Profile{{ID: "p", Boot: boot}}, Assets: assets, Unmatched: "hold"},
			"info site.default site: no group matches every machine: those that no selector names wait"},
		{"no profile", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "gone"}}}, "error site.profile site: group a wants profile gone"},
		{"no kernel", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}, Profiles: []profiles.Profile{{ID: "p"}}}, "info site.kernel site: group a: profile p has no kernel, its machines are sent to their disk → set boot.kernel"},
		{"missing kernel", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}, Profiles: []profiles.Profile{{ID: "p", Boot: profiles.Boot{Kernel: "/assets/gone"}}}, Assets: assets},
			"error site.asset site: profile p boots /assets/gone, which is not there → download it"},
		{"missing initrd", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}, Profiles: []profiles.Profile{{ID: "p", Boot: profiles.Boot{Kernel: "/assets/vmlinuz", Initrd: []string{"--name main /assets/gone"}}}}, Assets: assets},
			"error site.asset site: profile p boots /assets/gone"},
		{"no assets directory", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}, Profiles: []profiles.Profile{{ID: "p", Boot: boot}}}, "error site.asset site: profile p boots /assets/vmlinuz"},
		{"problem", doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}, Problems: []string{"group b: selector: bad"}}, "warn site.problem site: group b: selector: bad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantLine(t, run(t, doctor.Options{Site: &tt.site}), tt.want) })
	}
}

// TestSiteIsContent lists what must not be complained about.
func TestSiteIsContent(t *testing.T) {
	lines := run(t, doctor.Options{Site: &doctor.Site{
		Groups: []groups.Group{
			{ID: "installed", Profile: "node", Selector: groups.Selector{"os": "installed"}},
			{ID: "all", Profile: "remote"},
		},
		Profiles: []profiles.Profile{
			{ID: "node"}, // only fetched by an installed system
			{ID: "remote", Boot: profiles.Boot{
				Kernel: "https://example.com/assets/vmlinuz",
				Initrd: []string{"/assets/${buildarch}/initrd.img"},
				Args:   []string{"root=/dev/sda", "coreos.live.rootfs_url=http://10.0.0.2:8080/assets/elsewhere.img"},
			}},
		},
	}})
	for _, line := range lines {
		if strings.HasPrefix(line, "warn") || strings.HasPrefix(line, "error") {
			t.Errorf("complains: %s", line)
		}
	}
}

func TestManyProblemsAreCapped(t *testing.T) {
	site := doctor.Site{Groups: []groups.Group{{ID: "a", Profile: "p"}}}
	for i := range 100 {
		site.Problems = append(site.Problems, fmt.Sprintf("problem %d", i))
	}
	lines := run(t, doctor.Options{Site: &site})
	wantLine(t, lines, "warn site.problem site: and 80 more of this kind")
	if len(lines) > 40 {
		t.Errorf("%d findings, want them capped", len(lines))
	}
}

func TestClock(t *testing.T) {
	tests := []struct {
		name  string
		clock doctor.Clock
		err   error
		want  string
	}{
		{"good", doctor.Clock{Now: built.Add(time.Hour), Synchronised: true}, nil, "ok clock.time"},
		{"before the build", doctor.Clock{Now: built.AddDate(-10, 0, 0), Synchronised: true}, nil, "error clock.time clock: says 2016-01-01 00:00 UTC, before this program was built"},
		{"free running", doctor.Clock{Now: built.Add(time.Hour)}, nil, "warn clock.time clock: is not synchronised"},
		{"cannot tell", doctor.Clock{Now: built.Add(time.Hour)}, errors.New("not permitted"), "info clock.time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sys := host(nil)
			sys.Clock = func() (doctor.Clock, error) { return tt.clock, tt.err }
			wantLine(t, run(t, doctor.Options{System: sys}), tt.want)
		})
	}
}

func TestState(t *testing.T) {
	gone := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	denied := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}
	tests := []struct {
		name        string
		dir, parent error // of a probe
		free        uint64
		want        string
	}{
		{"good", nil, nil, 20 << 30, "ok state.space /var/lib/matchd: is writable, 20 GiB free"},
		{"tight", nil, nil, 500 << 20, "warn state.space /var/lib/matchd: has 500 MiB free"},
		{"full", nil, nil, 1 << 20, "error state.space /var/lib/matchd: has 1 MiB free"},
		{"denied", denied, nil, 0, "error state.writable /var/lib/matchd: cannot be written"},
		{"to be created", gone, nil, 0, "ok state.missing"},
		{"cannot be created", gone, denied, 0, "error state.writable /var/lib/matchd: does not exist, and cannot be created"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sys := host(nil)
			sys.Space = func(string) (uint64, error) { return tt.free, nil }
			sys.Probe = func(dir string) error {
				if dir == "/var/lib/matchd" {
					return tt.dir
				}
				return tt.parent
			}
			wantLine(t, run(t, doctor.Options{System: sys, StateDir: "/var/lib/matchd"}), tt.want)
		})
	}
}

func TestCapabilities(t *testing.T) {
	tftp := []doctor.Listener{listener("tftp", "udp", "0.0.0.0:69", true, false)}
	high := []doctor.Listener{listener("boot_http", "tcp", "0.0.0.0:8080", true, false)}
	eth0 := []doctor.Interface{{Name: "eth0", Mode: doctor.Proxy}}
	tests := []struct {
		name      string
		effective string
		start     string
		opts      doctor.Options
		want      string
	}{
		{"both", "0000000000002400", "1024", doctor.Options{Listeners: tftp, Interfaces: eth0}, "ok capability.enough"},
		{"none", "0000000000000000", "1024", doctor.Options{Listeners: tftp, Interfaces: eth0},
			"error capability.missing capabilities: this process lacks CAP_NET_BIND_SERVICE (ports below 1024) and CAP_NET_RAW"},
		{"none, high ports", "0000000000000000", "1024", doctor.Options{Listeners: high}, "ok capability.enough"},
		{"low ports are free here", "0000000000000000", "0", doctor.Options{Listeners: tftp}, "ok capability.enough"},
		{"unreadable", "what", "1024", doctor.Options{}, "info capability.unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.System = host(fstest.MapFS{
				"proc/self/status": {Data: []byte("Name:\tmatchd\nCapEff:\t" + tt.effective + "\n")},
				"proc/sys/net/ipv4/ip_unprivileged_port_start": {Data: []byte(tt.start + "\n")},
			})
			wantLine(t, run(t, tt.opts), tt.want)
		})
	}
}

// TestHost runs every check against this host: it must end and must not fail, whatever it finds.
func TestHost(t *testing.T) {
	findings := doctor.Run(t.Context(), doctor.Options{
		Listeners:  []doctor.Listener{listener("tftp", "udp", "0.0.0.0:69", true, false)},
		Interfaces: []doctor.Interface{{Name: "lo", Mode: doctor.Proxy}},
		StateDir:   t.TempDir(),
		BuildTime:  built,
	})
	for _, want := range []string{"interface.ready", "state.space"} {
		if !strings.Contains(fmt.Sprint(findings), want) {
			t.Errorf("no finding %s in %v", want, findings)
		}
	}
}

func TestWrite(t *testing.T) {
	findings := []doctor.Finding{
		{ID: "a", Severity: doctor.OK, Subject: "eth0", What: "is up"},
		{ID: "b", Severity: doctor.Warn, Subject: "clock", What: "is <wrong>", Next: "set it"},
		{ID: "c", Severity: doctor.Error, Subject: "udp 69", What: "is taken"},
	}
	var text bytes.Buffer
	if err := doctor.WriteText(&text, findings, false); err != nil {
		t.Fatal(err)
	}
	want := `ok     eth0    is up
warn   clock   is <wrong>
               → set it
error  udp 69  is taken

1 error would stop boots here, 1 warning.
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	text.Reset()
	if err := doctor.WriteText(&text, findings[:1], true); err != nil {
		t.Fatal(err)
	}
	if want := "\x1b[32mok   \x1b[0m  eth0  is up\n\nNothing here would stop a boot.\n"; text.String() != want {
		t.Errorf("coloured text is %q, want %q", text.String(), want)
	}
	text.Reset()
	if err := doctor.WriteJSON(&text, findings); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Worst    doctor.Severity
		Findings []doctor.Finding
	}
	if err := json.Unmarshal(text.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(findings, back.Findings); diff != "" || back.Worst != doctor.Error {
		t.Errorf("JSON: worst %s, findings (-want +got):\n%s", back.Worst, diff)
	}
}
