package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/matchd/matchd/matchd/store"
)

// sweepBatch is the number of forgotten leases that are deleted in one commit.
const sweepBatch = 1000

// Run sweeps until ctx ends, and returns nil then. A pool that is not run still never gives an address twice: it only keeps what
// it could forget.
func (p *Pool) Run(ctx context.Context) error {
	ticker := time.NewTicker(SweepInterval)
	defer ticker.Stop()
	for {
		if err := p.sweep(ctx); err != nil && ctx.Err() == nil {
			p.logger.Error("sweeping leases failed, will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sweep notices what has expired, and forgets clients that are gone for longer than [Retention].
func (p *Pool) sweep(ctx context.Context) error {
	if len(p.strays) > 0 {
		ops := make([]store.Op, 0, sweepBatch)
		for _, id := range p.strays[:min(len(p.strays), sweepBatch)] {
			ops = append(ops, p.table.DeleteOp(id, store.Any()))
		}
		if _, err := p.store.Apply(ctx, ops...); err != nil {
			return fmt.Errorf("deleting leases of former subnets: %w", err)
		}
		p.strays = p.strays[len(ops):]
	}
	for _, n := range p.networks {
		gone := n.holdGone(p.now())
		if len(gone) == 0 {
			continue
		}
		ops := make([]store.Op, len(gone))
		for i, s := range gone {
			ops[i] = p.table.DeleteOp(s.address.addr().String(), store.Any())
		}
		_, err := p.store.Apply(ctx, ops...)
		n.forget(gone, err, p.now())
		if err != nil {
			return fmt.Errorf("deleting old leases of %v: %w", n.subnet.Prefix, err)
		}
	}
	return nil
}

// holdGone holds the slots of clients that are gone for good.
func (n *network) holdGone(now time.Time) []*slot {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expireLocked(now)
	var gone []*slot
	for front := n.used.Front(); front != nil && len(gone) < sweepBatch; front = n.used.Front() {
		s := front.Value.(*slot)
		if now.Sub(s.lease.Expires) < Retention {
			break // the list begins with those gone for longest
		}
		n.holdLocked(s)
		gone = append(gone, s)
	}
	return gone
}

func (n *network) forget(gone []*slot, err error, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range gone {
		if err == nil {
			n.disownLocked(s)
		}
		n.letGoLocked(s, now)
	}
}
