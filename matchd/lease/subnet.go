package lease

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Subnet is what an operator configured for one IPv4 network.
type Subnet struct {
	Prefix       netip.Prefix
	Pools        []Range // dynamic addresses; none: only reservations are served
	Exclude      []Range // never given dynamically
	Reservations []Reservation

	LeaseTime         time.Duration // zero: DefaultLeaseTime
	FirmwareLeaseTime time.Duration // zero: DefaultFirmwareLeaseTime
	DeclineTime       time.Duration // zero: DefaultDeclineTime
	// Authoritative says that no other server gives addresses on this network. Then a client of which we know nothing and that
	// comes with an address gets it if it is free, else a NAK. Without, it gets silence (RFC 2131 section 4.3.2).
	Authoritative bool
}

// Reservation keeps an address for one client, named by exactly one of its three identities.
type Reservation struct {
	Address   netip.Addr // within the prefix, inside or outside of the pools
	MAC       machine.MAC
	ClientID  []byte // option 61 whole
	CircuitID []byte // option 82 sub-option 1: the address belongs to the port, whoever is attached to it
	Hostname  string // for option 12; empty: none
}

// Range is an inclusive range of IPv4 addresses.
type Range struct {
	First, Last netip.Addr
}

// ParseRange reads "10.0.0.10-10.0.0.20", a prefix such as "10.0.0.16/28" (all of its addresses) or a single address. Errors are of kind Invalid.
func ParseRange(s string) (Range, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil && prefix.Addr().Is4() {
		first := number(prefix.Masked().Addr())
		return Range{first.addr(), (first | hostMask(prefix)).addr()}, nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	r := Range{first, last}
	if err1 != nil || err2 != nil || !r.valid() {
		return Range{}, fault.New(fault.Invalid, "%q is not a range of IPv4 addresses, such as 10.0.0.10-10.0.0.20", s)
	}
	return r, nil
}

// String returns the range as [ParseRange] reads it.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

func (r Range) valid() bool {
	return r.First.Is4() && r.Last.Is4() && r.First.Compare(r.Last) <= 0
}

// ip4 is an IPv4 address as a number.
type ip4 uint32

func number(a netip.Addr) ip4 {
	b := a.As4()
	return ip4(binary.BigEndian.Uint32(b[:]))
}

func (a ip4) addr() netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func hostMask(p netip.Prefix) ip4 { return ^ip4(0) >> p.Bits() }

// span is a range as numbers.
type span struct{ first, last ip4 }

func (s span) size() int { return int(s.last-s.first) + 1 }

// dynamic returns the addresses of the pools without the excluded ones, sorted and without overlap. Network and broadcast
// address are left out where the network has any (not with /31 and /32, RFC 3021).
func (s *Subnet) dynamic() []span {
	exclude := spans(s.Exclude)
	if s.Prefix.Bits() < 31 {
		network := number(s.Prefix.Masked().Addr())
		broadcast := network | hostMask(s.Prefix)
		exclude = append(exclude, span{network, network}, span{broadcast, broadcast})
	}
	result := merge(spans(s.Pools))
	for _, hole := range exclude {
		result = subtract(result, hole)
	}
	return result
}

func spans(ranges []Range) []span {
	result := make([]span, len(ranges))
	for i, r := range ranges {
		result[i] = span{number(r.First), number(r.Last)}
	}
	return result
}

// merge sorts the spans and joins those that overlap.
func merge(in []span) []span {
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var out []span
	for _, s := range in {
		if n := len(out); n > 0 && s.first <= out[n-1].last {
			out[n-1].last = max(out[n-1].last, s.last)
			continue
		}
		out = append(out, s)
	}
	return out
}

func subtract(in []span, hole span) []span {
	var out []span
	for _, s := range in {
		if hole.last < s.first || s.last < hole.first {
			out = append(out, s)
			continue
		}
		if s.first < hole.first {
			out = append(out, span{s.first, hole.first - 1})
		}
		if hole.last < s.last {
			out = append(out, span{hole.last + 1, s.last})
		}
	}
	return out
}

// Check returns an error of kind Invalid that names the first mistake of the subnet.
func (s *Subnet) Check() error {
	if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() {
		return fault.New(fault.Invalid, "%v is not an IPv4 network", s.Prefix)
	}
	if s.LeaseTime < 0 || s.FirmwareLeaseTime < 0 || s.DeclineTime < 0 {
		return fault.New(fault.Invalid, "subnet %v: a lease time is negative", s.Prefix)
	}
	for _, r := range slices.Concat(s.Pools, s.Exclude) {
		if !r.valid() {
			return fault.New(fault.Invalid, "subnet %v: range %v is not one of IPv4 addresses in order", s.Prefix, r)
		}
	}
	size := 0
	for _, r := range s.Pools {
		if !s.Prefix.Contains(r.First) || !s.Prefix.Contains(r.Last) {
			return fault.New(fault.Invalid, "subnet %v: pool %v is not within it", s.Prefix, r)
		}
		size += span{number(r.First), number(r.Last)}.size()
	}
	if size > MaxAddresses {
		return fault.New(fault.Invalid, "subnet %v: its pools have %d addresses, at most %d are possible", s.Prefix, size, MaxAddresses)
	}
	return s.checkReservations()
}

func (s *Subnet) checkReservations() error {
	clients, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, r := range s.Reservations {
		id, err := r.identity()
		switch {
		case err != nil:
			return fault.New(fault.Invalid, "subnet %v: %w", s.Prefix, err)
		case !r.Address.Is4() || !s.Prefix.Contains(r.Address):
			return fault.New(fault.Invalid, "subnet %v: the reserved address %v is not within it", s.Prefix, r.Address)
		case addresses[r.Address]:
			return fault.New(fault.Invalid, "subnet %v: %v is reserved twice", s.Prefix, r.Address)
		case clients[id]:
			return fault.New(fault.Invalid, "subnet %v: %s has two reservations", s.Prefix, id)
		}
		clients[id], addresses[r.Address] = true, true
	}
	return nil
}

// identity returns what the reservation is looked up by.
func (r *Reservation) identity() (string, error) {
	given := 0
	for _, set := range [...]bool{r.MAC != "", len(r.ClientID) > 0, len(r.CircuitID) > 0} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return "", fault.New(fault.Invalid, "the reservation of %v must name its client by one of MAC, client id and circuit id", r.Address)
	case r.MAC != "":
		return byMAC(r.MAC), nil
	case len(r.ClientID) > 0:
		return byClientID(r.ClientID), nil
	}
	return byCircuit(r.CircuitID), nil
}

// Clients and reservations are looked up by these texts, which also name them for people.
func byMAC(mac machine.MAC) string    { return "MAC " + mac.String() }
func byClientID(id []byte) string     { return "client id " + hex.EncodeToString(id) }
func byCircuit(circuit []byte) string { return "circuit id " + hex.EncodeToString(circuit) }

// client returns what the request's client is known by. It is Invalid if the client tells neither a usable MAC nor an id.
func (r *Request) client() (string, error) {
	if hw := r.MAC.HardwareAddr(); len(hw) > 0 && hw[0]&1 == 0 && !bytes.Equal(hw, make([]byte, len(hw))) {
		return byMAC(r.MAC), nil
	}
	if len(r.ClientID) > 0 {
		return byClientID(r.ClientID), nil
	}
	return "", fault.New(fault.Invalid, "the client tells neither a usable MAC nor a client id")
}

// reservation returns the request's reservation, nil if there is none: by MAC before client id before circuit id.
func (n *network) reservation(r *Request) *Reservation {
	reservations := n.reserved.Load().byClient
	if len(reservations) == 0 {
		return nil
	}
	if res := reservations[byMAC(r.MAC)]; res != nil && r.MAC != "" {
		return res
	}
	if len(r.ClientID) > 0 {
		if res := reservations[byClientID(r.ClientID)]; res != nil {
			return res
		}
	}
	if len(r.CircuitID) > 0 {
		return reservations[byCircuit(r.CircuitID)]
	}
	return nil
}
