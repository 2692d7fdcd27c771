// Package lease decides which address a DHCP client may have, for how long, and remembers it.
//
// It is policy without sockets: [Pool.Offer] answers a DISCOVER, [Pool.Commit] a REQUEST in each of its states. An offer is held in
// memory for a short while. A commit is durable before it returns, so an ACK that follows it survives a crash: after a restart
// every acknowledged lease is known and no address belongs to two clients.
//
// Clients are told apart by MAC, because firmware, network boot program and operating system of one machine send
// different client identifiers; the identifier counts only where there is no usable MAC (InfiniBand). IPv4 only.
package lease

import (
	"context"
	"net/netip"
	"time"

	"github.com/matchd/matchd/matchd/machine"
)

// Bounds and defaults.
const (
	OfferTime                = 30 * time.Second    // an offer that is not requested lapses
	DefaultLeaseTime         = 12 * time.Hour      // where a subnet sets none
	DefaultFirmwareLeaseTime = 5 * time.Minute     // for clients that are still in firmware
	DefaultDeclineTime       = 10 * time.Minute    // an address found in use is not given away
	Retention                = 30 * 24 * time.Hour // how long a client that left finds its address again, if nobody needed it
	MaxOffers                = 65536               // offers held per subnet; more are refused
	MaxAddresses             = 1 << 20             // addresses in the pools of one subnet
	MaxProbeTries            = 3                   // addresses probed for one offer before giving up
	MaxProbing               = 256                 // probes under way; further offers are made without
	MaxHostname              = 253                 // bytes of a client's hostname that are kept
	SweepInterval            = 30 * time.Second    // between two looks of [Pool.Run] for what has expired
)

// Kind is the state of the client that sends a DHCPREQUEST (RFC 2131 section 4.3.2).
type Kind int

// Kinds of requests.
const (
	// Selecting accepts our offer: the server identifier is ours.
	Selecting Kind = iota
	// InitReboot verifies an address from an earlier boot: option 50, neither server identifier nor ciaddr.
	InitReboot
	// Renewing extends a lease by unicast: ciaddr, no relay. The subnet is that of the address, because the packet was routed.
	Renewing
	// Rebinding extends a lease by broadcast: ciaddr, perhaps through a relay.
	Rebinding
)

// Request is what a client tells in a DHCP packet, as far as it matters to its address.
type Request struct {
	Kind      Kind        // of a DHCPREQUEST; ignored by the other calls
	MAC       machine.MAC // chaddr; zero where there is none
	ClientID  []byte      // option 61 whole, with its type byte
	CircuitID []byte      // option 82 sub-option 1
	// Link is an address of the client's segment: the relay's link selection (option 82 sub-option 5), else giaddr, else our
	// address on the interface that the packet arrived at.
	Link netip.Addr
	// Address is what the client asks for, declines or releases: option 50 or ciaddr. It may be invalid in a DISCOVER.
	Address  netip.Addr
	Firmware bool   // a PXE or HTTP boot client, or iPXE: gets the short lease
	Hostname string // option 12
}

// Grant is an address that a client may be offered or acknowledged.
type Grant struct {
	Lease       Lease
	Time        time.Duration // option 51; T1 and T2 follow from it
	Subnet      *Subnet       // the configured one; do not change it
	Reservation *Reservation  // nil for a dynamic address
}

// State is what became of a lease.
type State string

// States of a lease as stored. An active lease whose Expires has passed is over; nothing rewrites it.
const (
	Active   State = "active"
	Released State = "released" // given back by the client, which finds the address again if nobody else needed it
	Declined State = "declined" // found in use by somebody unknown: not given away before Expires
)

// Lease is an address with the client that has it. It is stored as JSON under "lease/" and its address.
type Lease struct {
	Address  netip.Addr  `json:"address"`
	MAC      machine.MAC `json:"mac,omitempty"`
	ClientID string      `json:"client_id,omitempty"` // hexadecimal
	Hostname string      `json:"hostname,omitempty"`
	State    State       `json:"state"`
	Start    time.Time   `json:"start"` // first given to this client without interruption
	Expires  time.Time   `json:"expires"`
	Firmware bool        `json:"firmware,omitempty"` // the client was in firmware when last seen
	Reserved bool        `json:"reserved,omitempty"`
}

// Live reports whether the client may use the address at the given time.
func (l Lease) Live(now time.Time) bool { return l.State == Active && now.Before(l.Expires) }

// Prober finds out whether somebody answers at an address, for instance by ARP. It is called without any lock held, for dynamic
// addresses that are newly offered; it returns within the time that a client waits for an offer (about a second).
type Prober interface {
	InUse(ctx context.Context, addr netip.Addr) bool
}
