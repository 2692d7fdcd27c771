package lease

import (
	"net/netip"
	"time"

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
