package lease

import (
	"context"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Release ends the client's lease of r.Address; the client gets the address again if nobody needed it meanwhile. It is NotFound if
// the client does not have it.
func (p *Pool) Release(ctx context.Context, r Request) error {
	err := p.end(ctx, &r, Released)
	if err == nil {
		p.metrics.released.Inc()
	}
	return err
}

// Decline takes r.Address out of use for a while: the client found somebody there. It is NotFound if the client neither has
// the address nor was offered it.
func (p *Pool) Decline(ctx context.Context, r Request) error {
	err := p.end(ctx, &r, Declined)
	if err == nil {
		p.metrics.declined.Inc()
	}
	return err
}

// end makes the end of a lease durable.
func (p *Pool) end(ctx context.Context, r *Request, state State) error {
	client, err := r.normalise()
	if err != nil {
		return err
	}
	n := p.network(r.Address)
	if n == nil {
		return silence("no subnet of ours contains %v", r.Address)
	}
	for {
		s, busy, err := n.beginEnd(r, client, state, p.now())
		if err != nil {
			return err
		}
		if busy != nil {
			if err := wait(ctx, busy); err != nil {
				return err
			}
			continue
		}
		lease := n.ending(s, r, state, p.now())
		op, err := p.table.PutOp(lease.Address.String(), lease, store.Any())
		if err == nil {
			_, err = p.store.Apply(ctx, op)
		}
		n.finishEnd(s, lease, err, p.now())
		if err != nil {
			return fault.New(fault.Unavailable, "keeping the end of the lease of %v: %w", r.Address, err)
		}
		return nil
	}
}

// beginEnd holds the slot of an address if the client has a say in it, or returns a channel to wait for before asking again.
func (n *network) beginEnd(r *Request, client string, state State, now time.Time) (*slot, chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	s := n.slots[number(r.Address)]
	has := s != nil && s.owner == client && s.lease.Live(now)
	if !has && (s == nil || state != Declined || s.offeredTo != client) {
		return nil, nil, silence("%v is not the client's", r.Address)
	}
	if s.busy != nil {
		return nil, s.busy, nil
	}
	n.holdLocked(s)
	return s, nil, nil
}

// ending returns what is to be stored of a held slot.
func (n *network) ending(s *slot, r *Request, state State, now time.Time) Lease {
	now = now.UTC().Truncate(time.Millisecond)
	if state == Released {
		lease := s.lease
		lease.State, lease.Expires = Released, now
		return lease
	}
	lease := n.grant(s, r, now).Lease
	lease.State, lease.Expires = Declined, now.Add(or(n.subnet.DeclineTime, DefaultDeclineTime))
	return lease
}

// finishEnd takes over what is durable. What was declined is kept back even if that is not durable: somebody answers there.
func (n *network) finishEnd(s *slot, lease Lease, err error, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case lease.State == Declined:
		n.withdrawLocked(s)
		n.disownLocked(s)
		s.lease, s.declinedUntil = lease, lease.Expires
	case err == nil:
		s.lease = lease
	}
	n.letGoLocked(s, now)
}
