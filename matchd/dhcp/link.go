package dhcp

import (
	"net"
	"net/netip"
	"slices"
)

// Link is one of our network interfaces as it is at the moment. It is not changed after it was made.
type Link struct {
	Name     string
	Index    int
	MTU      int // bytes
	Hardware net.HardwareAddr
	Mode     Mode
	Addrs    []netip.Prefix // IPv4 addresses of ours with their networks, the primary one first
}

// Arrival is how a packet came in.
type Arrival struct {
	Link     *Link
	Source   netip.AddrPort
	Dest     netip.Addr // the address that the packet was sent to
	BootPort bool       // it came to port 4011
}

// address returns our address on the link: the one that the packet was sent to, else the first inside of near, else the first.
func (l *Link) address(dest netip.Addr, near netip.Prefix) netip.Addr {
	for _, addr := range l.Addrs {
		if addr.Addr() == dest {
			return dest
		}
	}
	for _, addr := range l.Addrs {
		if near.IsValid() && near.Contains(addr.Addr()) {
			return addr.Addr()
		}
	}
	if len(l.Addrs) == 0 {
		return netip.Addr{}
	}
	return l.Addrs[0].Addr()
}

// owns reports whether addr is ours.
func (l *Link) owns(addr netip.Addr) bool {
	for _, own := range l.Addrs {
		if own.Addr() == addr {
			return true
		}
	}
	return false
}

// onLink reports whether addr is of a network that the link is directly attached to.
func (l *Link) onLink(addr netip.Addr) bool {
	for _, own := range l.Addrs {
		if own.Contains(addr) {
			return true
		}
	}
	return false
}

// scope is where a client is and how it is served there.
type scope struct {
	mode    Mode
	subnets []*Subnet  // that its link may have, in the order to try; empty for a proxy without subnets
	server  netip.Addr // our address towards the client
	id      netip.Addr // option 54: server, unless the relay wants to stand for it (RFC 5107)
}

// locate finds the scope of a query: behind a relay its subnet decides, on our own link the interface and the subnet do, and the
// more careful of the two modes counts.
func (h *Handler) locate(q *Query, via *Arrival) scope {
	if q.Relay.IsValid() {
		return h.behindRelay(q, via)
	}
	s := scope{mode: via.Link.Mode, server: via.Link.address(via.Dest, netip.Prefix{})}
	s.id = s.server
	if q.Client.IsValid() && !via.Link.onLink(q.Client) {
		// A renewal from behind a relay comes by itself, with the address of another network.
		if subnet := h.subnetOf(q.Client); subnet != nil {
			s.mode, s.subnets = subnet.mode(), []*Subnet{subnet}
			return s
		}
	}
	s.subnets = h.onLink(via.Link)
	if len(s.subnets) > 0 {
		s.mode = careful(s.mode, s.subnets[0].mode())
		s.server = via.Link.address(via.Dest, s.subnets[0].Prefix)
		s.id = s.server
	}
	return s
}

func (h *Handler) behindRelay(q *Query, via *Arrival) scope {
	s := scope{mode: via.Link.Mode, server: via.Link.address(via.Dest, netip.Prefix{})}
	link := q.Relay
	if q.Link.IsValid() {
		link = q.Link
	}
	if subnet := h.subnetOf(link); subnet != nil {
		s.mode, s.subnets = subnet.mode(), []*Subnet{subnet}
	}
	s.id = s.server
	if q.Override.IsValid() && s.mode == Serve { // a relay passes on port 67, never 4011
		s.id = q.Override
	}
	return s
}

// Serves reports whether clients on a link, or behind a relay where there is one, get their addresses from us.
func (h *Handler) Serves(link *Link, relay netip.Addr) bool {
	return h.locate(&Query{Relay: relay}, &Arrival{Link: link}).mode == Serve
}

func (h *Handler) subnetOf(addr netip.Addr) *Subnet {
	for i := range h.subnets {
		if h.subnets[i].Prefix.Contains(addr) {
			return &h.subnets[i]
		}
	}
	return nil
}

// onLink returns the subnets that an interface has an address in, in the order of its addresses.
func (h *Handler) onLink(link *Link) []*Subnet {
	var found []*Subnet
	for _, addr := range link.Addrs {
		if subnet := h.subnetOf(addr.Addr()); subnet != nil && !slices.Contains(found, subnet) {
			found = append(found, subnet)
		}
	}
	return found
}

// careful returns the mode that does less.
func careful(a, b Mode) Mode {
	for _, mode := range [...]Mode{Off, Proxy} {
		if a == mode || b == mode {
			return mode
		}
	}
	return Serve
}
