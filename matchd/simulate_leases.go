package matchd

import (
	"context"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
)

// previewed gives one machine the address that the pool would give it, and takes none out of the pool. It implements [dhcp.Addresser].
type previewed struct {
	pool  *lease.Pool
	grant *lease.Grant // nil: nothing was offered yet
}

// Offer returns what the pool would offer; the second time, as of a machine that has its lease by now, the same.
func (p *previewed) Offer(_ context.Context, r lease.Request) (lease.Grant, error) {
	if p.grant != nil {
		return *p.grant, nil
	}
	grant, err := p.pool.Preview(r)
	if err != nil {
		return lease.Grant{}, err
	}
	p.grant = &grant
	return grant, nil
}

// Commit grants what was offered.
func (p *previewed) Commit(_ context.Context, r lease.Request) (lease.Grant, error) {
	if p.grant == nil || r.Address != p.grant.Lease.Address {
		return lease.Grant{}, fault.New(fault.Conflict, "%v was not offered", r.Address)
	}
	return *p.grant, nil
}

// Withdraw forgets the offer: the machine took another server's.
func (p *previewed) Withdraw(lease.Request) { p.grant = nil }

// Release changes nothing.
func (p *previewed) Release(context.Context, lease.Request) error { return nil }

// Decline changes nothing.
func (p *previewed) Decline(context.Context, lease.Request) error { return nil }

// noLeases is what a server has that gives no addresses.
type noLeases struct{}

// Leases implements [rpc.Leases].
func (noLeases) Leases() []lease.Lease { return nil }
