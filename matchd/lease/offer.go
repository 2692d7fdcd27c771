package lease

import (
	"context"
	"time"

	"github.com/matchd/matchd/matchd/fault"
)

// Offer reserves an address for the client for [OfferTime]. Repeating it gives the same address. An error of kind NotFound says
// that we have nothing to give to this client on its link: stay silent. One of kind Unavailable says that all addresses are
// taken: stay silent, tell the operator. One of kind Invalid says that the client tells nothing that it could be known by.
//
// In order: the client's reservation, the address it has or had, the one it asks for, one that is free.
func (p *Pool) Offer(ctx context.Context, r Request) (Grant, error) {
	client, err := r.normalise()
	if err != nil {
		return Grant{}, err
	}
	n := p.network(r.Link)
	if n == nil {
		return Grant{}, silence("no subnet of ours contains %v", r.Link)
	}
	for tries := 0; tries < MaxProbeTries; {
		choice, err := p.choose(n, &r, client, tries == 0)
		if err != nil {
			p.metrics.failed(err)
			return Grant{}, err
		}
		switch {
		case choice.busy != nil:
			if err := wait(ctx, choice.busy); err != nil {
				return Grant{}, err
			}
		case !choice.probe:
			return choice.grant, nil
		case p.probe(ctx, n, choice.slot):
			p.metrics.conflicts.Inc()
			p.logger.Warn("an address that is nobody's answers, and is kept back", "address", choice.grant.Lease.Address)
			tries++
		default:
			return choice.grant, nil
		}
	}
	return Grant{}, fault.New(fault.Unavailable, "%d free addresses of %v in a row are in use by somebody unknown", MaxProbeTries, n.subnet.Prefix)
}

// normalise brings addresses into the form that is compared here and returns what the client is known by.
func (r *Request) normalise() (client string, err error) {
	r.Address, r.Link = r.Address.Unmap(), r.Link.Unmap()
	return r.client()
}

// choice is an address for an offer, or a slot to wait for.
type choice struct {
	slot  *slot
	grant Grant
	probe bool          // the slot is held and to be probed
	busy  chan struct{} // not nil: choose again when it is closed
}

// choose offers a slot to the client; if it is to be probed, the slot is held. Only the first try may take over the address of a
// replaced machine: with a second one, the machine has answered.
func (p *Pool) choose(n *network, r *Request, client string, first bool) (choice, error) {
	now := p.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	s, fresh := n.replacedLocked(r, client, now), true
	if s == nil || !first {
		a, isFresh, err := n.selectLocked(r, client, now)
		if err != nil {
			return choice{}, err
		}
		s, fresh = n.slotLocked(a), isFresh
	}
	if s.busy != nil {
		return choice{busy: s.busy}, nil
	}
	has := s.owner == client && s.lease.Live(now)
	if !has {
		if n.offers[client] != s && len(n.offers) >= MaxOffers {
			return choice{}, fault.New(fault.Unavailable, "%d offers of %v wait for their clients already", len(n.offers), n.subnet.Prefix)
		}
		n.offerLocked(s, client, now)
	}
	c := choice{slot: s, grant: n.grant(s, r, now)}
	if fresh && !has && p.mayProbe() {
		c.probe = true
		n.holdLocked(s)
	}
	return c, nil
}

// selectLocked picks the address for an offer, and changes nothing; fresh says that it is not known to be free of strangers.
func (n *network) selectLocked(r *Request, client string, now time.Time) (a ip4, fresh bool, err error) {
	if res := n.reservation(r); res != nil {
		a := number(res.Address)
		if n.availableLocked(n.slots[a], client, now) == nil {
			return a, false, nil
		}
	}
	if s := n.offers[client]; s != nil {
		return s.address, false, nil
	}
	if s := n.clients[client]; s != nil && s.dynamic && n.availableLocked(s, client, now) == nil {
		return s.address, true, nil
	}
	if asked := r.Address; asked.Is4() && n.contains(asked) && n.isDynamic(number(asked)) {
		s := n.slots[number(asked)]
		if (s == nil || s.busy == nil) && n.availableLocked(s, client, now) == nil {
			return number(asked), true, nil
		}
	}
	if a, found := n.freeLocked(); found {
		return a, true, nil
	}
	if n.size == 0 {
		return 0, false, silence("%v has no pool, and no reservation for this client", n.subnet.Prefix)
	}
	return 0, false, fault.New(fault.Unavailable, "all %d addresses of %v are taken", n.size, n.subnet.Prefix)
}

// replacedLocked returns the slot of the client's switch port if another client at the same port has it: a replaced machine must not
// wait for its predecessor's lease to end. It is nil otherwise.
func (n *network) replacedLocked(r *Request, client string, now time.Time) *slot {
	res := n.reservation(r)
	if res == nil || len(res.CircuitID) == 0 {
		return nil
	}
	s := n.slots[number(res.Address)]
	if s == nil || s.busy != nil || s.owner == client || s.offeredTo != "" || !s.lease.Live(now) {
		return nil
	}
	return s
}

// mayProbe counts a probe in. Without prober, and when too many are under way, there is none: an offer in time is worth more.
func (p *Pool) mayProbe() bool {
	if p.prober == nil {
		return false
	}
	if p.probing.Add(1) > MaxProbing {
		p.probing.Add(-1)
		p.metrics.unprobed.Inc()
		return false
	}
	return true
}

// probe asks for the address of a held slot without the lock, and lets the slot go. It reports whether the address is in use.
func (p *Pool) probe(ctx context.Context, n *network, s *slot) bool {
	inUse := p.prober.InUse(ctx, s.address.addr())
	p.probing.Add(-1)
	now := p.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if inUse {
		n.withdrawLocked(s)
		// Who answers may be the client that had the lease of a replaced machine: then it keeps it.
		if !s.lease.Live(now) {
			s.declinedUntil = now.Add(or(n.subnet.DeclineTime, DefaultDeclineTime))
			n.disownLocked(s)
		}
	}
	n.letGoLocked(s, now)
	return inUse
}

// Withdraw forgets what the client was offered: it chose another server.
func (p *Pool) Withdraw(r Request) {
	client, err := r.normalise()
	n := p.network(r.Link)
	if err != nil || n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.offers[client]; s != nil && s.busy == nil {
		n.withdrawLocked(s)
		n.settleLocked(s, p.now())
	}
}
