package dhcp_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
)

// BenchmarkExchange is DISCOVER, OFFER, REQUEST, ACK of a plain client, without sockets and without a lease file.
func BenchmarkExchange(b *testing.B) {
	opts := served(endless{})
	opts.Subnets[0].Settings = dhcp.Settings{Router: []netip.Addr{ourAddr}, DNS: []netip.Addr{ourAddr}, Domain: "lab.example"}
	handler := newHandler(b, opts)
	discover := plain(dhcpv4.MessageTypeDiscover, nil)
	request := plain(dhcpv4.MessageTypeRequest, selecting("10.0.0.100", "10.0.0.1"))
	benchmarkPackets(b, handler, dhcp.Serve, discover, request)
}

// BenchmarkProxyOffer is the answer to OVMF's DISCOVER.
func BenchmarkProxyOffer(b *testing.B) {
	handler := newHandler(b, dhcp.Options{ProxyOffer: dhcp.OfferDirect})
	benchmarkPackets(b, handler, dhcp.Proxy, pxeDiscover().ToBytes())
}

func benchmarkPackets(b *testing.B, handler *dhcp.Handler, mode dhcp.Mode, packets ...[]byte) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		via := dhcp.Arrival{Link: link(mode), Dest: netip.MustParseAddr("255.255.255.255")}
		own := make([][]byte, len(packets))
		for i := range packets {
			own[i] = append([]byte(nil), packets[i]...)
		}
		for n := uint32(0); pb.Next(); n++ {
			for _, packet := range own {
				binary.BigEndian.PutUint32(packet[4:], n)
				if _, ok := handler.Handle(context.Background(), &via, packet); !ok {
					b.Fatal("not answered")
				}
			}
		}
	})
}
