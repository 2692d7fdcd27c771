// Package dhcp answers DHCPv4 for network boot: as a proxy beside somebody else's server, or as the server itself.
//
// A packet becomes a [Query], the query is put to a [Booter] (what to boot) and in server mode to an [Addresser] (which
// address), and their answers become a reply. [Handler] does that without any socket: bytes in, bytes and their destination out.
// [Server] is a handler behind sockets on ports 67 and 4011 of each configured interface.
//
// In proxy mode no packet of ours ever carries an address, and clients that do not boot from the network hear nothing. In server
// mode a lease is durable before its ACK leaves.
package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// Ports of DHCP (RFC 2131) and of PXE's second question (PXE 2.1 section 2.2.3).
const (
	ServerPort = 67
	ClientPort = 68
	BootPort   = 4011
)

// Booter decides what a machine may boot.
type Booter interface {
	// Stage answers at once and from memory; it is asked once per packet and must not block.
	Stage(ctx context.Context, request boot.Request) boot.Decision
}

// Addresser gives addresses; a [lease.Pool] is one. The kinds of its errors are its verdicts, and their text goes into the timeline.
type Addresser interface {
	// Offer reserves an address in memory. NotFound: nothing to give on this link, stay silent. Any other error is ours.
	Offer(ctx context.Context, request lease.Request) (lease.Grant, error)
	// Commit makes the lease of request.Address durable before it returns. Conflict: the client may not have this address
	// and must be told so. NotFound: nothing is known of this client, another server may know it. Any other error is ours.
	Commit(ctx context.Context, request lease.Request) (lease.Grant, error)
	// Withdraw forgets what the client was offered: it took another server's offer.
	Withdraw(request lease.Request)
	// Release gives request.Address back.
	Release(ctx context.Context, request lease.Request) error
	// Decline reports that the client found request.Address in use by somebody else.
	Decline(ctx context.Context, request lease.Request) error
}

// Registry remembers what packets tell of machines.
type Registry interface {
	Observe(m machine.Machine)
}

// Recorder takes the timeline's events. Record must not block.
type Recorder interface {
	Record(e event.Event)
}

// Mode is how an interface or a subnet is served.
type Mode string

// Modes.
const (
	Proxy Mode = "proxy"  // boot information only, never an address
	Serve Mode = "server" // addresses and boot information
	Off   Mode = "off"
)

// ProxyOffer is how a proxy hands out the boot file. FIRMWARE facts 12 and 27: some firmware only takes it in the offer, some only
// from port 4011.
type ProxyOffer string

// Strategies.
const (
	OfferAuto   ProxyOffer = "auto"   // UEFI's PXE client is sent to port 4011, everybody else gets the file in the offer
	OfferDirect ProxyOffer = "direct" // the offer names the boot file
	Offer4011   ProxyOffer = "4011"   // the offer names only us, the boot file follows on port 4011
)

// Interface is one network interface to answer on.
type Interface struct {
	Name string
	Mode Mode // empty: Proxy
}

// Subnet is a range of addresses, on one of our interfaces or behind a relay.
type Subnet struct {
	Prefix   netip.Prefix
	Mode     Mode                    // empty: Serve
	Settings Settings                // what its clients are told besides their address
	Reserved map[netip.Addr]Settings // by reserved address, laid over Settings
}

// Options makes a [Handler] and a [Server].
type Options struct {
	Interfaces []Interface
	Subnets    []Subnet
	ProxyOffer ProxyOffer // empty: OfferAuto
	Booter     Booter     // required
	Addresser  Addresser  // required where an interface or subnet is in server mode
	Registry   Registry   // nil: nobody wants to know
	Recorder   Recorder   // nil: nobody wants to know
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil: not counted anywhere
	// AnyPort binds free ports rather than 67 and 4011, so that tests need no privileges. Server.Addrs tells which.
	AnyPort bool
	// SkipSearch leaves out the search for other DHCP servers that Serve makes on interfaces in server mode.
	SkipSearch bool
}

func (o *Options) check() error {
	if o.Booter == nil {
		return fault.New(fault.Invalid, "dhcp: no Booter to ask")
	}
	switch o.ProxyOffer {
	case "", OfferAuto, OfferDirect, Offer4011:
	default:
		return fault.New(fault.Invalid, "dhcp: proxy offer %q is none of auto, direct, 4011", o.ProxyOffer)
	}
	serves := false
	for i := range o.Interfaces {
		iface := &o.Interfaces[i]
		if iface.Name == "" {
			return fault.New(fault.Invalid, "dhcp: an interface has no name")
		}
		serves = serves || iface.Mode == Serve
	}
	for i := range o.Subnets {
		subnet := &o.Subnets[i]
		if !subnet.Prefix.IsValid() || !subnet.Prefix.Addr().Is4() {
			return fault.New(fault.Invalid, "dhcp: subnet %v is not an IPv4 prefix", subnet.Prefix)
		}
		if err := subnet.check(); err != nil {
			return fmt.Errorf("dhcp: subnet %v: %w", subnet.Prefix, err)
		}
		serves = serves || subnet.mode() == Serve
	}
	if serves && o.Addresser == nil {
		return fault.New(fault.Invalid, "dhcp: server mode without an Addresser")
	}
	return nil
}

func (s *Subnet) check() error {
	if err := s.Settings.Validate(); err != nil {
		return err
	}
	for addr, settings := range s.Reserved {
		if err := settings.Validate(); err != nil {
			return fmt.Errorf("reservation %v: %w", addr, err)
		}
	}
	return nil
}

func (s *Subnet) mode() Mode {
	if s.Mode == "" {
		return Serve
	}
	return s.Mode
}
