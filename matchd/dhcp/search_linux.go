package dhcp

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"

	"github.com/matchd/matchd/matchd/fault"
)

// SearchTime is how long [Search] waits for offers. ISC's dhcpd pings an address for a second before it offers it.
const SearchTime = 3 * time.Second

// maxOthers bounds what a search collects.
const maxOthers = 16

// Other is another DHCP server that answered.
type Other struct {
	Interface string
	Server    netip.Addr // its option 54, else the sender
	Offered   netip.Addr // the address that it would give
}

// Search broadcasts a DISCOVER on an interface, from a hardware address made up for this, and returns who offered an address. It asks
// as a plain client, so that it appears in no boot server's inventory; proxies stay silent. We ourselves do not hear it, because a frame
// sent by a raw socket is not delivered on its own interface. It needs CAP_NET_RAW.
func Search(ctx context.Context, interfaceName string) ([]Other, error) {
	link, err := lookup(Interface{Name: interfaceName})
	if err != nil {
		return nil, err
	}
	if len(link.Hardware) != len(etherBroadcast) {
		return nil, fault.New(fault.Invalid, "%s is not Ethernet", link.Name)
	}
	conn, err := packet.Listen(&net.Interface{Index: link.Index, Name: link.Name, HardwareAddr: link.Hardware}, packet.Raw, etherIPv4, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a raw socket on %s: %w", link.Name, err)
	}
	defer conn.Close()
	_ = conn.SetPromiscuous(true) // for servers that overlook the broadcast flag; without it they are merely not found
	question, xid := searchPacket()
	if _, err := conn.WriteTo(question, &packet.Addr{HardwareAddr: etherBroadcast}); err != nil {
		return nil, fmt.Errorf("sending a DISCOVER on %s: %w", link.Name, err)
	}
	var others []Other
	_, err = listen(ctx, conn, SearchTime, func(frame []byte) bool {
		other, ok := readOffer(frame, xid)
		other.Interface = link.Name
		if ok && !link.owns(other.Server) && !slices.Contains(others, other) {
			others = append(others, other)
		}
		return len(others) >= maxOthers
	})
	return others, err
}

// searchPacket returns a DISCOVER in its frame, from a random locally administered address.
func searchPacket() ([]byte, dhcpv4.TransactionID) {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails, by its documentation
	hw := net.HardwareAddr(random[:6])
	hw[0] = hw[0]&^1 | 2
	xid := dhcpv4.TransactionID(random[6:])
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: hwtypeEther, ClientHWAddr: hw, TransactionID: xid, Flags: 0x8000,
		Options: dhcpv4.Options{53: {byte(dhcpv4.MessageTypeDiscover)}, 55: {1, 3, 6, 51, 54}},
	}
	d := datagram{
		from: netip.AddrPortFrom(netip.IPv4Unspecified(), ClientPort), to: netip.AddrPortFrom(broadcast, ServerPort),
		hwFrom: hw, hwTo: etherBroadcast, payload: p.ToBytes(),
	}
	return d.frame(), xid
}

// readOffer reads an answer to the search from a frame.
func readOffer(frame []byte, xid dhcpv4.TransactionID) (Other, bool) {
	payload, from, ok := udpOf(frame, ClientPort)
	if !ok {
		return Other{}, false
	}
	p, err := dhcpv4.FromBytes(payload)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != xid {
		return Other{}, false
	}
	other := Other{Server: setAddr(p.Options[54]), Offered: setAddr(p.YourIPAddr)}
	if !other.Server.IsValid() {
		other.Server = from
	}
	return other, other.Offered.IsValid()
}

// searchOthers looks for other servers on every interface where we mean to be the only one.
func (s *Server) searchOthers(ctx context.Context) {
	for _, iface := range s.interfaces {
		if iface.Mode != Serve || ctx.Err() != nil {
			continue
		}
		others, err := Search(ctx, iface.Name)
		if err != nil {
			s.handler.log.Warn("cannot search for other DHCP servers", "interface", iface.Name, "error", err)
			continue
		}
		s.found(iface.Name, others)
	}
}

// found reports other servers as loudly as two servers on one network deserve.
func (s *Server) found(name string, others []Other) {
	for _, other := range others {
		s.handler.log.Error("ANOTHER DHCP SERVER gives addresses on an interface in server mode: switch one of the two off, or set this interface to proxy",
			"interface", name, "server", other.Server, "offered", other.Offered)
	}
	s.handler.metrics.others.WithLabelValues(name).Set(float64(len(others)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = append(s.others, others...)
}
