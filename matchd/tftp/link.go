package tftp

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// ownPort is a link with a port of its own: RFC 1350's transfer identifiers. Its socket is connected, so the kernel drops what comes from
// others, and says when the client's port is closed.
type ownPort struct{ conn *net.UDPConn }

// dialOwnPort binds a port on the address that the client asked, since clients refuse answers from another one. An unspecified
// local address leaves the choice to the kernel.
func dialOwnPort(local netip.Addr, peer netip.AddrPort) (*ownPort, error) {
	var from *net.UDPAddr
	if local.IsValid() && !local.IsUnspecified() {
		if local.IsLinkLocalUnicast() {
			local = local.WithZone(peer.Addr().Zone()) // kept for IPv6 only
		}
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(peer))
	if err != nil {
		return nil, err
	}
	return &ownPort{conn}, nil
}

func (l *ownPort) send(p []byte) error {
	_, err := l.conn.Write(p)
	return err
}

func (l *ownPort) recv(p []byte, deadline time.Time) (int, error) {
	if err := l.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	return l.conn.Read(p)
}

// close may be called twice; the second time there is nothing left to fail.
func (l *ownPort) close() { _ = l.conn.Close() }

// sharedPort is a link over the listening port. The server's loop fills the inbox.
type sharedPort struct {
	conn      *net.UDPConn
	peer      netip.AddrPort
	source    []byte // control message that makes packets leave from the address that the client asked
	inbox     chan []byte
	closed    chan struct{}
	closeOnce sync.Once
}

// inboxSize is the number of packets that wait for one transfer: a client sends one ACK per window.
const inboxSize = 16

func newSharedPort(conn *net.UDPConn, local netip.Addr, peer netip.AddrPort) *sharedPort {
	return &sharedPort{
		conn: conn, peer: peerOn(conn, peer), source: sourceControl(conn, local),
		inbox: make(chan []byte, inboxSize), closed: make(chan struct{}),
	}
}

// deliver hands a packet over; one too many is lost, as on any network.
func (l *sharedPort) deliver(p []byte) {
	select {
	case l.inbox <- append([]byte(nil), p...):
	default:
	}
}

func (l *sharedPort) send(p []byte) error {
	_, _, err := l.conn.WriteMsgUDPAddrPort(p, l.source, l.peer)
	return err
}

func (l *sharedPort) recv(p []byte, deadline time.Time) (int, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case packet := <-l.inbox:
		return copy(p, packet), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

func (l *sharedPort) close() { l.closeOnce.Do(func() { close(l.closed) }) }

// isIPv4 reports whether the socket is of the IPv4 family; a socket of both families is an IPv6 one.
func isIPv4(conn *net.UDPConn) bool {
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	return ok && local.IP.To4() != nil
}

// peerOn writes a peer's address as the socket's family has it.
func peerOn(conn *net.UDPConn, peer netip.AddrPort) netip.AddrPort {
	if !isIPv4(conn) && peer.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom16(peer.Addr().As16()), peer.Port())
	}
	return peer
}

// wantArrival asks the kernel for each packet's destination address and interface.
func wantArrival(conn *net.UDPConn) error {
	if isIPv4(conn) {
		return ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	}
	return ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
}

// arrival decodes the address that a packet was sent to and the index of the interface that it came by; both may be unknown. A request sent
// to a broadcast or multicast address can be answered from any of ours.
func arrival(conn *net.UDPConn, control []byte) (local netip.Addr, index int) {
	var dst net.IP
	if isIPv4(conn) {
		var cm ipv4.ControlMessage
		if cm.Parse(control) == nil {
			dst, index = cm.Dst, cm.IfIndex
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(control) == nil {
			dst, index = cm.Dst, cm.IfIndex
		}
	}
	local, ok := netip.AddrFromSlice(dst)
	if !ok {
		return netip.Addr{}, index
	}
	local = local.Unmap()
	if local.IsMulticast() || local == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || local.IsUnspecified() {
		return netip.Addr{}, index
	}
	return local, index
}

// routed returns the address of ours that packets to the peer leave from: for a request that was sent to everybody.
func routed(peer netip.AddrPort) netip.Addr {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(peer)) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = conn.Close() }()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// sourceControl returns the control message with which a packet leaves from local, nil where the kernel may choose.
func sourceControl(conn *net.UDPConn, local netip.Addr) []byte {
	if !local.IsValid() {
		return nil
	}
	if isIPv4(conn) {
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	}
	as16 := local.As16() // an IPv4 address in its mapped form, which Linux takes on a socket of both families
	return (&ipv6.ControlMessage{Src: as16[:]}).Marshal()
}
