package dhcp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// The network that most tests play on: we are .1, a foreign DHCP server is .2, clients get .100 and up.
var (
	ourAddr     = netip.MustParseAddr("10.0.0.1")
	foreignAddr = netip.MustParseAddr("10.0.0.2")
	relayAddr   = netip.MustParseAddr("10.9.0.1")
	localNet    = netip.MustParsePrefix("10.0.0.0/24")
	relayedNet  = netip.MustParsePrefix("10.9.0.0/24")
)

const testMAC = machine.MAC("52:54:00:00:00:01")

func link(mode dhcp.Mode) *dhcp.Link {
	return &dhcp.Link{
		Name: "eth0", Index: 2, MTU: 1500, Hardware: testMAC.HardwareAddr(), Mode: mode,
		Addrs: []netip.Prefix{netip.PrefixFrom(ourAddr, 24)},
	}
}

// booter decides as the planner does, without loaders on a disk.
type booter func(boot.Request) boot.Decision

func (b booter) Stage(_ context.Context, r boot.Request) boot.Decision { return b(r) }

var loaders = map[string]string{"x86-bios": "undionly.kpxe", "x86_64-efi": "snponly.efi", "arm64-efi": "snponly-arm64.efi"}

func decide(r boot.Request) boot.Decision {
	if r.IPXE && r.Capable {
		return boot.Decision{
			Action: boot.Script, File: "http://" + r.Server.String() + ":8080/boot.ipxe", Server: r.Server, Reason: "iPXE gets its script",
		}
	}
	for _, arch := range r.Arches {
		loader, ok := loaders[arch.LoaderKey()]
		if !ok {
			continue
		}
		file := "m/" + r.Machine.MAC.Hyphens() + "/" + loader
		if r.HTTPBoot {
			file = "http://" + r.Server.String() + ":8080/" + file
		}
		return boot.Decision{Action: boot.Load, File: file, Server: r.Server, Arch: arch, Loader: loader, Reason: "loader for " + arch.String()}
	}
	return boot.Decision{Action: boot.Refuse, Reason: fmt.Sprintf("no loader for %v", r.Arches)}
}

// addresses is an Addresser that counts up and remembers.
type addresses struct {
	mu        sync.Mutex
	net       netip.Prefix
	next      byte
	given     map[machine.MAC]netip.Addr
	hostname  string
	fail      error // returned by Offer and Commit
	requests  []lease.Request
	withdrawn int
}

func newAddresses(net netip.Prefix) *addresses {
	return &addresses{net: net, next: 100, given: map[machine.MAC]netip.Addr{}}
}

func (a *addresses) grant(r lease.Request) lease.Grant {
	addr, ok := a.given[r.MAC]
	if !ok {
		base := a.net.Addr().As4()
		base[3] = a.next
		a.next++
		addr = netip.AddrFrom4(base)
		a.given[r.MAC] = addr
	}
	grant := lease.Grant{Lease: lease.Lease{Address: addr, MAC: r.MAC}, Time: 12 * time.Hour}
	if r.Firmware {
		grant.Time = 5 * time.Minute
	}
	if a.hostname != "" {
		grant.Reservation = &lease.Reservation{Address: addr, Hostname: a.hostname}
	}
	return grant
}

func (a *addresses) Offer(_ context.Context, r lease.Request) (lease.Grant, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	if a.fail != nil {
		return lease.Grant{}, a.fail
	}
	if !a.net.Contains(r.Link) {
		return lease.Grant{}, fault.New(fault.NotFound, "no subnet has %v", r.Link)
	}
	return a.grant(r), nil
}

func (a *addresses) Commit(_ context.Context, r lease.Request) (lease.Grant, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	if a.fail != nil {
		return lease.Grant{}, a.fail
	}
	if !a.net.Contains(r.Address) {
		return lease.Grant{}, fault.New(fault.Conflict, "%v is of another network", r.Address)
	}
	addr, known := a.given[r.MAC]
	switch {
	case !known:
		return lease.Grant{}, fault.New(fault.NotFound, "%s is not known", r.MAC)
	case addr != r.Address:
		return lease.Grant{}, fault.New(fault.Conflict, "%v is not of %s", r.Address, r.MAC)
	}
	return a.grant(r), nil
}

func (a *addresses) Withdraw(lease.Request) { a.withdrawn++ }

func (a *addresses) Release(_ context.Context, r lease.Request) error { return a.leave(r) }
func (a *addresses) Decline(_ context.Context, r lease.Request) error { return a.leave(r) }

func (a *addresses) leave(r lease.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r)
	if a.given[r.MAC] != r.Address {
		return fault.New(fault.NotFound, "%v is not of %s", r.Address, r.MAC)
	}
	delete(a.given, r.MAC)
	return nil
}

// timeline keeps what was recorded.
type timeline struct {
	mu     sync.Mutex
	events []event.Event
}

func (l *timeline) Record(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *timeline) stages() []event.Stage {
	l.mu.Lock()
	defer l.mu.Unlock()
	var stages []event.Stage
	for _, e := range l.events {
		stages = append(stages, e.Stage)
	}
	return stages
}

func newHandler(t testing.TB, opts dhcp.Options) *dhcp.Handler {
	t.Helper()
	if opts.Booter == nil {
		opts.Booter = booter(decide)
	}
	h, err := dhcp.NewHandler(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// served is what a handler in server mode needs for both networks.
func served(a dhcp.Addresser) dhcp.Options {
	return dhcp.Options{Addresser: a, Subnets: []dhcp.Subnet{{Prefix: localNet}, {Prefix: relayedNet}}}
}

// cable connects pretend firmware to a handler of ours, and to a foreign DHCP server where there is one.
type cable struct {
	handler *dhcp.Handler
	link    *dhcp.Link
	foreign func(*dhcpv4.DHCPv4) *dhcpv4.DHCPv4
	relayed bool // packets on port 67 go through a relay in relayedNet
}

func (c *cable) Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	var answers [][]byte
	via := dhcp.Arrival{Link: c.link, Dest: to.Addr(), Source: netip.MustParseAddrPort("0.0.0.0:68")}
	if to.Port() == dhcp.BootPort {
		via.BootPort = true
		via.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:16])), 4011)
		if to.Addr() != ourAddr {
			return nil, nil
		}
	} else if c.relayed {
		packet = append([]byte(nil), packet...)
		giaddr := relayAddr.As4()
		copy(packet[24:], giaddr[:])
		via.Dest = ourAddr
	}
	if out, ok := c.handler.Handle(ctx, &via, packet); ok {
		answers = append(answers, out.Packet)
	}
	if c.foreign != nil && to.Port() == dhcp.ServerPort {
		request, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return nil, err
		}
		if reply := c.foreign(request); reply != nil {
			answers = append([][]byte{reply.ToBytes()}, answers...)
		}
	}
	return answers, nil
}

// plainServer is a DHCP server that knows nothing of booting.
func plainServer(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	kind := dhcpv4.MessageTypeOffer
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
	case dhcpv4.MessageTypeRequest:
		if id := request.ServerIdentifier(); id != nil && !id.Equal(foreignAddr.AsSlice()) {
			return nil
		}
		kind = dhcpv4.MessageTypeAck
	default:
		return nil
	}
	return &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: request.HWType, ClientHWAddr: request.ClientHWAddr,
		TransactionID: request.TransactionID, Flags: request.Flags, GatewayIPAddr: request.GatewayIPAddr,
		YourIPAddr: []byte{10, 0, 0, 200},
		Options: dhcpv4.Options{
			53: {byte(kind)}, 54: foreignAddr.AsSlice(), 1: {255, 255, 255, 0}, 51: binary.BigEndian.AppendUint32(nil, 3600),
		},
	}
}

// endless gives everybody the same address, at once.
type endless struct{ dhcp.Addresser }

func (endless) Offer(context.Context, lease.Request) (lease.Grant, error)  { return constant, nil }
func (endless) Commit(context.Context, lease.Request) (lease.Grant, error) { return constant, nil }

var constant = lease.Grant{Lease: lease.Lease{Address: netip.MustParseAddr("10.0.0.100")}, Time: time.Hour}
