package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/matchd/matchd/matchd/fault"
)

// port is one of the two sockets of an interface.
type port struct {
	link   atomic.Pointer[Link]
	conn   *net.UDPConn
	isBoot bool // 4011
	server *Server
	frames sender
}

// lookup reads what an interface is at the moment.
func lookup(iface Interface) (*Link, error) {
	found, err := net.InterfaceByName(iface.Name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "there is no interface %q; there are %s", iface.Name, interfaceNames())
	}
	addrs, err := found.Addrs()
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of %s: %w", iface.Name, err)
	}
	link := &Link{Name: found.Name, Index: found.Index, MTU: found.MTU, Hardware: found.HardwareAddr, Mode: iface.Mode}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err == nil && prefix.Addr().Is4() {
			link.Addrs = append(link.Addrs, prefix)
		}
	}
	return link, nil
}

func interfaceNames() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "none to be read"
	}
	names := make([]string, len(interfaces))
	for i := range interfaces {
		names[i] = interfaces[i].Name
	}
	return strings.Join(names, ", ")
}

// bind opens a socket that hears and speaks on one interface only.
func (s *Server) bind(link *Link, number uint16) (*port, error) {
	p := &port{isBoot: number == BootPort, server: s}
	if s.anyPort {
		number = 0
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failure error
		err := raw.Control(func(fd uintptr) { failure = prepare(int(fd), link.Name) })
		return errors.Join(err, failure)
	}}
	conn, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", number))
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fault.New(fault.Unavailable, "another program has the port: %w", err)
	}
	if err != nil {
		return nil, err
	}
	p.conn = conn.(*net.UDPConn)
	p.link.Store(link)
	return p, nil
}

// prepare sets what must be set before the socket is bound.
func prepare(fd int, device string) error {
	if err := unix.BindToDevice(fd, device); err != nil {
		return fmt.Errorf("binding to the interface (this needs CAP_NET_RAW): %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_BROADCAST", err)
	}
	// CAP_NET_ADMIN may pass net.core.rmem_max. Without, the kernel grants less: bursts lose packets earlier, which clients make good.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ReceiveBuffer)
	}
	return os.NewSyscallError("setsockopt IP_PKTINFO", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
}

func (p *port) local() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// stopReading makes read return; the socket can still send.
func (p *port) stopReading() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) }

func (p *port) close() {
	_ = p.conn.Close()
	p.frames.close()
}

// read hands packets to the workers until stopReading. It returns nil then, else what broke the socket.
func (p *port) read(s *Server) error {
	control := make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	for {
		j := s.jobs.Get().(*job)
		n, controlLength, _, source, err := p.conn.ReadMsgUDPAddrPort(j.buffer[:], control)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, unix.ENETDOWN) { // the interface went down; it may come back
			s.jobs.Put(j)
			time.Sleep(time.Second)
			continue
		}
		if err != nil {
			return fmt.Errorf("reading DHCP on %s: %w", p.link.Load().Name, err)
		}
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		j.port, j.length = p, n
		j.via = Arrival{Link: p.link.Load(), Source: source, Dest: destination(control[:controlLength]), BootPort: p.isBoot}
		s.enqueue(j)
	}
}

// destination reads the address that a packet was sent to from its IP_PKTINFO: at offset 8, after index and local address.
func destination(control []byte) netip.Addr {
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || header.Level != unix.IPPROTO_IP || header.Type != unix.IP_PKTINFO || len(data) < unix.SizeofInet4Pktinfo {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(data[8:12]))
}

// send puts a reply on the wire, from the address that the reply names as ours.
func (p *port) send(out *Outgoing) error {
	link := p.link.Load()
	if out.To.Delivery == Frame {
		d := datagram{
			from: netip.AddrPortFrom(out.Source, ServerPort), to: out.To.To,
			hwFrom: link.Hardware, hwTo: out.To.Hardware, payload: out.Packet,
		}
		err := p.frames.send(link, &d)
		if err == nil {
			return nil
		}
		p.server.handler.metrics.dropped(dropSend)
		out.To.To = netip.AddrPortFrom(broadcast, ClientPort) // in doubt broadcast
	}
	control := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(link.Index), Spec_dst: out.Source.As4()})
	_, _, err := p.conn.WriteMsgUDPAddrPort(out.Packet, control, out.To.To)
	return err
}

// sender writes Ethernet frames; it opens its socket when first used.
type sender struct {
	mu   sync.Mutex
	conn *packet.Conn
	err  error
}

func (s *sender) open(link *Link) (*packet.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil && s.err == nil {
		// Protocol 0 receives nothing.
		s.conn, s.err = packet.Listen(&net.Interface{Index: link.Index, Name: link.Name, HardwareAddr: link.Hardware}, packet.Raw, 0, nil)
	}
	return s.conn, s.err
}

func (s *sender) send(link *Link, d *datagram) error {
	if len(link.Hardware) != len(etherBroadcast) {
		return fault.New(fault.Invalid, "%s is not Ethernet", link.Name)
	}
	conn, err := s.open(link)
	if err != nil {
		return fmt.Errorf("opening a raw socket on %s: %w", link.Name, err)
	}
	_, err = conn.WriteTo(d.frame(), &packet.Addr{HardwareAddr: d.hwTo})
	return err
}

func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
	}
}
