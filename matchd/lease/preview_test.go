package lease_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
)

// TestPreviewIsTheNextOffer asks both at every turn of a random life of a pool: the preview names what is offered right after it, and leaves nothing
// behind, however often it is asked.
func TestPreviewIsTheNextOffer(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	random := rand.New(rand.NewPCG(1, 2))
	for turn := range 2000 {
		r := lease.Request{MAC: mac(random.IntN(9)), Link: link, Firmware: random.IntN(2) == 0}
		if random.IntN(4) == 0 {
			r.Address = addr("10.0.0.100")
		}
		before, stats := b.Leases(), b.Stats()
		preview, previewErr := b.Preview(r)
		for range random.IntN(3) {
			other := r
			other.MAC = mac(random.IntN(9))
			_, _ = b.Preview(other)
		}
		if after := b.Leases(); !reflect.DeepEqual(before, after) || !reflect.DeepEqual(stats, b.Stats()) {
			t.Fatalf("turn %d: a preview changed %+v to %+v", turn, before, after)
		}
		offer, err := b.Offer(t.Context(), r)
		if preview.Lease != offer.Lease || fault.KindOf(err) != fault.KindOf(previewErr) || (err == nil) != (previewErr == nil) {
			t.Fatalf("turn %d: preview %+v, %v; offer %+v, %v", turn, preview.Lease, previewErr, offer.Lease, err)
		}
		switch r.Address = offer.Lease.Address; random.IntN(5) {
		case 0, 1:
			_, _ = b.Commit(t.Context(), r)
		case 2:
			b.Withdraw(r)
		case 3:
			_ = b.Decline(t.Context(), r)
		}
		b.advance(time.Duration(random.IntN(600)) * time.Second)
	}
}

func TestPreviewOfNothing(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	_, err := b.Preview(lease.Request{MAC: mac(1), Link: netip.MustParseAddr("192.0.2.1")})
	wantKind(t, "no subnet", err, fault.NotFound)
	_, err = b.Preview(lease.Request{Link: link})
	wantKind(t, "nobody", err, fault.Invalid)
}

// TestPreviewOfAReplacedMachine: the successor at a switch port gets the address of its predecessor, as with an offer.
func TestPreviewOfAReplacedMachine(t *testing.T) {
	subnet := small(t)
	subnet.Reservations = []lease.Reservation{{Address: addr("10.0.0.7"), CircuitID: []byte("port 1")}}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{subnet}})
	b.take(lease.Request{MAC: mac(1), CircuitID: []byte("port 1")})
	preview, err := b.Preview(lease.Request{MAC: mac(2), CircuitID: []byte("port 1"), Link: link})
	if err != nil || preview.Lease.Address != addr("10.0.0.7") {
		t.Errorf("%+v, %v", preview.Lease, err)
	}
	if found, _ := b.Find(addr("10.0.0.7")); found.MAC != mac(1) {
		t.Errorf("the lease is %+v", found)
	}
}
