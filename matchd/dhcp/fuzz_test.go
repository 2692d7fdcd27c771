package dhcp_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
)

// FuzzHandle throws bytes at a server and at a proxy, on both ports: no panic, and what is answered is a well-formed reply of bounded
// size to a request, never to a reply.
func FuzzHandle(f *testing.F) {
	names, err := filepath.Glob("testdata/exchange/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(readCase(f, name).request)
	}
	opts := served(newAddresses(localNet))
	opts.Subnets[0].Settings = dhcp.Settings{Domain: "lab.example", Router: []netip.Addr{ourAddr}, MTU: 1500}
	server := newHandler(f, opts)
	proxy := newHandler(f, dhcp.Options{ProxyOffer: dhcp.OfferDirect})
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, bootPort := range []bool{false, true} {
			for handler, mode := range map[*dhcp.Handler]dhcp.Mode{server: dhcp.Serve, proxy: dhcp.Proxy} {
				via := dhcp.Arrival{Link: link(mode), Dest: ourAddr, Source: netip.MustParseAddrPort("10.0.0.9:68"), BootPort: bootPort}
				out, ok := handler.Handle(context.Background(), &via, packet)
				if !ok {
					continue
				}
				if packet[0] != 1 {
					t.Fatalf("answered what is no request: %x", packet)
				}
				reply, err := dhcpv4.FromBytes(out.Packet)
				if err != nil || reply.OpCode != dhcpv4.OpcodeBootReply || len(reply.Options[54]) != 4 {
					t.Fatalf("%v: %x", err, out.Packet)
				}
				if mode == dhcp.Proxy && !reply.YourIPAddr.IsUnspecified() {
					t.Fatal("a proxy gives an address")
				}
				if len(out.Packet) > 1472 {
					t.Fatalf("the reply has %d bytes", len(out.Packet))
				}
			}
		}
	})
}

// FuzzOptionsOfReply checks the shape of whole replies that carry values of the client's back.
func FuzzOptionsOfReply(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{1, 4, 'e', 't', 'h', '0'}, []byte("\x04iPXE"), []byte{71, 4, 0, 0, 0, 0, 255})
	f.Add([]byte{255}, []byte{}, []byte("iPXE"), []byte{71, 200, 0})
	f.Add([]byte{}, []byte{5, 255}, []byte{0}, []byte{0, 0, 255, 71, 4})
	handler := newHandler(f, dhcp.Options{ProxyOffer: dhcp.OfferDirect})
	f.Fuzz(func(t *testing.T, clientID, relay, class, vendor []byte) {
		p := pxeDiscover()
		for code, value := range map[uint8][]byte{61: clientID, 82: relay, 77: class, 43: vendor} {
			if len(value) > 255 { // one option; longer values are split, which checkShape does not join
				return
			}
			p.Options[code] = value
		}
		packet := p.ToBytes()
		via := dhcp.Arrival{Link: link(dhcp.Proxy)}
		out, ok := handler.Handle(context.Background(), &via, packet)
		if !ok {
			t.Fatal("not answered")
		}
		checkShape(t, packet, out.Packet)
	})
}
