package lease_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
)

func TestReserveWhileRunning(t *testing.T) {
	subnet := small(t)
	subnet.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(50)}}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{subnet}})
	one := lease.Reservation{Address: addr("10.0.0.6"), MAC: mac(1), Hostname: "n1"}
	two := lease.Reservation{Address: addr("10.0.0.101"), MAC: mac(2)} // of the pool
	wantAddr(t, "before", b.take(lease.Request{MAC: mac(1)}), "10.0.0.100")
	for _, list := range [][]lease.Reservation{{one, two}} {
		if err := b.CheckReservations(list); err != nil {
			t.Fatal(err)
		}
		if errs := b.Reserve(list); errs != nil {
			t.Fatal(errs)
		}
	}
	if found, live := b.Find(addr("10.0.0.100")); !live || found.MAC != mac(1) {
		t.Error("a lease ended when its client got a reservation")
	}
	wantAddr(t, "another client passes over what is reserved", b.take(lease.Request{MAC: mac(9)}), "10.0.0.102")
	wantAddr(t, "the client asks again", b.take(lease.Request{MAC: mac(1)}), "10.0.0.6")
	wantAddr(t, "the second one", b.take(lease.Request{MAC: mac(2)}), "10.0.0.101")
	if stats := b.Stats()[0]; stats.Reserved != 3 || stats.Active != 1 {
		t.Errorf("stats: %+v", stats)
	}

	b.Reserve([]lease.Reservation{one})
	if found, live := b.Find(addr("10.0.0.101")); !live || found.MAC != mac(2) {
		t.Error("a lease ended with its reservation")
	}
	wantAddr(t, "what was reserved stays its client's", b.take(lease.Request{MAC: mac(2)}), "10.0.0.101")
	if stats := b.Stats()[0]; stats.Reserved != 2 || stats.Active != 2 {
		t.Errorf("stats after taking one back: %+v", stats)
	}
	b.Reserve(nil)
	b.restart()
	wantAddr(t, "the configured one", b.take(lease.Request{MAC: mac(50)}), "10.0.0.5")
}

func TestCheckReservations(t *testing.T) {
	subnet := small(t)
	subnet.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(50)}}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{subnet}})
	wantAddr(t, "a lease", b.take(lease.Request{MAC: mac(7)}), "10.0.0.100")
	tests := []struct {
		name string
		list []lease.Reservation
		kind fault.Kind
		want string
	}{
		{"foreign", []lease.Reservation{{Address: addr("10.9.0.1"), MAC: mac(1)}}, fault.Invalid, "10.9.0.1 cannot be reserved: this server gives addresses of 10.0.0.0/24"},
		{"broadcast", []lease.Reservation{{Address: addr("10.0.0.255"), MAC: mac(1)}}, fault.Invalid, "10.0.0.255 cannot be reserved: it is the network's or the broadcast address of 10.0.0.0/24"},
		{"nobody", []lease.Reservation{{Address: addr("10.0.0.9")}}, fault.Invalid, "the reservation of 10.0.0.9: mac: exactly one of mac, client_id and circuit_id names the client"},
		{"configured address", []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(1)}}, fault.Conflict,
			"10.0.0.5 is reserved already, for MAC " + mac(50).String() + ", by the daemon's configuration"},
		{"configured client", []lease.Reservation{{Address: addr("10.0.0.6"), MAC: mac(50)}}, fault.Conflict,
			"10.0.0.6 cannot be reserved for MAC " + mac(50).String() + ": the daemon's configuration gives it 10.0.0.5"},
		{"client twice", []lease.Reservation{{Address: addr("10.0.0.6"), MAC: mac(1)}, {Address: addr("10.0.0.7"), MAC: mac(1)}}, fault.Conflict,
			"10.0.0.7 cannot be reserved for MAC " + mac(1).String() + ": the reservation of 10.0.0.6 gives it 10.0.0.6"},
		{"somebody has it", []lease.Reservation{{Address: addr("10.0.0.100"), MAC: mac(1)}}, fault.Conflict,
			"10.0.0.100 cannot be reserved: MAC " + mac(7).String() + " has a lease of it until " + epoch.Add(lease.DefaultLeaseTime).Format(time.RFC3339) + "; let it end, or choose another address"},
		{"the client itself has it", []lease.Reservation{{Address: addr("10.0.0.100"), MAC: mac(7)}}, fault.Internal, ""},
		{"a port's", []lease.Reservation{{Address: addr("10.0.0.100"), CircuitID: []byte("p1")}}, fault.Internal, ""},
		{"in order", []lease.Reservation{{Address: addr("10.0.0.6"), MAC: mac(1)}, {Address: addr("10.0.0.7"), ClientID: []byte{1}}}, fault.Internal, ""},
	}
	for _, tc := range tests {
		err := b.CheckReservations(tc.list)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want || err != nil && !fault.Is(err, tc.kind) {
			t.Errorf("%s: got %q (%v), want %q (%v)", tc.name, got, fault.KindOf(err), tc.want, tc.kind)
		}
		if errs := b.Reserve(tc.list); tc.kind == fault.Internal && errs != nil {
			t.Errorf("%s: %v", tc.name, errs)
		}
	}
	if errs := b.Reserve([]lease.Reservation{{Address: addr("10.9.0.1"), MAC: mac(1)}, {Address: addr("10.0.0.6"), MAC: mac(1)}}); len(errs) != 1 {
		t.Errorf("one of two fits: %v", errs)
	}
	wantAddr(t, "the one that fits", b.take(lease.Request{MAC: mac(1)}), "10.0.0.6")
}

// TestReservingAtRandom changes reservations while clients come and go. No address is given twice, none of another client's reservations is given, and
// what is counted stays what is there.
func TestReservingAtRandom(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		switch r.IntN(4) {
		case 0:
			var list []lease.Reservation
			for i := range r.IntN(4) {
				list = append(list, lease.Reservation{Address: addr(fmt.Sprint("10.0.0.", 100+r.IntN(6))), MAC: mac(i)})
			}
			b.Reserve(list)
		case 1:
			b.advance(time.Duration(r.IntN(20)) * time.Hour)
		default:
			grant, err := b.Offer(t.Context(), lease.Request{MAC: mac(r.IntN(6)), Link: link})
			if err != nil {
				continue
			}
			_, _ = b.try(lease.Request{MAC: grant.Lease.MAC, Link: link, Address: grant.Lease.Address})
		}
		owners := map[string]string{}
		live := 0
		for _, l := range b.Leases() {
			if !l.Live(b.opts.Now()) {
				continue
			}
			live++
			if other, twice := owners[l.MAC.String()]; twice {
				t.Fatalf("%s has %s and %s", l.MAC, other, l.Address)
			}
			owners[l.MAC.String()] = l.Address.String()
		}
		stats := b.Stats()[0]
		if stats.Free < 0 || stats.Active > live || stats.Size < 0 {
			t.Fatalf("stats %+v with %d live leases", stats, live)
		}
	}
}
