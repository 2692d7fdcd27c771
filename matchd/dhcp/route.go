package dhcp

import (
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Delivery is the way that a reply takes.
type Delivery int

// Ways.
const (
	// Broadcast goes to 255.255.255.255 on the arrival interface.
	Broadcast Delivery = iota
	// Unicast goes to an address that somebody answers ARP for.
	Unicast
	// Frame goes to an address that its owner does not know yet, so the frame carries the hardware address.
	Frame
)

// Destination is where a reply goes.
type Destination struct {
	Delivery Delivery
	To       netip.AddrPort
	Hardware net.HardwareAddr // destination of a Frame
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// route follows RFC 2131 section 4.1; in doubt it broadcasts (FIRMWARE fact 43).
func (r *Reply) route(q *Query, via *Arrival) Destination {
	switch {
	case via.BootPort:
		return bootPortRoute(q, via)
	case q.Relay.IsValid(): // a relay listens where servers do
		return Destination{Delivery: Unicast, To: netip.AddrPortFrom(q.Relay, ServerPort)}
	case r.Type == dhcpv4.MessageTypeNak:
		return Destination{To: netip.AddrPortFrom(broadcast, ClientPort)}
	case q.Client.IsValid():
		return Destination{Delivery: Unicast, To: netip.AddrPortFrom(q.Client, ClientPort)}
	case r.Grant != nil && !q.Packet.IsBroadcast() && q.Packet.HWType == hwtypeEther && len(q.Packet.ClientHWAddr) == 6:
		return Destination{Delivery: Frame, To: netip.AddrPortFrom(r.Grant.Lease.Address, ClientPort), Hardware: q.Packet.ClientHWAddr}
	}
	return Destination{To: netip.AddrPortFrom(broadcast, ClientPort)}
}

// bootPortRoute answers whom the question on port 4011 came from: EDK2 sends from 4011, iPXE and BIOS ROMs from 68.
func bootPortRoute(q *Query, via *Arrival) Destination {
	source := via.Source
	if source.Addr().IsValid() && !source.Addr().IsUnspecified() {
		return Destination{Delivery: Unicast, To: source}
	}
	if q.Client.IsValid() {
		return Destination{Delivery: Unicast, To: netip.AddrPortFrom(q.Client, ClientPort)}
	}
	return Destination{To: netip.AddrPortFrom(broadcast, ClientPort)}
}
