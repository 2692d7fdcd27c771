package lease_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/store"
)

func TestRunForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
		_, err := b.db.Apply(t.Context(),
			store.Op{Key: "lease/172.16.0.1", Value: []byte(`{"address":"172.16.0.1","mac":"52:54:00:00:00:01","state":"active","expires":"1999-01-01T10:00:00Z"}`)},
			store.Op{Key: "lease/172.16.0.2", Value: []byte(`{"address":"172.16.0.2","mac":"52:54:00:00:00:02","state":"active","expires":"2999-01-01T10:00:00Z"}`)},
		)
		if err != nil {
			t.Fatal(err)
		}
		b.opts.Now = time.Now
		b.restart()
		for i := range 3 {
			b.take(lease.Request{MAC: mac(i)})
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()

		want := func(when string, leases, records int) {
			t.Helper()
			synctest.Wait()
			stored, _, err := b.db.List(t.Context(), "")
			if err != nil || len(stored) != records || len(b.Leases()) != leases {
				t.Errorf("%s: %d leases and %d records, %v, want %d and %d", when, len(b.Leases()), len(stored), err, leases, records)
			}
		}
		want("at first, without the old lease of a former subnet", 3, 4)
		time.Sleep(lease.Retention)
		b.take(lease.Request{MAC: mac(1)})
		time.Sleep(lease.DefaultLeaseTime + lease.SweepInterval)
		want("when two are gone for long", 1, 2)
		wantAddr(t, "the one that came back", b.take(lease.Request{MAC: mac(1)}), "10.0.0.101")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// TestMovingLeavesNothingBehind: who moves to its reserved address gives up the former one, on disk too.
func TestMovingLeavesNothingBehind(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	b.take(lease.Request{MAC: mac(1)})
	s := small(t)
	s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(1)}}
	b.opts.Subnets = []lease.Subnet{s}
	b.restart()
	wantAddr(t, "at once", b.take(lease.Request{MAC: mac(1)}), "10.0.0.5")
	b.restart()
	if got := b.Leases(); len(got) != 1 || got[0].Address != addr("10.0.0.5") {
		t.Errorf("leases after moving: %+v", got)
	}
	wantAddr(t, "the former address", b.take(lease.Request{MAC: mac(2)}), "10.0.0.100")
}
