package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/store"
)

// proberFunc is a Prober.
type proberFunc func(context.Context, netip.Addr) bool

func (f proberFunc) InUse(ctx context.Context, a netip.Addr) bool { return f(ctx, a) }

func TestProbe(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	inUse := map[string]bool{"10.0.0.100": true, "10.0.0.101": true}
	s := small(t)
	s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(9)}, {Address: addr("10.0.0.6"), CircuitID: []byte("p")}}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{s}, Prober: proberFunc(func(_ context.Context, a netip.Addr) bool {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, a.String())
		return inUse[a.String()]
	})})
	want := func(what, probed string) {
		t.Helper()
		if got := strings.Join(asked, " "); got != probed {
			t.Errorf("%s: probed %q, want %q", what, got, probed)
		}
		asked = nil
	}
	wantAddr(t, "a new client", b.offer(lease.Request{MAC: mac(1)}), "10.0.0.102")
	want("a new client", "10.0.0.100 10.0.0.101 10.0.0.102")
	wantAddr(t, "again", b.take(lease.Request{MAC: mac(1)}), "10.0.0.102")
	wantAddr(t, "the owner", b.take(lease.Request{MAC: mac(1)}), "10.0.0.102")
	wantAddr(t, "a reserved address", b.take(lease.Request{MAC: mac(9)}), "10.0.0.5")
	want("known ones", "")
	if got := b.Stats()[0].Declined; got != 2 {
		t.Errorf("%d addresses kept back, want 2", got)
	}
	b.take(lease.Request{MAC: mac(20), CircuitID: []byte("p")})
	inUse["10.0.0.6"] = true
	wantAddr(t, "at the port of a machine that is alive", b.take(lease.Request{MAC: mac(21), CircuitID: []byte("p")}), "10.0.0.103")
	want("at the port of a machine that is alive", "10.0.0.6 10.0.0.103")
	wantAddr(t, "the machine that is alive", b.commit(lease.Request{Kind: lease.Renewing, MAC: mac(20), CircuitID: []byte("p"), Address: addr("10.0.0.6")}), "10.0.0.6")
	for i := range 10 {
		inUse[fmt.Sprintf("10.0.0.%d", 100+i)] = true
	}
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(30), Link: link})
	wantKind(t, "everything answers", err, fault.Unavailable)
}

// TestProbeHoldsNothingUp: while one address is probed, others are given out, and a repeated DISCOVER waits for the same.
func TestProbeHoldsNothingUp(t *testing.T) {
	probing, proceed := make(chan netip.Addr), make(chan struct{})
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}, Prober: proberFunc(func(_ context.Context, a netip.Addr) bool {
		if a == addr("10.0.0.100") {
			probing <- a
			<-proceed
		}
		return false
	})})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { wantAddr(t, "slow", b.offer(lease.Request{MAC: mac(1)}), "10.0.0.100") })
	}
	<-probing
	wantAddr(t, "beside", b.take(lease.Request{MAC: mac(2)}), "10.0.0.101")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Offer(ctx, lease.Request{MAC: mac(1), Link: link})
	wantKind(t, "given up waiting", err, fault.Unavailable)
	close(proceed)
	wg.Wait()
}

// brokenStore fails to apply while it is told to.
type brokenStore struct {
	store.Store
	broken bool
}

func (s *brokenStore) Apply(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if s.broken {
		return 0, errors.New("disk full")
	}
	return s.Store.Apply(ctx, ops...)
}

func TestStoreFails(t *testing.T) {
	b := newBench(t, lease.Options{})
	s := &brokenStore{Store: b.db, broken: true}
	pool, err := lease.Open(t.Context(), lease.Options{Store: s, Subnets: []lease.Subnet{small(t)}, Now: b.opts.Now})
	if err != nil {
		t.Fatal(err)
	}
	b.Pool = pool
	r := lease.Request{MAC: mac(1), Address: b.offer(lease.Request{MAC: mac(1)})}
	_, err = b.try(r)
	wantKind(t, "not kept", err, fault.Unavailable)
	if _, ok := b.Find(r.Address); ok {
		t.Error("what is not kept is a lease")
	}
	s.broken = false
	b.commit(r)
	s.broken = true
	wantKind(t, "release", b.Release(t.Context(), r), fault.Unavailable)
	if _, ok := b.Find(r.Address); !ok {
		t.Error("a release that is not kept ended the lease")
	}
	wantKind(t, "decline", b.Decline(t.Context(), r), fault.Unavailable)
	s.broken = false
	if got := b.take(lease.Request{MAC: mac(2), Address: r.Address}); got == r.Address {
		t.Error("a declined address was given away")
	}
}
