package e2e_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/reference"
	"github.com/matchd/matchd/lab/server"
)

// boot is the plain case: matchd is the DHCP server, one machine, one group.
func boot(t *testing.T, f machine.Firmware, config string) (*lab, *machine.Result, *server.Timeline) {
	t.Helper()
	l := newLab(t)
	l.start(server.Options{Site: server.Site(f, mac1, "db"), Config: server.Subnet + config})
	m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1, Serial: "LAB1"})
	r := l.result(m)
	return l, r, l.configured(m, r, "db")
}

// TestSmokeBIOS: a PC BIOS with iPXE in its NIC gets the script at once, and no loader.
func TestSmokeBIOS(t *testing.T) {
	l, r, timeline := boot(t, machine.BIOS, "")
	if timeline.Has("loader-sent") {
		l.Errorf("an iPXE that can do everything was sent a loader:\n%s", timeline)
	}
	if got := r.Fact("firmware"); got != "bios" {
		l.Errorf("firmware is %s, want bios", got)
	}
}

// TestSmokeUEFI: OVMF's own PXE loads iPXE by TFTP.
func TestSmokeUEFI(t *testing.T) {
	l, r, timeline := boot(t, machine.UEFI, "")
	if !timeline.Has("loader-sent") {
		l.Errorf("no loader was sent:\n%s", timeline)
	}
	if got := r.Fact("firmware"); got != "efi" {
		l.Errorf("firmware is %s, want efi", got)
	}
}

// TestSmokeHTTP: OVMF's HTTP Boot loads iPXE by HTTP.
func TestSmokeHTTP(t *testing.T) {
	l, _, timeline := boot(t, machine.HTTP, "")
	if !timeline.Has("loader-sent") {
		l.Errorf("no loader was sent:\n%s", timeline)
	}
}

// TestSmokeSecureBoot: signed shim, signed GRUB, signed kernel; the kernel confirms that
// Secure Boot is on.
func TestSmokeSecureBoot(t *testing.T) {
	l, r, _ := boot(t, machine.SecureBoot, "")
	if got := r.Fact("secureboot"); got != "1" {
		l.Errorf("the guest's SecureBoot variable is %q, want 1", got)
	}
}

// TestSmokeARM64: AAVMF's PXE loads GRUB, and GRUB everything else by TFTP.
func TestSmokeARM64(t *testing.T) {
	l, r, _ := boot(t, machine.ARM64, "")
	if got := r.Fact("arch"); got != "aarch64" {
		l.Errorf("the guest runs on %s, want aarch64", got)
	}
}

// proxyMode is the configuration beside another DHCP server.
const proxyMode = "dhcp:\n  interfaces:\n    - {name: lan0, mode: proxy}\n"

// dnsmasq starts a DHCP server that knows nothing of boots, on another host, as in most
// networks that matchd comes to.
func (l *lab) dnsmasq(options ...string) {
	l.Helper()
	host, err := l.seg.Host("dnsmasq")
	if err == nil {
		err = host.IP("addr", "add", "10.77.0.3/24", "dev", "eth0")
	}
	if err != nil {
		l.Fatal(err)
	}
	p, err := reference.Dnsmasq(l.ctx, host, "eth0", netip.MustParseAddr("10.77.0.3"), l.dir, options...)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		if l.Failed() {
			l.Logf("dnsmasq:\n%s", p.Tail(40, "  dnsmasq: "))
		}
		p.Stop()
	})
}

// TestSmokeProxy: dnsmasq gives the address and knows nothing of boots, matchd only adds
// the boot. OVMF is the picky case: it must be told twice and go to port 4011 in between.
func TestSmokeProxy(t *testing.T) {
	proxied(t, machine.UEFI, "")
}

// TestProxySecureBoot is the same with shim and GRUB. Debian's GRUB asks the server that
// the DHCP server's own answer names (siaddr), so that one must name matchd; it needs to
// know nothing else.
func TestProxySecureBoot(t *testing.T) {
	proxied(t, machine.SecureBoot, "", nextServer)
}

// TestProxyARM64 is the same with GRUB alone.
func TestProxyARM64(t *testing.T) {
	proxied(t, machine.ARM64, "", nextServer)
}

// nextServer makes dnsmasq name matchd as the server of files, and no file.
const nextServer = "--dhcp-boot=,,10.77.0.1"

// TestProxyDirect: with OVMF the offer itself may also name the loader; nobody asks on
// port 4011 then.
func TestProxyDirect(t *testing.T) {
	proxied(t, machine.UEFI, "proxy_offer: direct\n")
}

// TestProxyBIOS4011: an iPXE ROM that is sent to port 4011.
func TestProxyBIOS4011(t *testing.T) {
	proxied(t, machine.BIOS, "proxy_offer: \"4011\"\n")
}

// TestProxyBIOS is the same with a BIOS whose NIC is iPXE.
func TestProxyBIOS(t *testing.T) {
	proxied(t, machine.BIOS, "")
}

// TestProxyHTTP is the same with UEFI HTTP Boot, which knows no port 4011.
func TestProxyHTTP(t *testing.T) {
	proxied(t, machine.HTTP, "")
}

func proxied(t *testing.T, f machine.Firmware, config string, options ...string) {
	l := newLab(t)
	l.dnsmasq(options...)
	l.start(server.Options{Site: server.Site(f, mac1, "db"), Config: config + proxyMode})
	m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1, Serial: "LAB1"})
	r := l.result(m)
	timeline := l.configured(m, r, "db")
	if timeline.Has("leased") {
		l.Errorf("a proxy gave an address away:\n%s", timeline)
	}
	if dhcp, _ := r.Raw("dhcp"); !strings.Contains(dhcp, "lease=43200") {
		l.Errorf("the guest's lease is not dnsmasq's:\n%s", dhcp)
	}
}

// TestUEFIWithIPXE: OVMF with an iPXE option ROM, which can do everything itself.
func TestUEFIWithIPXE(t *testing.T) {
	boot(t, machine.UEFIWithIPXE, "")
}

// TestBIOSOtherNIC: the same boot on an Intel NIC, whose option ROM is another build.
func TestBIOSOtherNIC(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{Site: server.Site(machine.BIOS, mac1, "db"), Config: server.Subnet})
	m := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1, NIC: "e1000"})
	l.configured(m, l.result(m), "db")
}

// TestSecureBootRefusesUnsigned: told to load iPXE, which nobody signed, the firmware
// refuses, and matchd's timeline shows a loader and no script.
func TestSecureBootRefusesUnsigned(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{
		Site:   server.Site(machine.UEFI, mac1, "db"),
		Config: server.Subnet + "machines:\n  - {mac: \"" + mac1 + "\", loader: ipxe}\n",
	})
	m := l.powerOn(machine.Spec{Firmware: machine.SecureBoot, MAC: mac1, UUID: uuid1})
	ctx, cancel := context.WithTimeout(l.ctx, machine.Bound)
	defer cancel()
	line, err := m.Output.Wait(ctx, "Access Denied", "Security Violation", machine.LinuxUp)
	if err != nil || strings.Contains(line, machine.LinuxUp) {
		l.Fatalf("the firmware said %q, %v; want it to refuse the loader", line, err)
	}
	timeline, err := l.server.Timeline(l.ctx, mac1)
	if err != nil {
		l.Fatal(err)
	}
	if !timeline.Has("loader-sent") || timeline.Has("script-sent") {
		l.Errorf("want a loader and no script in the timeline:\n%s", timeline)
	}
}

// TestTwoMachines: two machines that are on at once, in different groups with different
// selectors, and each becomes what its own group says.
func TestTwoMachines(t *testing.T) {
	l := newLab(t)
	site := map[string]string{
		"ignition/lab.bu":        server.Butane,
		"profiles/bios.json":     server.Profile("bios", machine.BIOS),
		"profiles/uefi.json":     server.Profile("uefi", machine.UEFI),
		"groups/node-db.json":    server.Group("node-db", "bios", "db", map[string]string{"mac": mac1}),
		"groups/node-web.json":   server.Group("node-web", "uefi", "web", map[string]string{"uuid": uuid2}),
		"groups/node-other.json": server.Group("node-other", "bios", "other", nil),
	}
	l.start(server.Options{Site: site, Config: server.Subnet + "      reservations:\n        - {mac: \"" + mac1 + "\", address: 10.77.0.50}\n"})
	db := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1})
	web := l.powerOn(machine.Spec{Firmware: machine.UEFI, MAC: mac2, UUID: uuid2})
	dbResult := l.result(db)
	l.configured(db, dbResult, "db")
	if got := dbResult.Fact("address"); got != "10.77.0.50" {
		l.Errorf("the machine with a reservation for 10.77.0.50 has %s", got)
	}
	l.configured(web, l.result(web), "web")
}

// TestUnmatchedBIOS and its sisters: a machine that no group wants boots from its disk, as
// if matchd were not there.
func TestUnmatchedBIOS(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{Site: server.Site(machine.BIOS, mac2, "db"), Config: server.Subnet})
	l.fromDisk(machine.BIOS, "disk/bios.img")
}

// TestUnmatchedUEFI is the same with OVMF.
func TestUnmatchedUEFI(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{Site: server.Site(machine.UEFI, mac2, "db"), Config: server.Subnet})
	l.fromDisk(machine.UEFI, "disk/uefi.img")
}

// TestUnmatchedProxy is what happens to everybody else's machines when matchd is plugged
// into a network that has worked without it.
func TestUnmatchedProxy(t *testing.T) {
	l := newLab(t)
	l.dnsmasq()
	l.start(server.Options{Site: server.Site(machine.BIOS, mac2, "db"), Config: proxyMode})
	l.fromDisk(machine.BIOS, "disk/bios.img")
}

// fromDisk switches a machine on that must end up on its disk, and matchd must say why.
func (l *lab) fromDisk(f machine.Firmware, disk string) {
	l.Helper()
	m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1, Disk: cache.Path(disk)})
	ctx, cancel := context.WithTimeout(l.ctx, machine.Bound)
	defer cancel()
	line, err := m.Output.Wait(ctx, machine.DiskBoot, machine.LinuxUp)
	if err != nil || strings.Contains(line, machine.LinuxUp) {
		l.Fatalf("the machine said %q, %v; want it to boot from its disk", line, err)
	}
	timeline, err := l.server.Timeline(l.ctx, mac1)
	if err != nil {
		l.Fatal(err)
	}
	if !timeline.Has("not-matched") && !timeline.Has("to-disk") {
		l.Errorf("the timeline does not say why:\n%s", timeline)
	}
}
