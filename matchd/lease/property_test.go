package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

const (
	propertySeeds = 6
	propertySteps = 500
	clients       = 14 // for ten dynamic and two reserved addresses
)

// tenure is what a client believes that it may use.
type tenure struct {
	address netip.Addr
	until   time.Time
}

// world is what all clients believe, which a pool must keep from contradicting itself.
type world struct {
	*bench
	random *rand.Rand
	has    map[int]tenure
	offers map[int]netip.Addr
	log    []string
}

// TestNoAddressTwice: whatever clients do and whenever the daemon restarts, no two of them may use one address at the same time,
// and what was acknowledged is remembered.
func TestNoAddressTwice(t *testing.T) {
	for seed := range uint64(propertySeeds) {
		s := small(t)
		s.Authoritative = seed%2 == 0
		s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(1)}, {Address: addr("10.0.0.103"), MAC: mac(2)}}
		random := rand.New(rand.NewPCG(seed, 1))
		opts := lease.Options{Subnets: []lease.Subnet{s}}
		if seed%3 == 0 {
			opts.Prober = proberFunc(func(context.Context, netip.Addr) bool { return random.IntN(20) == 0 })
		}
		w := &world{bench: newBench(t, opts), random: random, has: map[int]tenure{}, offers: map[int]netip.Addr{}}
		for range propertySteps {
			w.step()
			w.check()
			if t.Failed() {
				for _, line := range w.log[max(0, len(w.log)-30):] {
					t.Log(line)
				}
				t.Fatalf("with seed %d", seed)
			}
		}
	}
}

func (w *world) step() {
	client := w.random.IntN(clients)
	r := lease.Request{MAC: mac(client), Link: link, Firmware: w.random.IntN(3) == 0}
	switch w.random.IntN(12) {
	case 0, 1, 2:
		if w.random.IntN(3) == 0 {
			r.Address = w.anyAddress()
		}
		g, err := w.Offer(w.t.Context(), r)
		w.note("%d offer: %v, %v", client, g.Lease.Address, err)
		if err == nil {
			w.offers[client] = g.Lease.Address
		}
	case 3, 4, 5:
		r.Address = w.offers[client]
		w.request(client, r)
	case 6, 7:
		r.Kind = lease.Kind(1 + w.random.IntN(3))
		if r.Address = w.has[client].address; !r.Address.IsValid() || w.random.IntN(4) == 0 {
			r.Address = w.anyAddress()
		}
		w.request(client, r)
	case 8:
		r.Address = w.has[client].address
		err := w.Release(w.t.Context(), r)
		w.note("%d release %v: %v", client, r.Address, err)
		if _, live := w.Find(r.Address); live && err == nil {
			w.t.Errorf("client %d released %v and has it still", client, r.Address)
		}
		delete(w.has, client)
	case 9:
		if r.Address = w.offers[client]; w.random.IntN(3) == 0 {
			w.note("%d decline %v: %v", client, r.Address, w.Decline(w.t.Context(), r))
			delete(w.offers, client)
			delete(w.has, client)
		}
	case 10:
		w.pass()
	case 11:
		if w.random.IntN(5) == 0 {
			before := w.live()
			w.restart()
			w.note("restart")
			if diff := cmp.Diff(before, w.live(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				w.t.Errorf("restarting changed leases (-before +after):\n%s", diff)
			}
		}
	}
}

func (w *world) pass() {
	steps := [...]time.Duration{time.Second, lease.OfferTime, lease.DefaultFirmwareLeaseTime / 2, lease.DefaultLeaseTime / 3, lease.DefaultLeaseTime}
	d := steps[w.random.IntN(len(steps))]
	w.advance(d)
	w.note("%v pass", d)
	for client, tenure := range w.has {
		if !w.opts.Now().Before(tenure.until) {
			delete(w.has, client)
		}
	}
}

// request believes an ACK, and gives up on a NAK.
func (w *world) request(client int, r lease.Request) {
	g, err := w.Commit(w.t.Context(), r)
	w.note("%d request of kind %d for %v: %v", client, r.Kind, r.Address, err)
	switch {
	case err == nil:
		if g.Lease.Address != r.Address {
			w.t.Errorf("client %d asked for %v and got %v", client, r.Address, g.Lease.Address)
		}
		w.has[client] = tenure{g.Lease.Address, w.opts.Now().Add(g.Time)}
	case fault.Is(err, fault.Conflict) && r.Kind != lease.Selecting && r.Address == w.has[client].address:
		delete(w.has, client)
	}
}

func (w *world) anyAddress() netip.Addr {
	all := [...]string{"10.0.0.5", "10.0.0.6", "10.0.0.100", "10.0.0.101", "10.0.0.103", "10.0.0.107", "10.0.0.109", "192.168.1.1"}
	return addr(all[w.random.IntN(len(all))])
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *world) live() []lease.Lease {
	return slices.DeleteFunc(w.Leases(), func(l lease.Lease) bool { return !l.Live(w.opts.Now()) })
}

func (w *world) check() {
	w.t.Helper()
	users := map[netip.Addr]int{}
	for client, tenure := range w.has {
		if other, taken := users[tenure.address]; taken {
			w.t.Errorf("clients %d and %d both have %v", client, other, tenure.address)
		}
		users[tenure.address] = client
		l, ok := w.Find(tenure.address)
		if !ok || l.MAC != mac(client) || l.Expires.Before(tenure.until.Truncate(time.Millisecond)) {
			w.t.Errorf("client %d has %v until %v, the pool says %+v, %v", client, tenure.address, tenure.until, l, ok)
		}
	}
	s := w.Stats()[0]
	live, of := 0, map[machine.MAC]netip.Addr{}
	for _, l := range w.live() {
		if other, has := of[l.MAC]; has {
			w.t.Errorf("%v has %v and %v", l.MAC, other, l.Address)
		}
		if of[l.MAC] = l.Address; !l.Reserved {
			live++
		}
	}
	if s.Size != 9 || s.Free < 0 || s.Active != live {
		w.t.Errorf("%d live leases, Stats = %+v", live, s)
	}
}

// TestConcurrentClients: clients in parallel, retransmissions included, for fewer addresses than clients.
func TestConcurrentClients(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}, Prober: proberFunc(func(context.Context, netip.Addr) bool { return false })})
	var mu sync.Mutex
	users := map[netip.Addr]int{}
	var wg sync.WaitGroup
	for client := range clients {
		for copies := range 2 {
			wg.Go(func() {
				for i := range 15 {
					r := lease.Request{MAC: mac(client), Link: link}
					g, err := b.Offer(t.Context(), r)
					if err != nil {
						continue
					}
					r.Address = g.Lease.Address
					if g, err = b.Commit(t.Context(), r); err != nil {
						continue
					}
					mu.Lock()
					if other, taken := users[r.Address]; taken && other != client {
						t.Errorf("clients %d and %d have %v", client, other, r.Address)
					}
					users[r.Address] = client
					mu.Unlock()
					if copies == 0 && i%5 == 4 {
						r.Kind = lease.Renewing
						if _, err := b.Commit(t.Context(), r); err != nil {
							t.Errorf("renewing: %v", err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	if len(users) != 10 {
		t.Errorf("%d addresses are used, want 10", len(users))
	}
	before := b.Leases()
	b.restart()
	if after := b.Leases(); len(after) != len(before) {
		t.Errorf("%d leases before a restart, %d after", len(before), len(after))
	}
}
