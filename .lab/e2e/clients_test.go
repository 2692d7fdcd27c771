package e2e_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
	"github.com/matchd/matchd/lab/server"
)

// clientBound is how long a DHCP client may take for one step; dhclient renews when it
// pleases, between half of the lease time and seven eighths.
const clientBound = 90 * time.Second

// shortLeases serves the lab's own subnet and one behind a relay, with leases so short
// that every client renews in front of the test.
const shortLeases = `dhcp:
  interfaces:
    - {name: lan0, mode: server}
  subnets:
    - subnet: 10.77.0.0/24
      pools: [10.77.0.100-10.77.0.200]
      lease_time: 12s
      options: {router: [10.77.0.1], dns: [10.77.0.1], domain: lab.test}
    - subnet: 10.78.0.0/24
      pools: [10.78.0.100-10.78.0.200]
      lease_time: 12s
      options: {router: [10.78.0.1]}
`

// dhcpClient is a real client in a network namespace of its own.
type dhcpClient struct {
	name string
	// args start it in the foreground, with its files in dir and its script at script.
	args func(dir, script string) []string
	// release makes the running client give its address back.
	release func(l *lab, host *netns.Namespace, p *process.Process, dir string) error
	private []string
}

// script is what every client calls with its news; each has names of its own for it. It
// says the news in one form, and configures the interface so that renewals by unicast
// have an address to come from.
const script = `#!/bin/sh
iface=eth0
what=${1:-$reason}
addr=${ip:-$new_ip_address}
net=${mask:-$new_subnet_mask}
router=${router:-$new_routers}
case $what in
bound|BOUND|REBOOT) word=bound ;;
renew|RENEW|REBIND) word=renewed ;;
*) echo "CLIENT other $what"; exit 0 ;;
esac
ip addr replace "$addr/24" dev $iface
[ -z "$router" ] || ip route replace default via "$router" dev $iface
echo "CLIENT $word $addr router=$router"
`

var dhcpClients = []dhcpClient{
	{
		name: "udhcpc",
		args: func(_, script string) []string {
			return []string{"busybox", "udhcpc", "-f", "-i", "eth0", "-s", script}
		},
		release: func(_ *lab, _ *netns.Namespace, p *process.Process, _ string) error {
			return syscall.Kill(p.PID(), syscall.SIGUSR2)
		},
	},
	{
		name: "dhclient",
		args: func(dir, script string) []string {
			return []string{"dhclient", "-4", "-d", "-cf", "/dev/null", "-sf", script, "-lf", dir + "/leases", "-pf", dir + "/pid", "eth0"}
		},
		release: func(l *lab, host *netns.Namespace, _ *process.Process, dir string) error {
			return host.Run("dhclient", "-4", "-r", "-cf", "/dev/null", "-sf", dir+"/script", "-lf", dir+"/leases", "-pf", dir+"/none", "eth0")
		},
	},
	{
		name: "dhcpcd",
		args: func(_, script string) []string {
			return []string{"dhcpcd", "-4", "-B", "-A", "-f", "/dev/null", "-c", script, "eth0"}
		},
		release: func(_ *lab, host *netns.Namespace, p *process.Process, _ string) error {
			// It waits for dhcpcd's end, with which its own namespace ends: it is killed.
			host.Run("nsenter", "-t", fmt.Sprint(p.PID()), "-m", "-p", "dhcpcd", "-4", "-k", "eth0")
			return nil
		},
		private: []string{"/run", "/var/lib/dhcpcd"},
	},
}

// TestDHCPClients takes real clients through lease, renewal and release.
func TestDHCPClients(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{Site: server.Site(machine.BIOS, mac1, "db"), Config: shortLeases})
	seen := map[string]string{}
	for i, c := range dhcpClients {
		host, err := l.seg.Host(c.name)
		if err != nil {
			l.Fatal(err)
		}
		addr := l.lifetime(host, c, i, netip.MustParsePrefix("10.77.0.0/24"), "router=10.77.0.1")
		if other, ok := seen[addr]; ok {
			l.Logf("%s got the address that %s had released: %s", c.name, other, addr)
		}
		seen[addr] = c.name
	}
}

// TestDHCPRelays does the same behind relay agents: renewals then come by unicast,
// routed, with no relay in between.
func TestDHCPRelays(t *testing.T) {
	relays := map[string][]string{
		// -a adds option 82 and wants it back.
		"dhcrelay":    {cache.Path("tools", "dhcrelay"), "-4", "-d", "-a", "-id", "eth1", "-iu", "eth0", "10.77.0.1"},
		"dhcp-helper": {cache.Path("tools", "dhcp-helper"), "-n", "-i", "eth1", "-s", "10.77.0.1"},
	}
	for name, args := range relays {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.start(server.Options{Site: server.Site(machine.BIOS, mac1, "db"), Config: shortLeases})
			far := l.farSegment()
			relay, err := process.Start(far.relay, process.Options{Name: name, Private: []string{"/run"}}, args[0], args[1:]...)
			if err != nil {
				l.Fatal(err)
			}
			l.Cleanup(func() {
				if l.Failed() {
					l.Logf("relay:\n%s", relay.Tail(20, "  relay: "))
				}
				relay.Stop()
			})
			for i, c := range dhcpClients {
				host, err := far.seg.Host(c.name)
				if err != nil {
					l.Fatal(err)
				}
				l.lifetime(host, c, i, netip.MustParsePrefix("10.78.0.0/24"), "router=10.78.0.1")
			}
		})
	}
}

// far is a second segment behind a router that is also the relay.
type far struct {
	seg   *netns.Segment
	relay *netns.Namespace
}

func (l *lab) farSegment() far {
	l.Helper()
	seg, err := netns.NewSegment(l.Name()+" far", netip.MustParsePrefix("10.78.0.254/24"))
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(seg.Close)
	relay, err := l.seg.Host("relay")
	if err == nil {
		err = seg.Attach(relay, "eth1")
	}
	if err != nil {
		l.Fatal(err)
	}
	for _, args := range [][]string{
		{"ip", "addr", "add", "10.77.0.2/24", "dev", "eth0"},
		{"ip", "addr", "add", "10.78.0.1/24", "dev", "eth1"},
		{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	} {
		if err := relay.Run(args[0], args[1:]...); err != nil {
			l.Fatal(err)
		}
	}
	if err := l.seg.IP("route", "add", "10.78.0.0/24", "via", "10.77.0.2"); err != nil {
		l.Fatal(err)
	}
	return far{seg, relay}
}

// lifetime takes one client from its first packet to its release and returns its address.
func (l *lab) lifetime(host *netns.Namespace, c dhcpClient, n int, subnet netip.Prefix, router string) string {
	l.Helper()
	dir := filepath.Join(l.dir, c.name)
	if err := server.WriteFile(dir+"/script", script); err != nil {
		l.Fatal(err)
	}
	if err := os.Chmod(dir+"/script", 0o755); err != nil {
		l.Fatal(err)
	}
	mac := fmt.Sprintf("02:77:00:00:01:%02x", n)
	if err := host.IP("link", "set", "eth0", "address", mac); err != nil {
		l.Fatal(err)
	}
	args := c.args(dir, dir+"/script")
	p, err := process.Start(host, process.Options{Name: c.name, Private: c.private}, args[0], args[1:]...)
	if err != nil {
		l.Fatal(err)
	}
	defer p.Kill()
	ctx, cancel := context.WithTimeout(l.ctx, clientBound)
	defer cancel()
	wait := func(what string) string {
		line, err := p.Output.Wait(ctx, what)
		if err != nil {
			l.Fatalf("%s: %v\n%s", c.name, err, p.Tail(30, "  "+c.name+": "))
		}
		return line
	}
	bound := strings.Fields(wait("CLIENT bound"))
	addr, err := netip.ParseAddr(bound[2])
	if err != nil || !subnet.Contains(addr) || bound[3] != router {
		l.Errorf("%s was told %q, want an address in %s and %s", c.name, bound, subnet, router)
	}
	if renewed := strings.Fields(wait("CLIENT renewed")); renewed[2] != bound[2] {
		l.Errorf("%s had %s and was renewed as %s", c.name, bound[2], renewed[2])
	}
	if err := c.release(l, host, p, dir); err != nil {
		l.Fatalf("%s: releasing: %v", c.name, err)
	}
	if _, err := l.server.WaitStage(ctx, mac, "released"); err != nil {
		l.Errorf("%s: %v\n%s", c.name, err, p.Tail(30, "  "+c.name+": "))
	}
	return bound[2]
}
