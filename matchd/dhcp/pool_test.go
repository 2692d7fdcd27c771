package dhcp_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

// TestLeasesOutliveUs plays exchanges against the real lease policy and its file, all at once, and reads the file again: every
// address that was acknowledged is there, and no two clients have the same.
func TestLeasesOutliveUs(t *testing.T) {
	const clients = 60
	file := filepath.Join(t.TempDir(), "leases.db")
	pool, closePool := openPool(t, file)
	handler := newHandler(t, served(pool))
	var mu sync.Mutex
	acked := map[netip.Addr]machine.MAC{}
	var group sync.WaitGroup
	for n := range clients {
		group.Go(func() {
			mac := machine.MAC(fmt.Sprintf("52:54:00:00:01:%02x", n))
			addr, err := obtain(handler, mac)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", mac, err)
			} else if other, taken := acked[addr]; taken {
				t.Errorf("%v belongs to %s and %s", addr, mac, other)
			}
			acked[addr] = mac
		})
	}
	group.Wait()
	closePool()

	again, closeAgain := openPool(t, file)
	defer closeAgain()
	for addr, mac := range acked {
		if found, ok := again.Find(addr); !ok || found.MAC != mac {
			t.Errorf("%v was acknowledged to %s, the file has %+v", addr, mac, found)
		}
	}
}

func openPool(t *testing.T, file string) (*lease.Pool, func()) {
	t.Helper()
	leases, err := boltstore.Open(file, boltstore.Options{Name: "leases", History: -1})
	if err != nil {
		t.Fatal(err)
	}
	pools, err := lease.ParseRange("10.0.0.100-10.0.0.199")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := lease.Open(context.Background(), lease.Options{
		Store: leases, Subnets: []lease.Subnet{{Prefix: localNet, Pools: []lease.Range{pools}, Authoritative: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pool, func() {
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	}
}

// obtain is DISCOVER and REQUEST of one client.
func obtain(handler *dhcp.Handler, mac machine.MAC) (netip.Addr, error) {
	via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: netip.MustParseAddr("255.255.255.255")}
	ask := func(kind dhcpv4.MessageType, change func(*dhcpv4.DHCPv4)) (*dhcpv4.DHCPv4, error) {
		out, ok := handler.Handle(context.Background(), &via, plain(kind, func(p *dhcpv4.DHCPv4) {
			p.ClientHWAddr = mac.HardwareAddr()
			if change != nil {
				change(p)
			}
		}))
		if !ok {
			return nil, fmt.Errorf("%v is not answered", kind)
		}
		return dhcpv4.FromBytes(out.Packet)
	}
	offer, err := ask(dhcpv4.MessageTypeDiscover, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	ack, err := ask(dhcpv4.MessageTypeRequest, selecting(offer.YourIPAddr.String(), "10.0.0.1"))
	if err != nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		return netip.Addr{}, fmt.Errorf("%v: %w", ack, err)
	}
	addr, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	return addr, nil
}
