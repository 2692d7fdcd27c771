package lease_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

var (
	link  = netip.MustParseAddr("10.0.0.1")
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func ranges(t testing.TB, texts ...string) []lease.Range {
	t.Helper()
	var result []lease.Range
	for _, text := range texts {
		r, err := lease.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		result = append(result, r)
	}
	return result
}

// mac returns the address of test machine n.
func mac(n int) machine.MAC {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	return machine.MAC(fmt.Sprintf("52:54:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]))
}

// bench is a pool with its store and a clock that the test moves.
type bench struct {
	*lease.Pool
	t    testing.TB
	path string
	opts lease.Options
	db   *boltstore.Store

	mu  sync.Mutex
	now time.Time
}

// small is a subnet of ten dynamic addresses, 10.0.0.100 to .109.
func small(t testing.TB) lease.Subnet {
	return lease.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Pools: ranges(t, "10.0.0.100-10.0.0.109"), Authoritative: true}
}

func newBench(t testing.TB, opts lease.Options) *bench {
	t.Helper()
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "leases.db"), opts: opts, now: epoch}
	b.opts.Now = func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.now
	}
	b.start()
	t.Cleanup(func() { b.db.Close() })
	return b
}

func (b *bench) start() {
	b.t.Helper()
	var err error
	if b.db, err = boltstore.Open(b.path, boltstore.Options{Name: "leases", History: -1}); err != nil {
		b.t.Fatal(err)
	}
	opts := b.opts
	if opts.Store == nil {
		opts.Store = b.db
	}
	if b.Pool, err = lease.Open(context.Background(), opts); err != nil {
		b.t.Fatal(err)
	}
}

// restart loses what is only in memory.
func (b *bench) restart() {
	b.t.Helper()
	if err := b.db.Close(); err != nil {
		b.t.Fatal(err)
	}
	b.start()
}

func (b *bench) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// take goes through DISCOVER and REQUEST and returns the address.
func (b *bench) take(r lease.Request) netip.Addr {
	b.t.Helper()
	offer := b.offer(r)
	r.Address = offer
	return b.commit(r)
}

func (b *bench) offer(r lease.Request) netip.Addr {
	b.t.Helper()
	if !r.Link.IsValid() {
		r.Link = link
	}
	g, err := b.Offer(b.t.Context(), r)
	if err != nil {
		b.t.Fatalf("Offer(%+v): %v", r, err)
	}
	return g.Lease.Address
}

func (b *bench) commit(r lease.Request) netip.Addr {
	b.t.Helper()
	g, err := b.try(r)
	if err != nil {
		b.t.Fatalf("Commit(%+v): %v", r, err)
	}
	if found, ok := b.Find(g.Lease.Address); !ok || found != g.Lease {
		b.t.Errorf("Find = %+v, %v, want %+v", found, ok, g.Lease)
	}
	return g.Lease.Address
}

func (b *bench) try(r lease.Request) (lease.Grant, error) {
	if !r.Link.IsValid() {
		r.Link = link
	}
	return b.Commit(b.t.Context(), r)
}

func wantKind(t testing.TB, what string, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Errorf("%s: got error %v, want one of kind %v", what, err, want)
	}
}

func wantAddr(t testing.TB, what string, got netip.Addr, want string) {
	t.Helper()
	if got != addr(want) {
		t.Errorf("%s: got %v, want %s", what, got, want)
	}
}
