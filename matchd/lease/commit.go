package lease

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Commit makes the client's lease of r.Address durable, or extends it. Kinds of errors and what they ask for:
//
//   - Conflict: the client may not use the address, answer NAK;
//   - NotFound: we know nothing about client or address, stay silent;
//   - any other: the lease could not be kept, stay silent and tell the operator.
func (p *Pool) Commit(ctx context.Context, r Request) (Grant, error) {
	grant, err := p.commit(ctx, &r)
	if err != nil {
		p.metrics.failed(err)
		return Grant{}, err
	}
	p.metrics.granted.Inc()
	return grant, nil
}

func (p *Pool) commit(ctx context.Context, r *Request) (Grant, error) {
	client, err := r.normalise()
	if err != nil {
		return Grant{}, err
	}
	n := p.networkOf(r)
	switch {
	case n == nil:
		return Grant{}, silence("no subnet of ours contains %v", r.Link)
	case !n.contains(r.Address):
		return Grant{}, p.foreign(n, r, client)
	}
	for {
		w, busy, err := p.begin(n, r, client)
		if err != nil {
			return Grant{}, err
		}
		if busy != nil {
			if err := wait(ctx, busy); err != nil {
				return Grant{}, err
			}
			continue
		}
		_, err = p.store.Apply(ctx, w.ops...)
		p.finish(w, err)
		if err != nil {
			return Grant{}, fault.New(fault.Unavailable, "keeping the lease of %v: %w", r.Address, err)
		}
		return w.grant, nil
	}
}

// networkOf returns the network that a request is about. A renewing client's packet was routed to us, so only its address tells.
func (p *Pool) networkOf(r *Request) *network {
	if r.Kind == Renewing {
		if n := p.network(r.Address); n != nil {
			return n
		}
	}
	return p.network(r.Link)
}

// foreign is the verdict for an address that does not belong on the client's network.
func (p *Pool) foreign(n *network, r *Request, client string) error {
	if r.Kind == Selecting || n.subnet.Authoritative || p.known(client) {
		return nak("%v does not belong to %v", r.Address, n.subnet.Prefix)
	}
	return silence("%v does not belong to %v, and we do not know the client", r.Address, n.subnet.Prefix)
}

// write is a change of a slot's lease that is about to be made durable.
type write struct {
	network   *network
	slot, old *slot // both held; old is the client's former address, nil if there is none
	client    string
	lease     Lease
	grant     Grant
	ops       []store.Op
}

// begin decides about the request and, if the client may have the address, holds its slots. When one of them is busy, it returns
// a channel to wait for before beginning again.
func (p *Pool) begin(n *network, r *Request, client string) (*write, chan struct{}, error) {
	now := p.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	s, err := n.decideLocked(r, client, now)
	if err != nil {
		return nil, nil, err
	}
	w := &write{network: n, slot: s, client: client, grant: n.grant(s, r, now)}
	if old := n.clients[client]; old != nil && old != s {
		w.old = old
	}
	switch {
	case s.busy != nil:
		return nil, s.busy, nil
	case w.old != nil && w.old.busy != nil:
		return nil, w.old.busy, nil
	}
	w.lease = w.grant.Lease
	if s.owner == client && s.lease.Live(now) {
		w.lease.Start = s.lease.Start
		w.grant.Lease = w.lease
	}
	op, err := p.table.PutOp(s.address.addr().String(), w.lease, store.Any())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a lease: %w", err)
	}
	w.ops = append(w.ops, op)
	if w.old != nil {
		w.ops = append(w.ops, p.table.DeleteOp(w.old.address.addr().String(), store.Any()))
		n.holdLocked(w.old)
	}
	if s.offeredTo != client && !(s.owner == client && s.lease.Live(now)) {
		n.offerLocked(s, client, now) // so that nobody else takes it while it is written
	}
	n.holdLocked(s)
	return w, nil, nil
}

// finish takes over what is durable now, or with an error leaves everything as it was, and lets the slots go.
func (p *Pool) finish(w *write, err error) {
	n, s, now := w.network, w.slot, p.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		if w.old != nil {
			n.disownLocked(w.old)
		}
		if s.owner != w.client {
			n.disownLocked(s)
		}
		if s.offeredTo != "" {
			n.withdrawLocked(s)
		}
		s.owner, s.lease = w.client, w.lease
		n.clients[w.client] = s
	}
	if w.old != nil {
		n.letGoLocked(w.old, now)
	}
	n.letGoLocked(s, now)
}

// decideLocked returns the slot of the address that the client may have, or the verdict (RFC 2131 section 4.3.2).
func (n *network) decideLocked(r *Request, client string, now time.Time) (*slot, error) {
	a := number(r.Address)
	own := n.clients[client]
	unknown := own == nil && n.offers[client] == nil && !n.subnet.Authoritative && r.Kind != Selecting
	reservedFor := n.reservedFor(a)
	if reservedFor == nil && !n.isDynamic(a) && n.slots[a] == nil {
		return nil, n.verdict(unknown, r.Address, "is not one that we give")
	}
	mine := n.reservation(r)
	if reservedFor != nil && reservedFor != mine {
		return nil, nak("%v is reserved for another client", r.Address)
	}
	s := n.slotLocked(a)
	if err := n.availableLocked(s, client, now); err != nil {
		return nil, err
	}
	if reservedFor == nil && !s.dynamic {
		return nil, n.verdict(unknown, r.Address, "is not one that we give any more")
	}
	if mine != nil && mine != reservedFor && n.availableLocked(n.slotLocked(number(mine.Address)), client, now) == nil {
		return nil, nak("%v is not the client's: %v is reserved for it", r.Address, mine.Address)
	}
	if r.Kind == Selecting || own == s {
		return s, nil
	}
	if own != nil && (own.lease.Live(now) || !n.subnet.Authoritative) {
		return nil, nak("%v is not the client's: it has or had %v", r.Address, own.address.addr())
	}
	if unknown {
		return nil, silence("%v is free, but we do not know the client and are not the only server", r.Address)
	}
	return s, nil
}

func (n *network) verdict(unknown bool, addr netip.Addr, reason string) error {
	if unknown {
		return silence("%v %s, and we do not know the client", addr, reason)
	}
	return nak("%v %s", addr, reason)
}
