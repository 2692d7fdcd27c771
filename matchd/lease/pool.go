package lease

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// Options configure a [Pool].
type Options struct {
	Store    store.Store           // keeps the leases; required
	Subnets  []Subnet              // must not overlap
	Prober   Prober                // nil: nothing is probed
	Now      func() time.Time      // nil: time.Now
	Logger   *slog.Logger          // nil: discards
	Registry prometheus.Registerer // nil: no metrics
}

// Pool gives out the addresses of some subnets. It is safe for concurrent use.
type Pool struct{ opts Options }

// Open checks the subnets and loads the leases that the store holds. An error of kind Invalid names what is wrong with the subnets.
func Open(ctx context.Context, opts Options) (*Pool, error) { return &Pool{opts}, nil }

// Run sweeps what has expired until ctx ends. A pool that is not run still never gives an address twice.
func (p *Pool) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Subnet returns the configured subnet that contains addr, nil if there is none: we give no addresses there.
func (p *Pool) Subnet(addr netip.Addr) *Subnet { return nil }

// Offer reserves an address for the client for [OfferTime]. Repeating it gives the same address. An error of kind NotFound says
// that we have nothing to give to this client on its link: stay silent. One of kind Unavailable says that all addresses are taken: stay silent, tell the operator.
func (p *Pool) Offer(ctx context.Context, r Request) (Grant, error) {
	return Grant{}, fault.New(fault.NotFound, "not served")
}

// Commit makes the client's lease of r.Address durable, or extends it. Kinds of errors and what they ask for:
//
//   - Conflict: the client may not use the address, answer NAK;
//   - NotFound: we know nothing about client or address, stay silent;
//   - any other: the lease could not be kept, stay silent and tell the operator.
func (p *Pool) Commit(ctx context.Context, r Request) (Grant, error) {
	return Grant{}, fault.New(fault.NotFound, "not served")
}

// Withdraw forgets what the client was offered: it chose another server.
func (p *Pool) Withdraw(r Request) {}

// Release ends the client's lease of r.Address. It is NotFound if the client does not have it.
func (p *Pool) Release(ctx context.Context, r Request) error { return nil }

// Decline takes r.Address out of use for a while: the client found somebody there. It is NotFound if the client neither has the address nor was offered it.
func (p *Pool) Decline(ctx context.Context, r Request) error { return nil }

// Leases returns every lease in store order of addresses, expired and declined ones included.
func (p *Pool) Leases() []Lease { return nil }

// Find returns the live lease of addr.
func (p *Pool) Find(addr netip.Addr) (Lease, bool) { return Lease{}, false }
