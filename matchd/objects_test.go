package matchd

import (
	"bytes"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

// TestObjectsAreFollowed: machines of the API are pinned and unpinned, its reservations kept and given up, and what the configuration says stays.
func TestObjectsAreFollowed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.File = "/etc/matchd/matchd.yaml"
	cfg.Machines = []MachineConfig{{MAC: "52-54-00-00-00-99", Labels: map[string]string{"role": "fixed"}, TFTPBlksize: 512}}
	cfg.DHCP.Subnets = []SubnetConfig{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Reservations: []ReservationConfig{{MAC: "52:54:00:00:00:99", Address: netip.MustParseAddr("10.0.0.9")}}}}
	fixed := cfg.fixedObjects()
	if len(fixed) != 2 || fixed[0].Owner != cfg.File || fixed[0].Machine.MAC != "52:54:00:00:00:99" || fixed[1].Reservation.Address.String() != "10.0.0.9" {
		t.Fatalf("fixed: %+v", fixed)
	}
	leases, err := boltstore.Open(filepath.Join(t.TempDir(), "leases.db"), boltstore.Options{History: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	_, subnets, err := cfg.dhcpSubnets()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &Server{cfg: cfg, log: slog.New(slog.NewTextHandler(&log, nil)), machines: machine.NewRegistry(0)}
	if s.pool, err = lease.Open(t.Context(), lease.Options{Store: leases, Subnets: subnets}); err != nil {
		t.Fatal(err)
	}
	cfg.Overrides(s.machines)
	s.catalog = catalog.New(nil, catalog.Options{Fixed: fixed, Follow: s.followObjects})
	if s.blksize("52:54:00:00:00:99") != 512 || s.blksize("52:54:00:00:00:01") != 0 {
		t.Error("the configuration's block size does not hold")
	}

	one := &catalog.Item{Object: catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:01", Labels: map[string]string{"role": "db"}}}}
	kept := &catalog.Item{Object: catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.0.0.5"), MAC: "52:54:00:00:00:01"}}}
	foreign := &catalog.Item{Object: catalog.Object{Reservation: &lease.Reservation{Address: netip.MustParseAddr("10.1.0.5"), MAC: "52:54:00:00:00:02"}}}
	refs := []catalog.Ref{one.Ref(), kept.Ref(), foreign.Ref()}
	with := s.catalog.Latest().With([]*catalog.Item{one, kept, foreign}, nil)
	s.followObjects(with, refs)
	if m, _ := s.machines.ByMAC("52:54:00:00:00:01"); m.Labels["role"] != "db" {
		t.Errorf("not pinned: %+v", m)
	}
	offered := func(mac machine.MAC) string {
		grant, err := s.pool.Offer(t.Context(), lease.Request{MAC: mac, Link: netip.MustParseAddr("10.0.0.1")})
		if err != nil {
			return ""
		}
		return grant.Lease.Address.String()
	}
	if got := offered("52:54:00:00:00:01"); got != "10.0.0.5" {
		t.Errorf("offered %q", got)
	}
	if !bytes.Contains(log.Bytes(), []byte("10.1.0.5 cannot be reserved")) {
		t.Errorf("log: %s", log.String())
	}
	s.followObjects(with.With(nil, refs), refs)
	if m, known := s.machines.ByMAC("52:54:00:00:00:01"); known {
		t.Errorf("still pinned: %+v", m)
	}
	s.pool.Withdraw(lease.Request{MAC: "52:54:00:00:00:01", Link: netip.MustParseAddr("10.0.0.1")})
	if got := offered("52:54:00:00:00:01"); got != "" {
		t.Errorf("offered %q", got)
	}
	if m, _ := s.machines.ByMAC("52:54:00:00:00:99"); m.Labels["role"] != "fixed" || offered("52:54:00:00:00:99") != "10.0.0.9" {
		t.Errorf("the configuration's: %+v", m)
	}
}
