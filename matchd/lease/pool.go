package lease

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
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
type Pool struct {
	store    store.Store
	table    store.Table[Lease]
	prober   Prober
	now      func() time.Time
	logger   *slog.Logger
	metrics  *metrics
	networks []*network
	probing  atomic.Int32
	strays   []string // ids of stored leases that are in no subnet any more and over; Run deletes them
}

// keyPrefix is what the keys of stored leases start with; the address follows.
const keyPrefix = "lease/"

// Open checks the subnets and loads the leases that the store holds. An error of kind Invalid names what is wrong with the subnets.
// A stored lease that cannot be decoded is logged and left out; its address is not given away for as long as a lease lasts.
func Open(ctx context.Context, opts Options) (*Pool, error) {
	p := &Pool{
		store: opts.Store, table: store.NewTable[Lease](opts.Store, keyPrefix),
		prober: opts.Prober, now: opts.Now, logger: opts.Logger,
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	for i, s := range slices.Clone(opts.Subnets) {
		if err := s.Check(); err != nil {
			return nil, err
		}
		for _, other := range opts.Subnets[:i] {
			if s.Prefix.Overlaps(other.Prefix) {
				return nil, fault.New(fault.Invalid, "subnets %v and %v overlap", other.Prefix, s.Prefix)
			}
		}
		p.networks = append(p.networks, newNetwork(&s))
	}
	if err := p.load(ctx); err != nil {
		return nil, fmt.Errorf("loading leases: %w", err)
	}
	var err error
	if p.metrics, err = newMetrics(p, opts.Registry); err != nil {
		return nil, fmt.Errorf("registering metrics of leases: %w", err)
	}
	return p, nil
}

func (p *Pool) load(ctx context.Context) error {
	listing, err := p.table.List(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	for _, problem := range listing.Problems {
		p.logger.Error("a stored lease cannot be read; its address is kept back", "key", problem.Key, "error", problem.Err)
		p.keepBack(problem.Key, now)
	}
	// By expiry, so that the addresses whose clients are gone for longest are reused first.
	slices.SortStableFunc(listing.Rows, func(a, b store.Row[Lease]) int { return a.Value.Expires.Compare(b.Value.Expires) })
	for _, row := range listing.Rows {
		p.restore(row, now)
	}
	return nil
}

// keepBack quarantines the address of a record that cannot be read: somebody may be using it.
func (p *Pool) keepBack(key string, now time.Time) {
	id, _ := p.table.ID(key)
	addr, err := netip.ParseAddr(id)
	if err != nil {
		return
	}
	if n := p.network(addr); n != nil {
		s := n.slotLocked(number(addr))
		s.declinedUntil = now.Add(or(n.subnet.LeaseTime, DefaultLeaseTime))
		n.settleLocked(s, now)
	}
}

func (p *Pool) restore(row store.Row[Lease], now time.Time) {
	l := row.Value
	n := p.network(l.Address)
	if n == nil || row.ID != l.Address.String() {
		if !l.Live(now) {
			p.strays = append(p.strays, row.ID)
		}
		return
	}
	s := n.slotLocked(number(l.Address))
	if l.State == Declined {
		s.lease, s.declinedUntil = l, l.Expires
		n.settleLocked(s, now)
		return
	}
	client, err := l.client()
	if err != nil {
		p.logger.Error("a stored lease names no client; its address is kept back", "address", l.Address, "error", err)
		s.declinedUntil = l.Expires
		n.settleLocked(s, now)
		return
	}
	s.lease, s.owner = l, client
	n.clients[client] = s // the last of several to expire
	n.settleLocked(s, now)
}

// client returns what the lease's client is known by.
func (l *Lease) client() (string, error) {
	id, err := hex.DecodeString(l.ClientID)
	if err != nil {
		return "", fault.New(fault.Invalid, "client id %q: %w", l.ClientID, err)
	}
	r := Request{MAC: l.MAC, ClientID: id}
	return r.client()
}

// network returns the network that an address is in, nil if there is none.
func (p *Pool) network(addr netip.Addr) *network {
	if !addr.Is4() {
		return nil
	}
	for _, n := range p.networks {
		if n.contains(addr) {
			return n
		}
	}
	return nil
}

// Subnet returns the configured subnet that contains addr, nil if there is none: we give no addresses there.
func (p *Pool) Subnet(addr netip.Addr) *Subnet {
	if n := p.network(addr.Unmap()); n != nil {
		return n.subnet
	}
	return nil
}

// Find returns the live lease of addr.
func (p *Pool) Find(addr netip.Addr) (Lease, bool) {
	addr = addr.Unmap()
	n := p.network(addr)
	if n == nil {
		return Lease{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.slots[number(addr)]
	if s == nil || !s.lease.Live(p.now()) {
		return Lease{}, false
	}
	return s.lease, true
}

// Leases returns every lease that is remembered, sorted by address. Those that are over are included, see [Lease.Live].
func (p *Pool) Leases() []Lease {
	var leases []Lease
	for _, n := range p.networks {
		n.mu.Lock()
		for _, s := range n.slots {
			if s.lease.State != "" {
				leases = append(leases, s.lease)
			}
		}
		n.mu.Unlock()
	}
	slices.SortFunc(leases, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return leases
}

// Stats tells how the dynamic addresses of a subnet are used. Free is Size without the other three.
type Stats struct {
	Prefix   netip.Prefix
	Size     int // addresses in the pools without excluded and reserved ones
	Free     int
	Offered  int
	Active   int
	Declined int
	Reserved int // reservations, wherever they are
}

// Stats returns the use of each subnet, sorted by prefix.
func (p *Pool) Stats() []Stats {
	stats := make([]Stats, 0, len(p.networks))
	now := p.now()
	for _, n := range p.networks {
		n.mu.Lock()
		n.expireLocked(now)
		s := Stats{
			Prefix: n.subnet.Prefix, Size: n.size, Reserved: len(n.reserved.Load().byClient),
			Offered: n.count[offered], Active: n.count[active], Declined: n.count[declined],
		}
		n.mu.Unlock()
		s.Free = s.Size - s.Offered - s.Active - s.Declined
		stats = append(stats, s)
	}
	slices.SortFunc(stats, func(a, b Stats) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return stats
}

// known reports whether the client has or had an address anywhere, or is offered one.
func (p *Pool) known(client string) bool {
	for _, n := range p.networks {
		n.mu.Lock()
		known := n.clients[client] != nil || n.offers[client] != nil
		n.mu.Unlock()
		if known {
			return true
		}
	}
	return false
}

// wait blocks until a busy slot changes no more.
func wait(ctx context.Context, busy <-chan struct{}) error {
	select {
	case <-busy:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "waiting for another request of the same address: %w", ctx.Err())
	}
}

func hexadecimal(id []byte) string {
	if len(id) == 0 {
		return ""
	}
	return hex.EncodeToString(id)
}

// cleanHostname keeps of what a client calls itself only what can be in a hostname.
func cleanHostname(name string) string {
	if len(name) > MaxHostname {
		name = name[:MaxHostname]
	}
	if strings.IndexFunc(name, notInHostname) < 0 {
		return name
	}
	return strings.Map(func(r rune) rune {
		if notInHostname(r) {
			return -1
		}
		return r
	}, name)
}

func notInHostname(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
		return false
	}
	return true
}

// silence is the verdict for a client that somebody else may know better.
func silence(format string, args ...any) error { return fault.New(fault.NotFound, format, args...) }

// nak is the verdict for a client that must not use the address it asks for.
func nak(format string, args ...any) error { return fault.New(fault.Conflict, format, args...) }
