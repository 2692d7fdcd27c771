package lease_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
)

func TestExchange(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	r := lease.Request{MAC: mac(1), ClientID: []byte{1, 2}, Link: link, Hostname: "node-1\n;rm"}
	first, err := b.Offer(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if again := b.offer(r); again != first.Lease.Address {
		t.Errorf("a repeated DISCOVER is offered %v after %v", again, first.Lease.Address)
	}
	if _, ok := b.Find(first.Lease.Address); ok {
		t.Error("an offer is a lease")
	}
	r.Address = first.Lease.Address
	g, err := b.try(r)
	if err != nil {
		t.Fatal(err)
	}
	want := lease.Lease{
		Address: addr("10.0.0.100"), MAC: mac(1), ClientID: "0102", Hostname: "node-1rm", State: lease.Active,
		Start: epoch, Expires: epoch.Add(lease.DefaultLeaseTime),
	}
	if g.Lease != want || g.Time != lease.DefaultLeaseTime || g.Subnet.Prefix != small(t).Prefix || g.Reservation != nil {
		t.Errorf("got %+v, want %+v", g, want)
	}
	b.advance(time.Hour)
	r.Kind = lease.Renewing
	if g, err = b.try(r); err != nil || !g.Lease.Start.Equal(epoch) || !g.Lease.Expires.Equal(epoch.Add(13*time.Hour)) {
		t.Errorf("renewing: %+v, %v", g, err)
	}
	b.restart()
	if got := b.Leases(); len(got) != 1 || got[0] != g.Lease {
		t.Errorf("after a restart: %+v, want %+v", got, g.Lease)
	}
}

// TestOneAddressThroughTheStages: firmware, iPXE and OS send different client ids and hostnames; the address stays, the time differs.
func TestOneAddressThroughTheStages(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	b.take(lease.Request{MAC: mac(9)})
	stages := []struct {
		r    lease.Request
		time time.Duration
	}{
		{lease.Request{MAC: mac(1), ClientID: []byte{0, 1, 2, 3}, Firmware: true}, lease.DefaultFirmwareLeaseTime},
		{lease.Request{MAC: mac(1), Firmware: true}, lease.DefaultFirmwareLeaseTime},
		{lease.Request{MAC: mac(1), ClientID: []byte{255, 9, 9}, Hostname: "node"}, lease.DefaultLeaseTime},
	}
	for _, stage := range stages {
		wantAddr(t, "stage", b.take(stage.r), "10.0.0.101")
		found, _ := b.Find(addr("10.0.0.101"))
		if got := found.Expires.Sub(b.opts.Now()); got != stage.time || found.Firmware != stage.r.Firmware {
			t.Errorf("lease of %v, firmware %v, want %v", got, found.Firmware, stage.time)
		}
		b.advance(time.Minute)
	}
}

func TestWithoutMAC(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	for _, none := range []machine.MAC{"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"} {
		wantAddr(t, "by client id", b.take(lease.Request{MAC: none, ClientID: []byte{32, 1}}), "10.0.0.100")
		_, err := b.Offer(t.Context(), lease.Request{MAC: none, Link: link})
		wantKind(t, "nothing at all", err, fault.Invalid)
	}
	wantAddr(t, "another id", b.take(lease.Request{ClientID: []byte{32, 2}}), "10.0.0.101")
}

func TestStickyAddress(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	for i := range 10 {
		b.take(lease.Request{MAC: mac(i)})
		b.advance(time.Second)
	}
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(100), Link: link})
	wantKind(t, "a full pool", err, fault.Unavailable)
	b.advance(2 * lease.DefaultLeaseTime)
	wantAddr(t, "a returning client", b.take(lease.Request{MAC: mac(7)}), "10.0.0.107")
	wantAddr(t, "a new client gets the one unused for longest", b.take(lease.Request{MAC: mac(100)}), "10.0.0.100")
	b.restart()
	wantAddr(t, "a returning client after a restart", b.take(lease.Request{MAC: mac(3)}), "10.0.0.103")
	wantAddr(t, "a new one after a restart", b.take(lease.Request{MAC: mac(101)}), "10.0.0.101")
	wantAddr(t, "one whose address went to another", b.take(lease.Request{MAC: mac(0)}), "10.0.0.102")
}

func TestRequestedAddress(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	wantAddr(t, "free", b.take(lease.Request{MAC: mac(1), Address: addr("10.0.0.105")}), "10.0.0.105")
	wantAddr(t, "taken", b.take(lease.Request{MAC: mac(2), Address: addr("10.0.0.105")}), "10.0.0.100")
	wantAddr(t, "not in the pool", b.take(lease.Request{MAC: mac(3), Address: addr("10.0.0.5")}), "10.0.0.101")
	wantAddr(t, "of another network", b.take(lease.Request{MAC: mac(4), Address: addr("192.168.0.5")}), "10.0.0.102")
	for i := range 6 {
		b.take(lease.Request{MAC: mac(10 + i)})
	}
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(100), Link: link})
	wantKind(t, "ten are taken", err, fault.Unavailable)
}

func TestOffersLapse(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	for i := range 10 {
		b.offer(lease.Request{MAC: mac(i)})
	}
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(10), Link: link})
	wantKind(t, "all offered", err, fault.Unavailable)
	b.Withdraw(lease.Request{MAC: mac(4), Link: link})
	wantAddr(t, "a withdrawn one", b.offer(lease.Request{MAC: mac(10)}), "10.0.0.104")
	b.advance(lease.OfferTime)
	for i := range 10 {
		b.offer(lease.Request{MAC: mac(20 + i)})
	}
	_, err = b.try(lease.Request{MAC: mac(0), Address: addr("10.0.0.100")})
	wantKind(t, "accepting an offer that lapsed and went to another", err, fault.Conflict)
}

func TestReservations(t *testing.T) {
	s := small(t)
	s.Exclude = ranges(t, "10.0.0.100", "10.0.0.102-10.0.0.103")
	s.Reservations = []lease.Reservation{
		{Address: addr("10.0.0.5"), MAC: mac(1), Hostname: "one"},
		{Address: addr("10.0.0.101"), ClientID: []byte{0, 'x'}},
		{Address: addr("10.0.0.6"), CircuitID: []byte("port7")},
	}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{s}})
	wantAddr(t, "by MAC", b.take(lease.Request{MAC: mac(1)}), "10.0.0.5")
	wantAddr(t, "by client id", b.take(lease.Request{MAC: mac(2), ClientID: []byte{0, 'x'}}), "10.0.0.101")
	wantAddr(t, "by circuit id", b.take(lease.Request{MAC: mac(3), CircuitID: []byte("port7")}), "10.0.0.6")
	wantAddr(t, "MAC before circuit id", b.take(lease.Request{MAC: mac(1), CircuitID: []byte("port7")}), "10.0.0.5")
	wantAddr(t, "without", b.take(lease.Request{MAC: mac(4)}), "10.0.0.104")
	wantAddr(t, "a replaced machine", b.take(lease.Request{MAC: mac(5), CircuitID: []byte("port7")}), "10.0.0.6")
	_, err := b.try(lease.Request{Kind: lease.Renewing, MAC: mac(3), Address: addr("10.0.0.6"), CircuitID: []byte("port7")})
	wantKind(t, "the machine that was replaced", err, fault.Conflict)
	_, err = b.try(lease.Request{MAC: mac(4), Address: addr("10.0.0.5")})
	wantKind(t, "another's reservation", err, fault.Conflict)
	_, err = b.try(lease.Request{MAC: mac(4), Address: addr("10.0.0.102")})
	wantKind(t, "an excluded address", err, fault.Conflict)
	g, err := b.Offer(t.Context(), lease.Request{MAC: mac(1), Link: link})
	if err != nil || g.Reservation == nil || g.Reservation.Hostname != "one" || !g.Lease.Reserved {
		t.Errorf("Offer = %+v, %v", g, err)
	}
	if got := b.Stats(); len(got) != 1 || got[0].Size != 6 || got[0].Active != 1 || got[0].Free != 5 || got[0].Reserved != 3 {
		t.Errorf("Stats = %+v", got)
	}
}

// TestNewReservation: the operator reserves an address while machines run.
func TestNewReservation(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	b.take(lease.Request{MAC: mac(0)})
	b.take(lease.Request{MAC: mac(1)})
	s := small(t)
	s.Reservations = []lease.Reservation{{Address: addr("10.0.0.100"), MAC: mac(1)}}
	b.opts.Subnets = []lease.Subnet{s}
	b.restart()
	wantAddr(t, "while another has it", b.take(lease.Request{MAC: mac(1)}), "10.0.0.101")
	_, err := b.try(lease.Request{Kind: lease.Renewing, MAC: mac(0), Address: addr("10.0.0.100")})
	wantKind(t, "renewing what is another's now", err, fault.Conflict)
	b.advance(lease.DefaultLeaseTime)
	_, err = b.try(lease.Request{Kind: lease.Renewing, MAC: mac(1), Address: addr("10.0.0.101")})
	wantKind(t, "renewing when the reserved one is free", err, fault.Conflict)
	wantAddr(t, "when it is free", b.take(lease.Request{MAC: mac(1)}), "10.0.0.100")
	if _, ok := b.Find(addr("10.0.0.101")); ok {
		t.Error("the client has two addresses")
	}
}

func TestReleaseAndDecline(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	a := b.take(lease.Request{MAC: mac(1)})
	wantKind(t, "another's", b.Release(t.Context(), lease.Request{MAC: mac(2), Address: a}), fault.NotFound)
	wantKind(t, "never given", b.Release(t.Context(), lease.Request{MAC: mac(1), Address: addr("10.0.0.109")}), fault.NotFound)
	if err := b.Release(t.Context(), lease.Request{MAC: mac(1), Address: a}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "again", b.Release(t.Context(), lease.Request{MAC: mac(1), Address: a}), fault.NotFound)
	if _, ok := b.Find(a); ok {
		t.Error("a released lease lives")
	}
	b.restart()
	wantAddr(t, "coming back", b.take(lease.Request{MAC: mac(1)}), a.String())

	wantKind(t, "another's", b.Decline(t.Context(), lease.Request{MAC: mac(2), Address: a}), fault.NotFound)
	if err := b.Decline(t.Context(), lease.Request{MAC: mac(1), Address: a}); err != nil {
		t.Fatal(err)
	}
	wantAddr(t, "after declining", b.take(lease.Request{MAC: mac(1)}), "10.0.0.101")
	offer := b.offer(lease.Request{MAC: mac(2)})
	if err := b.Decline(t.Context(), lease.Request{MAC: mac(2), Address: offer}); err != nil {
		t.Errorf("declining an offer: %v", err)
	}
	if got := b.Stats()[0]; got.Declined != 2 || got.Active != 1 {
		t.Errorf("Stats = %+v", got)
	}
	b.restart()
	if got := b.Stats()[0]; got.Declined != 2 {
		t.Errorf("after a restart: %+v", got)
	}
	for i := range 7 {
		b.take(lease.Request{MAC: mac(10 + i)})
	}
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(30), Link: link})
	wantKind(t, "declined ones are not given", err, fault.Unavailable)
	b.advance(lease.DefaultDeclineTime)
	wantAddr(t, "but later", b.take(lease.Request{MAC: mac(30)}), "10.0.0.100")
}

// TestVerdicts is RFC 2131 section 4.3.2, for a client known by a live lease, by one that is over, and not at all.
func TestVerdicts(t *testing.T) {
	const granted, renew, rebind, reboot, selecting = fault.Kind(-1), lease.Renewing, lease.Rebinding, lease.InitReboot, lease.Selecting
	tests := []struct {
		name          string
		kind          lease.Kind
		client        int // 1 has .100, 2 had .101, 3 is new, 4 has .102
		address       string
		authoritative fault.Kind
		polite        fault.Kind
	}{
		{"its own", renew, 1, "10.0.0.100", granted, granted},
		{"its own", rebind, 1, "10.0.0.100", granted, granted},
		{"its own", reboot, 1, "10.0.0.100", granted, granted},
		{"its own", selecting, 1, "10.0.0.100", granted, granted},
		{"its former", renew, 2, "10.0.0.101", granted, granted},
		{"its former", reboot, 2, "10.0.0.101", granted, granted},
		{"another's", reboot, 3, "10.0.0.102", fault.Conflict, fault.Conflict},
		{"another's", renew, 1, "10.0.0.102", fault.Conflict, fault.Conflict},
		{"another's", selecting, 3, "10.0.0.102", fault.Conflict, fault.Conflict},
		{"free, has other", reboot, 1, "10.0.0.105", fault.Conflict, fault.Conflict},
		{"free, had other", reboot, 2, "10.0.0.105", granted, fault.Conflict},
		{"free, unknown", reboot, 3, "10.0.0.105", granted, fault.NotFound},
		{"free, unknown", rebind, 3, "10.0.0.105", granted, fault.NotFound},
		{"free, unknown", renew, 3, "10.0.0.105", granted, fault.NotFound},
		{"free, offer forgotten", selecting, 3, "10.0.0.105", granted, granted},
		{"not of the pool", reboot, 1, "10.0.0.5", fault.Conflict, fault.Conflict},
		{"not of the pool, unknown", reboot, 3, "10.0.0.5", fault.Conflict, fault.NotFound},
		{"wrong network", reboot, 1, "192.168.7.7", fault.Conflict, fault.Conflict},
		{"wrong network", rebind, 2, "192.168.7.7", fault.Conflict, fault.Conflict},
		{"wrong network", renew, 1, "192.168.7.7", fault.Conflict, fault.Conflict},
		{"wrong network, unknown", reboot, 3, "192.168.7.7", fault.Conflict, fault.NotFound},
		{"wrong network", selecting, 3, "192.168.7.7", fault.Conflict, fault.Conflict},
		{"none", selecting, 3, "0.0.0.0", fault.Conflict, fault.Conflict},
	}
	for _, authoritative := range []bool{true, false} {
		s := small(t)
		s.Authoritative = authoritative
		for _, tt := range tests {
			name, want := fmt.Sprintf("%s, kind %d, authoritative %v", tt.name, tt.kind, authoritative), tt.polite
			if authoritative {
				want = tt.authoritative
			}
			t.Run(name, func(t *testing.T) {
				b := newBench(t, lease.Options{Subnets: []lease.Subnet{s}})
				b.take(lease.Request{MAC: mac(1)})
				b.take(lease.Request{MAC: mac(2), Firmware: true})
				b.take(lease.Request{MAC: mac(4)})
				b.advance(lease.DefaultFirmwareLeaseTime)
				g, err := b.try(lease.Request{Kind: tt.kind, MAC: mac(tt.client), Address: addr(tt.address)})
				if want == granted {
					if err != nil || g.Lease.Address != addr(tt.address) {
						t.Errorf("got %v, %v", g.Lease.Address, err)
					}
					return
				}
				wantKind(t, "verdict", err, want)
			})
		}
	}
}

func TestSeveralSubnets(t *testing.T) {
	other := lease.Subnet{Prefix: netip.MustParsePrefix("10.0.1.0/24"), Pools: ranges(t, "10.0.1.0/24")}
	empty := lease.Subnet{Prefix: netip.MustParsePrefix("10.0.2.0/24"), Authoritative: true}
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t), other, empty}})
	wantAddr(t, "by link", b.take(lease.Request{MAC: mac(1), Link: addr("10.0.1.254")}), "10.0.1.1")
	wantAddr(t, "by mapped link", b.take(lease.Request{MAC: mac(1), Link: addr("::ffff:10.0.0.1")}), "10.0.0.100")
	wantAddr(t, "a routed renewal", b.commit(lease.Request{Kind: lease.Renewing, MAC: mac(1), Link: link, Address: addr("10.0.1.1")}), "10.0.1.1")
	_, err := b.Offer(t.Context(), lease.Request{MAC: mac(1), Link: addr("10.9.0.1")})
	wantKind(t, "no such link", err, fault.NotFound)
	_, err = b.Offer(t.Context(), lease.Request{MAC: mac(1), Link: addr("fe80::1")})
	wantKind(t, "an IPv6 link", err, fault.NotFound)
	_, err = b.Offer(t.Context(), lease.Request{MAC: mac(1), Link: addr("10.0.2.1")})
	wantKind(t, "no pool", err, fault.NotFound)
	_, err = b.try(lease.Request{Kind: lease.InitReboot, MAC: mac(1), Link: addr("10.0.1.254"), Address: addr("10.0.0.100")})
	wantKind(t, "moved to another network, known", err, fault.Conflict)
	if s := b.Subnet(addr("10.0.1.77")); s == nil || s.Prefix != other.Prefix {
		t.Errorf("Subnet = %+v", s)
	}
	if s := b.Subnet(addr("10.0.3.1")); s != nil {
		t.Errorf("Subnet = %+v, want none", s)
	}
}

func TestUnreadableRecords(t *testing.T) {
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}})
	b.take(lease.Request{MAC: mac(1)})
	_, err := b.db.Apply(t.Context(),
		store.Op{Key: "lease/10.0.0.101", Value: []byte(`{"address":`)},
		store.Op{Key: "lease/10.0.0.102", Value: []byte(`{"address":"10.0.0.102","state":"active","expires":"2026-01-01T10:00:00Z"}`)},
		store.Op{Key: "lease/nonsense", Value: []byte(`7`)},
		store.Op{Key: "lease/172.16.0.1", Value: []byte(`{"address":"172.16.0.1","state":"active","expires":"2020-01-01T10:00:00Z"}`)},
	)
	if err != nil {
		t.Fatal(err)
	}
	b.restart()
	wantAddr(t, "its neighbour", b.take(lease.Request{MAC: mac(1)}), "10.0.0.100")
	wantAddr(t, "the unreadable ones are kept back", b.take(lease.Request{MAC: mac(2)}), "10.0.0.103")
	b.advance(lease.DefaultLeaseTime)
	b.take(lease.Request{MAC: mac(3), Address: addr("10.0.0.101")})
	if _, ok := b.Find(addr("10.0.0.101")); !ok {
		t.Error("an unreadable one is kept back for ever")
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := newBench(t, lease.Options{Subnets: []lease.Subnet{small(t)}, Registry: registry})
	b.take(lease.Request{MAC: mac(1)})
	b.offer(lease.Request{MAC: mac(2)})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"matchd_lease_pool_size 10.0.0.0/24":              10,
		"matchd_lease_pool_addresses active 10.0.0.0/24":  1,
		"matchd_lease_pool_addresses offered 10.0.0.0/24": 1,
		"matchd_lease_pool_addresses free 10.0.0.0/24":    8,
		"matchd_lease_verdicts_total granted":             1,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
}
