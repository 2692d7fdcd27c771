package lease_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
)

func TestParseRange(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1":             "10.0.0.1",
		"10.0.0.1-10.0.0.9":    "10.0.0.1-10.0.0.9",
		" 10.0.0.1 - 10.0.0.9": "10.0.0.1-10.0.0.9",
		"10.0.0.17/28":         "10.0.0.16-10.0.0.31",
		"0.0.0.0/0":            "0.0.0.0-255.255.255.255",
	} {
		if got, err := lease.ParseRange(text); err != nil || got.String() != want {
			t.Errorf("ParseRange(%q) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-", "10.0.0.9-10.0.0.1", "10.0.0", "10.0.0.1-", "fe80::1", "fe80::/64", "10.0.0.1-fe80::1", "::ffff:10.0.0.1"} {
		if got, err := lease.ParseRange(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseRange(%q) = %v, %v, want an error of kind invalid", text, got, err)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.16/28", "-", "1.2.3.4/33", "0.0.0.0-255.255.255.255"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := lease.ParseRange(text)
		if err != nil {
			return
		}
		if again, err := lease.ParseRange(r.String()); err != nil || again != r {
			t.Errorf("%q became %v, which became %v, %v", text, r, again, err)
		}
	})
}

func TestSubnetCheck(t *testing.T) {
	for want, change := range map[string]func(*lease.Subnet){
		"is not an IPv4 network":         func(s *lease.Subnet) { s.Prefix = netip.MustParsePrefix("fe80::/64") },
		"a lease time is negative":       func(s *lease.Subnet) { s.LeaseTime = -time.Second },
		"pool 10.0.1.5 is not within it": func(s *lease.Subnet) { s.Pools = ranges(t, "10.0.1.5") },
		"is not one of IPv4 addresses in order": func(s *lease.Subnet) {
			s.Exclude = []lease.Range{{First: addr("10.0.0.5"), Last: addr("10.0.0.4")}}
		},
		"at most 1048576 are possible": func(s *lease.Subnet) {
			s.Prefix, s.Pools = netip.MustParsePrefix("10.0.0.0/8"), ranges(t, "10.0.0.0/8")
		},
		"the reserved address 10.0.1.1 is not within it": func(s *lease.Subnet) {
			s.Reservations = []lease.Reservation{{Address: addr("10.0.1.1"), MAC: mac(1)}}
		},
		"10.0.0.5 is reserved twice": func(s *lease.Subnet) {
			s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(1)}, {Address: addr("10.0.0.5"), MAC: mac(2)}}
		},
		"MAC 52:54:00:00:00:01 has two reservations": func(s *lease.Subnet) {
			s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5"), MAC: mac(1)}, {Address: addr("10.0.0.6"), MAC: mac(1)}}
		},
		"must name its client by one of": func(s *lease.Subnet) { s.Reservations = []lease.Reservation{{Address: addr("10.0.0.5")}} },
		"of 10.0.0.6 must name its client by one of": func(s *lease.Subnet) {
			s.Reservations = []lease.Reservation{{Address: addr("10.0.0.6"), MAC: mac(1), ClientID: []byte{1}}}
		},
	} {
		s := small(t)
		change(&s)
		if err := s.Check(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one of kind invalid with %q", err, want)
		}
	}
	b := newBench(t, lease.Options{})
	_, err := lease.Open(t.Context(), lease.Options{Store: b.db, Subnets: []lease.Subnet{small(t), {Prefix: netip.MustParsePrefix("10.0.0.128/25")}}})
	wantKind(t, "overlapping subnets", err, fault.Invalid)
}

// TestEveryAddressIsGivenOnce empties pools of awkward shape.
func TestEveryAddressIsGivenOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		subnet lease.Subnet
		want   string
	}{
		"whole network": {lease.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/29"), Pools: ranges(t, "10.0.0.0/29")}, "1 2 3 4 5 6"},
		"overlap, exclusion, reservation": {lease.Subnet{
			Prefix: netip.MustParsePrefix("10.0.0.0/24"), Pools: ranges(t, "10.0.0.20-10.0.0.22", "10.0.0.10-10.0.0.15", "10.0.0.14-10.0.0.16"),
			Exclude:      ranges(t, "10.0.0.11-10.0.0.12", "10.0.0.22-10.0.0.30", "10.0.0.10"),
			Reservations: []lease.Reservation{{Address: addr("10.0.0.15"), MAC: mac(99)}},
		}, "13 14 16 20 21"},
		"point to point": {lease.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/31"), Pools: ranges(t, "10.0.0.0/31")}, "0 1"},
		"all excluded":   {lease.Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Pools: ranges(t, "10.0.0.7"), Exclude: ranges(t, "10.0.0.0/24")}, ""},
	} {
		b := newBench(t, lease.Options{Subnets: []lease.Subnet{tt.subnet}})
		var got []string
		for i := 1; ; i++ {
			g, err := b.Offer(t.Context(), lease.Request{MAC: mac(i), Link: link})
			if err != nil {
				break
			}
			got = append(got, strings.TrimPrefix(g.Lease.Address.String(), "10.0.0."))
		}
		if got := strings.Join(got, " "); got != tt.want || b.Stats()[0].Size != len(strings.Fields(tt.want)) {
			t.Errorf("%s: got %q of %d, want %q", name, got, b.Stats()[0].Size, tt.want)
		}
	}
}
