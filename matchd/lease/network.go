package lease

import (
	"container/heap"
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/matchd/matchd/matchd/fault"
)

// network is the state of one subnet. Every address that was ever touched has a slot; finding a free one takes constant time.
//
// A slot that is busy (its address is being probed or its lease written) changes for nobody but the call that made it busy; others
// wait for it without the lock. So what is in memory follows what is durable, per address in the same order.
type network struct {
	subnet     *Subnet
	spans      []span                      // dynamic addresses
	size       int                         // number of dynamic addresses that are not reserved
	configured *reservedSet                // of the subnet
	reserved   atomic.Pointer[reservedSet] // those and the ones of [Pool.Reserve]; replaced with mu held

	mu      sync.Mutex
	slots   map[ip4]*slot
	clients map[string]*slot // that the client has, or had last
	offers  map[string]*slot
	timers  timers
	clean   *list.List // idle dynamic slots that nobody comes back to
	used    *list.List // idle dynamic slots of clients that may come back, longest gone first
	next    ip4        // first address of spans[at] that never had a slot
	at      int
	count   [kinds]int // dynamic slots by kind
}

// kind is what a slot's address is at the moment.
type kind int

const (
	idle kind = iota
	offered
	active
	declined
	kinds
)

// slot is one address. Which of its facts hold is a matter of time; settle files it accordingly.
type slot struct {
	address ip4
	dynamic bool // may be given to any client

	lease         Lease  // durable; the zero value: none
	owner         string // client of the lease; "" if none
	offeredTo     string
	offeredUntil  time.Time
	declinedUntil time.Time

	busy  chan struct{} // not nil: closed when it changes no more
	kind  kind
	timer int           // index in timers, -1 if none
	until time.Time     // key of the timer
	entry *list.Element // in clean or used
}

func newNetwork(subnet *Subnet) *network {
	n := &network{
		subnet: subnet, spans: subnet.dynamic(), configured: newReservedSet(subnet.Reservations),
		slots: map[ip4]*slot{}, clients: map[string]*slot{}, offers: map[string]*slot{},
		clean: list.New(), used: list.New(),
	}
	n.reserved.Store(n.configured)
	for _, s := range n.spans {
		n.size += s.size()
	}
	for a := range n.configured.byAddress {
		if n.inSpans(a) {
			n.size--
		}
	}
	if len(n.spans) > 0 {
		n.next = n.spans[0].first
	}
	return n
}

func (n *network) inSpans(a ip4) bool {
	for _, s := range n.spans {
		if s.first <= a && a <= s.last {
			return true
		}
	}
	return false
}

// isDynamic reports whether any client may have the address.
func (n *network) isDynamic(a ip4) bool { return n.inSpans(a) && n.reservedFor(a) == nil }

// slotLocked returns the slot of an address, a new one if it was never touched.
func (n *network) slotLocked(a ip4) *slot {
	s := n.slots[a]
	if s == nil {
		s = &slot{address: a, dynamic: n.isDynamic(a), timer: -1}
		n.slots[a] = s
		if s.dynamic {
			n.count[idle]++
			s.entry = n.clean.PushBack(s)
		}
	}
	return s
}

// settleLocked files a slot by the facts that hold at the given time, and drops an offer that has lapsed.
func (n *network) settleLocked(s *slot, now time.Time) {
	if s.busy != nil {
		return
	}
	if s.offeredTo != "" && !now.Before(s.offeredUntil) {
		n.withdrawLocked(s)
	}
	kind, until := idle, time.Time{}
	switch {
	case s.offeredTo != "":
		kind, until = offered, s.offeredUntil
	case now.Before(s.declinedUntil):
		kind, until = declined, s.declinedUntil
	case s.lease.Live(now):
		kind, until = active, s.lease.Expires
	}
	n.fileLocked(s, kind, until)
}

func (n *network) fileLocked(s *slot, kind kind, until time.Time) {
	if s.dynamic {
		n.count[s.kind]--
		n.count[kind]++
	}
	s.kind = kind
	n.unlistLocked(s)
	if kind == idle {
		n.unscheduleLocked(s)
		if s.dynamic && s.owner != "" {
			s.entry = n.used.PushBack(s)
		} else if s.dynamic {
			s.entry = n.clean.PushBack(s)
		}
		return
	}
	s.until = until
	if s.timer < 0 {
		heap.Push(&n.timers, s)
	} else {
		heap.Fix(&n.timers, s.timer)
	}
}

func (n *network) unlistLocked(s *slot) {
	if s.entry != nil {
		n.clean.Remove(s.entry) // no effect in the list that it is not in
		n.used.Remove(s.entry)
		s.entry = nil
	}
}

func (n *network) unscheduleLocked(s *slot) {
	if s.timer >= 0 {
		heap.Remove(&n.timers, s.timer)
	}
}

// expireLocked files every slot anew whose time has come.
func (n *network) expireLocked(now time.Time) {
	for len(n.timers) > 0 && !now.Before(n.timers[0].until) {
		n.settleLocked(n.timers[0], now)
	}
}

// holdLocked makes a slot busy: nothing happens to it until letGoLocked.
func (n *network) holdLocked(s *slot) {
	s.busy = make(chan struct{})
	n.unscheduleLocked(s)
	n.unlistLocked(s)
}

func (n *network) letGoLocked(s *slot, now time.Time) {
	close(s.busy)
	s.busy = nil
	n.settleLocked(s, now)
}

// offerLocked promises an address to a client for a while.
func (n *network) offerLocked(s *slot, client string, now time.Time) {
	if other := n.offers[client]; other != nil && other != s {
		n.withdrawLocked(other)
		n.settleLocked(other, now)
	}
	n.offers[client] = s
	s.offeredTo, s.offeredUntil = client, now.Add(OfferTime)
	n.settleLocked(s, now)
}

// withdrawLocked forgets the offer of a slot, which is then to be settled.
func (n *network) withdrawLocked(s *slot) {
	delete(n.offers, s.offeredTo)
	s.offeredTo, s.offeredUntil = "", time.Time{}
}

// disownLocked forgets whose the slot was, which is then to be settled.
func (n *network) disownLocked(s *slot) {
	if n.clients[s.owner] == s {
		delete(n.clients, s.owner)
	}
	s.owner, s.lease = "", Lease{}
}

// freeLocked finds an idle dynamic address: one that was never used, else one that nobody comes back to, else the one
// whose client is gone for longest. The address stays free until it has a slot that is filed otherwise.
func (n *network) freeLocked() (a ip4, found bool) {
	for n.at < len(n.spans) {
		a := n.next
		if n.slots[a] == nil && n.reservedFor(a) == nil {
			return a, true
		}
		if a == n.spans[n.at].last {
			n.at++
			if n.at < len(n.spans) {
				n.next = n.spans[n.at].first
			}
		} else {
			n.next++
		}
	}
	for _, l := range [...]*list.List{n.clean, n.used} {
		if front := l.Front(); front != nil {
			return front.Value.(*slot).address, true
		}
	}
	return 0, false
}

// availableLocked tells why the client cannot have the address now, nil if it can, as everybody can have one that was never touched, whose slot is
// nil. The error is of kind Conflict.
func (n *network) availableLocked(s *slot, client string, now time.Time) error {
	switch {
	case s == nil:
		return nil
	case s.offeredTo != "" && s.offeredTo != client && now.Before(s.offeredUntil):
		return fault.New(fault.Conflict, "%v is offered to another client (%s)", s.address.addr(), s.offeredTo)
	case now.Before(s.declinedUntil):
		return fault.New(fault.Conflict, "%v was found in use by somebody unknown", s.address.addr())
	case s.owner != client && s.offeredTo != client && s.lease.Live(now):
		return fault.New(fault.Conflict, "%v belongs to another client (%s)", s.address.addr(), s.owner)
	}
	return nil
}

// grant describes the lease of a slot for a request.
func (n *network) grant(s *slot, r *Request, now time.Time) Grant {
	duration := or(n.subnet.LeaseTime, DefaultLeaseTime)
	if r.Firmware {
		duration = or(n.subnet.FirmwareLeaseTime, DefaultFirmwareLeaseTime)
	}
	res := n.reservedFor(s.address)
	now = now.UTC().Truncate(time.Millisecond)
	lease := Lease{
		Address: s.address.addr(), MAC: r.MAC, ClientID: hexadecimal(r.ClientID), Hostname: cleanHostname(r.Hostname),
		State: Active, Start: now, Expires: now.Add(duration), Firmware: r.Firmware, Reserved: res != nil,
	}
	return Grant{Lease: lease, Time: duration, Subnet: n.subnet, Reservation: res}
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

func (n *network) contains(a netip.Addr) bool { return n.subnet.Prefix.Contains(a) }

// timers is a heap of slots by the time at which their kind ends.
type timers []*slot

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].until.Before(t[j].until) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].timer, t[j].timer = i, j
}

// Push is part of [heap.Interface].
func (t *timers) Push(x any) {
	s := x.(*slot)
	s.timer = len(*t)
	*t = append(*t, s)
}

// Pop is part of [heap.Interface].
func (t *timers) Pop() any {
	last := len(*t) - 1
	s := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	s.timer = -1
	return s
}
