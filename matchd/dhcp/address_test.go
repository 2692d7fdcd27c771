package dhcp_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// plain is a message of a client that does not boot.
func plain(kind dhcpv4.MessageType, change func(*dhcpv4.DHCPv4)) []byte {
	p := pxeDiscover()
	p.Options = dhcpv4.Options{53: {byte(kind)}}
	if change != nil {
		change(p)
	}
	return p.ToBytes()
}

func requested(addr string) func(*dhcpv4.DHCPv4) {
	return func(p *dhcpv4.DHCPv4) { p.Options[50] = netip.MustParseAddr(addr).AsSlice() }
}

func selecting(addr, server string) func(*dhcpv4.DHCPv4) {
	return func(p *dhcpv4.DHCPv4) {
		requested(addr)(p)
		p.Options[54] = netip.MustParseAddr(server).AsSlice()
	}
}

func having(addr string) func(*dhcpv4.DHCPv4) {
	return func(p *dhcpv4.DHCPv4) { p.ClientIPAddr = netip.MustParseAddr(addr).AsSlice() }
}

func through(giaddr string, also func(*dhcpv4.DHCPv4)) func(*dhcpv4.DHCPv4) {
	return func(p *dhcpv4.DHCPv4) {
		p.GatewayIPAddr = netip.MustParseAddr(giaddr).AsSlice()
		if also != nil {
			also(p)
		}
	}
}

// TestLeaseRequests says what the lease policy is asked for each state of a client (RFC 2131 section 4.3).
func TestLeaseRequests(t *testing.T) {
	everybody := netip.MustParseAddr("255.255.255.255")
	addr := netip.MustParseAddr
	tests := []struct {
		name   string
		packet []byte
		dest   netip.Addr
		want   *lease.Request // nil: it is not asked
	}{
		{"discover", plain(dhcpv4.MessageTypeDiscover, nil), everybody, &lease.Request{Link: addr("10.0.0.0")}},
		{"discover with a wish", plain(dhcpv4.MessageTypeDiscover, requested("10.0.0.7")), everybody,
			&lease.Request{Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"selecting", plain(dhcpv4.MessageTypeRequest, selecting("10.0.0.7", "10.0.0.1")), everybody,
			&lease.Request{Kind: lease.Selecting, Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"selecting another", plain(dhcpv4.MessageTypeRequest, selecting("10.0.0.7", "10.0.0.2")), everybody, nil},
		{"selecting nothing", plain(dhcpv4.MessageTypeRequest, nil), everybody, nil},
		{"init-reboot", plain(dhcpv4.MessageTypeRequest, requested("10.0.0.7")), everybody,
			&lease.Request{Kind: lease.InitReboot, Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"renewing", plain(dhcpv4.MessageTypeRequest, having("10.0.0.7")), ourAddr,
			&lease.Request{Kind: lease.Renewing, Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"renewing from behind a relay", plain(dhcpv4.MessageTypeRequest, having("10.9.0.7")), ourAddr,
			&lease.Request{Kind: lease.Renewing, Link: addr("10.9.0.0"), Address: addr("10.9.0.7")}},
		{"rebinding", plain(dhcpv4.MessageTypeRequest, having("10.0.0.7")), everybody,
			&lease.Request{Kind: lease.Rebinding, Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"rebinding through a relay", plain(dhcpv4.MessageTypeRequest, through("10.9.0.1", having("10.9.0.7"))), ourAddr,
			&lease.Request{Kind: lease.Rebinding, Link: addr("10.9.0.0"), Address: addr("10.9.0.7")}},
		{"through a relay", plain(dhcpv4.MessageTypeDiscover, through("10.9.0.1", nil)), ourAddr, &lease.Request{Link: addr("10.9.0.0")}},
		{"through an unknown relay", plain(dhcpv4.MessageTypeDiscover, through("10.77.0.1", nil)), ourAddr, nil},
		{"release", plain(dhcpv4.MessageTypeRelease, having("10.0.0.7")), ourAddr,
			&lease.Request{Kind: lease.Renewing, Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"release of another server's", plain(dhcpv4.MessageTypeRelease, func(p *dhcpv4.DHCPv4) {
			selecting("10.0.0.7", "10.0.0.2")(p)
			having("10.0.0.7")(p)
		}), ourAddr, nil},
		{"decline", plain(dhcpv4.MessageTypeDecline, selecting("10.0.0.7", "10.0.0.1")), everybody,
			&lease.Request{Link: addr("10.0.0.0"), Address: addr("10.0.0.7")}},
		{"inform", plain(dhcpv4.MessageTypeInform, having("10.0.0.7")), everybody, nil},
		{"offer", plain(dhcpv4.MessageTypeOffer, nil), everybody, nil},
	}
	for _, tt := range tests {
		leases := newAddresses(localNet)
		via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: tt.dest}
		newHandler(t, served(leases)).Handle(context.Background(), &via, tt.packet)
		if tt.want == nil {
			if len(leases.requests) != 0 {
				t.Errorf("%s: asked %+v", tt.name, leases.requests)
			}
			continue
		}
		if len(leases.requests) != 1 {
			t.Errorf("%s: asked %d times", tt.name, len(leases.requests))
			continue
		}
		got, want := leases.requests[0], *tt.want
		if got.Kind != want.Kind || got.Link != want.Link || got.Address != want.Address || got.MAC != testMAC || got.Firmware {
			t.Errorf("%s: asked %+v, want %+v", tt.name, got, want)
		}
	}
}

func TestWithdrawsForAnotherServer(t *testing.T) {
	leases := newAddresses(localNet)
	via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: netip.MustParseAddr("255.255.255.255")}
	_, ok := newHandler(t, served(leases)).Handle(context.Background(), &via, plain(dhcpv4.MessageTypeRequest, selecting("10.0.0.7", "10.0.0.2")))
	if ok || leases.withdrawn != 1 {
		t.Errorf("answered %v, withdrawn %d times", ok, leases.withdrawn)
	}
}

func TestLeaseVerdicts(t *testing.T) {
	tests := []struct {
		err   error
		reply dhcpv4.MessageType // 0: silence
		stage event.Stage        // empty: nothing in the timeline
	}{
		{fault.New(fault.Conflict, "of another client"), dhcpv4.MessageTypeNak, event.Refused},
		{fault.New(fault.NotFound, "not known"), 0, ""},
		{fault.New(fault.Unavailable, "the store is closed"), 0, event.Error},
		{errors.New("disk full"), 0, event.Error},
	}
	for _, tt := range tests {
		leases, log := newAddresses(localNet), &timeline{}
		leases.fail = tt.err
		opts := served(leases)
		opts.Recorder = log
		via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: netip.MustParseAddr("255.255.255.255")}
		out, ok := newHandler(t, opts).Handle(context.Background(), &via, plain(dhcpv4.MessageTypeRequest, selecting("10.0.0.7", "10.0.0.1")))
		got := dhcpv4.MessageType(0)
		if ok {
			reply, err := dhcpv4.FromBytes(out.Packet)
			if err != nil {
				t.Fatal(err)
			}
			got = reply.MessageType()
		}
		if got != tt.reply {
			t.Errorf("%v: answered %v, want %v", tt.err, got, tt.reply)
		}
		stages := log.stages()
		if tt.stage == "" && len(stages) != 0 || tt.stage != "" && !slices.Equal(stages, []event.Stage{tt.stage}) {
			t.Errorf("%v: timeline %v, want %v", tt.err, stages, tt.stage)
		}
	}
}

// TestModes says who is served where.
func TestModes(t *testing.T) {
	tests := []struct {
		name          string
		iface, subnet dhcp.Mode // subnet empty: none is configured
		relayed       bool
		plain, pxe    string // what a client gets: "address", "boot", "both" or "" for silence
	}{
		{"proxy", dhcp.Proxy, "", false, "", "boot"},
		{"off", dhcp.Off, "", false, "", ""},
		{"server", dhcp.Serve, dhcp.Serve, false, "address", "both"},
		{"server without subnet", dhcp.Serve, "", false, "", ""},
		{"proxy beside a server's subnet", dhcp.Proxy, dhcp.Serve, false, "", "boot"},
		{"server with a proxy's subnet", dhcp.Serve, dhcp.Proxy, false, "", "boot"},
		{"server with a subnet that is off", dhcp.Serve, dhcp.Off, false, "", ""},
		{"relayed, proxy", dhcp.Proxy, "", true, "", "boot"},
		{"relayed, subnet decides", dhcp.Proxy, dhcp.Serve, true, "address", "both"},
		{"relayed, proxy's subnet", dhcp.Serve, dhcp.Proxy, true, "", "boot"},
		{"relayed, server without subnet", dhcp.Serve, "", true, "", ""},
		{"relayed, off", dhcp.Serve, dhcp.Off, true, "", ""},
	}
	for _, tt := range tests {
		network, change := localNet, func(*dhcpv4.DHCPv4) {}
		if tt.relayed {
			network, change = relayedNet, through(relayAddr.String(), nil)
		}
		opts := dhcp.Options{Addresser: newAddresses(network)}
		if tt.subnet != "" {
			opts.Subnets = []dhcp.Subnet{{Prefix: network, Mode: tt.subnet}}
		}
		h := newHandler(t, opts)
		via := dhcp.Arrival{Link: link(tt.iface), Dest: netip.MustParseAddr("255.255.255.255")}
		pxe := pxeDiscover()
		pxe.Options[93] = []byte{0, 0}
		change(pxe)
		if got := gets(t, h, &via, plain(dhcpv4.MessageTypeDiscover, change)); got != tt.plain {
			t.Errorf("%s: a plain client gets %q, want %q", tt.name, got, tt.plain)
		}
		if got := gets(t, h, &via, pxe.ToBytes()); got != tt.pxe {
			t.Errorf("%s: a boot client gets %q, want %q", tt.name, got, tt.pxe)
		}
	}
}

func gets(t *testing.T, h *dhcp.Handler, via *dhcp.Arrival, packet []byte) string {
	t.Helper()
	out, ok := h.Handle(context.Background(), via, packet)
	if !ok {
		return ""
	}
	reply, err := dhcpv4.FromBytes(out.Packet)
	if err != nil {
		t.Fatal(err)
	}
	hasAddress, hasBoot := !reply.YourIPAddr.IsUnspecified(), reply.BootFileName != ""
	switch {
	case hasAddress && hasBoot:
		return "both"
	case hasAddress:
		return "address"
	case hasBoot:
		return "boot"
	}
	return "nothing"
}

// TestAddressOfOurs says which of several addresses we speak from.
func TestAddressOfOurs(t *testing.T) {
	several := link(dhcp.Serve)
	several.Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.0.3/24")}
	for dest, want := range map[string]string{"255.255.255.255": "10.0.0.1", "10.0.0.3": "10.0.0.3", "192.168.1.1": "192.168.1.1"} {
		via := dhcp.Arrival{Link: several, Dest: netip.MustParseAddr(dest)}
		out, ok := newHandler(t, served(newAddresses(localNet))).Handle(context.Background(), &via, plain(dhcpv4.MessageTypeDiscover, nil))
		if !ok || out.Source.String() != want {
			t.Errorf("sent to %s: %v from %v, want %s", dest, ok, out.Source, want)
		}
	}
	none := link(dhcp.Proxy)
	none.Addrs = nil
	via := dhcp.Arrival{Link: none}
	if _, ok := newHandler(t, dhcp.Options{}).Handle(context.Background(), &via, pxeDiscover().ToBytes()); ok {
		t.Error("answered without an address of ours")
	}
}

// registry remembers what it was told last.
type registry struct{ last machine.Machine }

func (r *registry) Observe(m machine.Machine) { r.last = m }

func TestTellsWhatItSaw(t *testing.T) {
	seen, log := &registry{}, &timeline{}
	opts := served(newAddresses(localNet))
	opts.Registry, opts.Recorder = seen, log
	var asked boot.Request
	opts.Booter = booter(func(r boot.Request) boot.Decision { asked = r; return decide(r) })
	h := newHandler(t, opts)
	via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: netip.MustParseAddr("255.255.255.255"), Source: netip.MustParseAddrPort("0.0.0.0:68")}
	discover := pxeDiscover()
	discover.Options[12] = []byte("node-7")
	h.Handle(context.Background(), &via, discover.ToBytes())
	if asked.Server != ourAddr || asked.Machine.MAC != testMAC || seen.last.Hostname != "node-7" || !seen.last.HasArch || seen.last.Arch != machine.ArchX64 {
		t.Errorf("asked %+v, registry has %+v", asked, seen.last)
	}
	request := pxeDiscover()
	request.Options[53] = []byte{byte(dhcpv4.MessageTypeRequest)}
	selecting("10.0.0.100", "10.0.0.1")(request)
	h.Handle(context.Background(), &via, request.ToBytes())
	if seen.last.Address != netip.MustParseAddr("10.0.0.100") {
		t.Errorf("registry has %+v", seen.last)
	}
	if got := log.stages(); !slices.Equal(got, []event.Stage{event.Seen, event.Offered, event.Leased}) {
		t.Fatalf("timeline %v", got)
	}
	if first := log.events[0]; first.Attrs["interface"] != "eth0" || first.Attrs["nic"] != "" {
		t.Errorf("seen %+v", first)
	}
	offered, leased := log.events[1], log.events[2]
	if offered.Attrs[event.AttrFile] != "m/52-54-00-00-00-01/snponly.efi" || offered.Attrs[event.AttrAddress] != "10.0.0.100" ||
		leased.Attrs[event.AttrAddress] != "10.0.0.100" || leased.MAC != testMAC || leased.Peer != "0.0.0.0" {
		t.Errorf("offered %+v\nleased %+v", offered, leased)
	}
}

func TestTellsOfIPXE(t *testing.T) {
	log := &timeline{}
	h := newHandler(t, dhcp.Options{Recorder: log})
	p := pxeDiscover()
	p.Options[77] = []byte("iPXE")
	p.Options[175] = []byte{0x13, 1, 1, 0x24, 1, 1, 0xb1, 5, 1, 0x80, 0x86, 0x10, 0x0e, 0xeb, 3, 1, 21, 1}
	via := dhcp.Arrival{Link: link(dhcp.Proxy)}
	h.Handle(context.Background(), &via, p.ToBytes())
	if len(log.events) != 2 || log.events[0].Attrs["nic"] != "8086:100e" || log.events[0].Attrs["ipxe_version"] != "1.21.1" {
		t.Errorf("timeline %+v", log.events)
	}
}
