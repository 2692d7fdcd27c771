package dhcp_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
)

func TestDescribe(t *testing.T) {
	if got := dhcp.Describe(pxeDiscover().ToBytes()); got != "DISCOVER" {
		t.Errorf("a question is %q", got)
	}
	handler := newHandler(t, dhcp.Options{})
	via := dhcp.Arrival{Link: link(dhcp.Proxy), Dest: netip.MustParseAddr("255.255.255.255")}
	out, ok := handler.Handle(context.Background(), &via, pxeDiscover().ToBytes())
	if !ok {
		t.Fatal("no answer")
	}
	got := dhcp.Describe(out.Packet)
	for _, want := range []string{"OFFER", "from server " + link(dhcp.Proxy).Addrs[0].Addr().String(), "next server "} {
		if !strings.Contains(got, want) {
			t.Errorf("an offer is %q, want %s", got, want)
		}
	}
	if got := dhcp.Describe([]byte("noise")); got != "no DHCP packet" {
		t.Errorf("noise is %q", got)
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add(pxeDiscover().ToBytes())
	f.Add(plain(dhcpv4.MessageTypeRequest, nil))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if dhcp.Describe(packet) == "" {
			t.Error("nothing is said")
		}
	})
}

func TestServes(t *testing.T) {
	subnets := []dhcp.Subnet{
		{Prefix: link(dhcp.Serve).Addrs[0].Masked()},
		{Prefix: netip.MustParsePrefix("10.9.0.0/24")},
		{Prefix: netip.MustParsePrefix("10.8.0.0/24"), Mode: dhcp.Proxy},
	}
	handler := newHandler(t, dhcp.Options{Subnets: subnets, Addresser: newAddresses(subnets[0].Prefix)})
	for _, tt := range []struct {
		mode  dhcp.Mode
		relay string
		want  bool
	}{{dhcp.Serve, "", true}, {dhcp.Proxy, "", false}, {dhcp.Proxy, "10.9.0.1", true}, {dhcp.Serve, "10.8.0.1", false}} {
		relay, _ := netip.ParseAddr(tt.relay)
		if got := handler.Serves(link(tt.mode), relay); got != tt.want {
			t.Errorf("%s, relay %q: %v", tt.mode, tt.relay, got)
		}
	}
}
