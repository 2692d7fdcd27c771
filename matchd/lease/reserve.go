package lease

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/fault"
)

// reservedSet are the reservations of a network at one time. It does not change.
type reservedSet struct {
	byClient  map[string]*Reservation // by identity
	byAddress map[ip4]*Reservation
}

func newReservedSet(list []Reservation) *reservedSet {
	set := &reservedSet{byClient: map[string]*Reservation{}, byAddress: map[ip4]*Reservation{}}
	for i := range list {
		set.add(&list[i])
	}
	return set
}

func (s *reservedSet) clone() *reservedSet {
	return &reservedSet{byClient: maps.Clone(s.byClient), byAddress: maps.Clone(s.byAddress)}
}

func (s *reservedSet) add(r *Reservation) {
	id, _ := r.identity() // checked
	s.byClient[id], s.byAddress[number(r.Address)] = r, r
}

func (n *network) reservedFor(a ip4) *Reservation { return n.reserved.Load().byAddress[a] }

// Reserve makes list the reservations besides the configured ones, in place of those of the call before. Leases are left alone: who has an address that is
// now reserved for another keeps it until it asks again, and an address that is no longer reserved stays its client's until the lease ends. It returns
// why some cannot be kept; they are left out.
func (p *Pool) Reserve(list []Reservation) []error {
	var errs []error
	wanted := make(map[*network]*reservedSet, len(p.networks))
	for _, n := range p.networks {
		wanted[n] = n.configured.clone()
	}
	for i := range list {
		r := list[i]
		n, err := p.reservable(&r)
		if err == nil {
			err = wanted[n].accepts(&r, n.configured)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		wanted[n].add(&r)
	}
	for n, set := range wanted {
		n.reserve(set, p.now())
	}
	return errs
}

// CheckReservations says why list could not be given to [Pool.Reserve], all together. Invalid: an address is not one that can be given here. Conflict: address or
// client have a reservation already, or a client has a lease of an address that is not reserved yet.
func (p *Pool) CheckReservations(list []Reservation) error {
	sets := make(map[*network]*reservedSet, len(p.networks))
	for _, n := range p.networks {
		sets[n] = n.configured.clone()
	}
	for i := range list {
		r := &list[i]
		n, err := p.reservable(r)
		if err != nil {
			return err
		}
		if err := sets[n].accepts(r, n.configured); err != nil {
			return err
		}
		sets[n].add(r)
		if err := n.vacant(r, p.now()); err != nil {
			return err
		}
	}
	return nil
}

// reservable returns the network in which a reservation would be.
func (p *Pool) reservable(r *Reservation) (*network, error) {
	if err := r.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "the reservation of %v: %w", r.Address, err)
	}
	n := p.network(r.Address)
	if n == nil {
		subnets := make([]string, len(p.networks))
		for i, n := range p.networks {
			subnets[i] = n.subnet.Prefix.String()
		}
		slices.Sort(subnets)
		return nil, fault.New(fault.Invalid, "%v cannot be reserved: this server gives addresses of %s", r.Address, strings.Join(subnets, ", "))
	}
	if prefix := n.subnet.Prefix; prefix.Bits() < 31 {
		first := number(prefix.Masked().Addr())
		if a := number(r.Address); a == first || a == first|hostMask(prefix) {
			return nil, fault.New(fault.Invalid, "%v cannot be reserved: it is the network's or the broadcast address of %v", r.Address, prefix)
		}
	}
	return n, nil
}

// accepts says why a reservation cannot be added to the set.
func (s *reservedSet) accepts(r *Reservation, configured *reservedSet) error {
	id, err := r.identity()
	if err != nil {
		return err
	}
	by := func(other *Reservation) string {
		if configured.byAddress[number(other.Address)] == other {
			return "the daemon's configuration"
		}
		return fmt.Sprintf("the reservation of %v", other.Address)
	}
	if other := s.byAddress[number(r.Address)]; other != nil {
		otherID, _ := other.identity()
		return fault.New(fault.Conflict, "%v is reserved already, for %s, by %s", r.Address, otherID, by(other))
	}
	if other := s.byClient[id]; other != nil {
		return fault.New(fault.Conflict, "%v cannot be reserved for %s: %s gives it %v", r.Address, id, by(other), other.Address)
	}
	return nil
}

// vacant says whether another client has the address of a reservation that is not made yet.
func (n *network) vacant(r *Reservation, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.slots[number(r.Address)]
	if s == nil || !s.lease.Live(now) || r.names(&s.lease) {
		return nil
	}
	if there := n.reservedFor(s.address); there != nil {
		one, _ := there.identity()
		if other, _ := r.identity(); one == other {
			return nil
		}
	}
	return fault.New(fault.Conflict, "%v cannot be reserved: %s has a lease of it until %s; let it end, or choose another address",
		r.Address, s.owner, s.lease.Expires.UTC().Format(time.RFC3339))
}

// names reports whether the lease's client may be the reservation's. Whose port a lease came from is not remembered.
func (r *Reservation) names(l *Lease) bool {
	switch {
	case r.MAC != "":
		return l.MAC == r.MAC
	case len(r.ClientID) > 0:
		return l.ClientID == hexadecimal(r.ClientID)
	}
	return true
}

// reserve puts another set in the place of the present one. Addresses of the pools leave what any client may have, or come back to it.
func (n *network) reserve(set *reservedSet, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	before := n.reserved.Load()
	n.reserved.Store(set)
	for a := range before.byAddress {
		if set.byAddress[a] == nil && n.inSpans(a) {
			n.openLocked(a, now)
		}
	}
	for a := range set.byAddress {
		if before.byAddress[a] == nil && n.inSpans(a) {
			n.closeLocked(a)
		}
	}
}

// openLocked lets any client have an address again.
func (n *network) openLocked(a ip4, now time.Time) {
	n.size++
	s := n.slots[a]
	if s == nil {
		n.slotLocked(a) // the search for addresses that were never used may be past it
		return
	}
	if s.dynamic {
		return
	}
	s.dynamic = true
	n.count[s.kind]++
	n.settleLocked(s, now)
}

// closeLocked keeps an address from any client but its own. A lease or an offer of it stays as it is.
func (n *network) closeLocked(a ip4) {
	n.size--
	s := n.slots[a]
	if s == nil || !s.dynamic {
		return
	}
	n.count[s.kind]--
	n.unlistLocked(s)
	s.dynamic = false
}
