package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Sizes and numbers of Ethernet, IPv4 (RFC 791), UDP (RFC 768) and ARP (RFC 826).
const (
	etherHeader   = 14
	ipv4Header    = 20
	udpHeader     = 8
	etherIPv4     = 0x0800
	etherARP      = 0x0806
	protocolUDP   = 17
	hopLimit      = 64
	arpSize       = 28
	arpRequest    = 1
	arpReply      = 2
	minEtherFrame = 60
)

var etherBroadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// datagram is a UDP packet to be put into a frame by ourselves, since the kernel has no ARP entry for its destination.
type datagram struct {
	from, to     netip.AddrPort
	hwFrom, hwTo net.HardwareAddr
	payload      []byte
}

// frame returns the Ethernet frame of a datagram, with both checksums.
func (d *datagram) frame() []byte {
	udpLength := udpHeader + len(d.payload)
	frame := make([]byte, 0, etherHeader+ipv4Header+udpLength)
	frame = append(frame, d.hwTo...)
	frame = append(frame, d.hwFrom...)
	frame = binary.BigEndian.AppendUint16(frame, etherIPv4)

	source, dest := d.from.Addr().As4(), d.to.Addr().As4()
	frame = append(frame, 0x45, 0x10) // version and header length; low delay, as DHCP servers do
	frame = binary.BigEndian.AppendUint16(frame, uint16(ipv4Header+udpLength))
	frame = append(frame, 0, 0, 0x40, 0, hopLimit, protocolUDP, 0, 0) // no fragments
	frame = append(append(frame, source[:]...), dest[:]...)
	ip := frame[etherHeader:]
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(0, ip)))

	frame = binary.BigEndian.AppendUint16(frame, d.from.Port())
	frame = binary.BigEndian.AppendUint16(frame, d.to.Port())
	frame = binary.BigEndian.AppendUint16(frame, uint16(udpLength))
	frame = append(append(frame, 0, 0), d.payload...)
	udp := frame[etherHeader+ipv4Header:]
	pseudo := sum(sum(protocolUDP+uint32(udpLength), source[:]), dest[:])
	checksum := ^fold(sum(pseudo, udp))
	if checksum == 0 { // zero says that there is none
		checksum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], checksum)
	return frame
}

// sum adds bytes as 16-bit words to a checksum (RFC 1071).
func sum(total uint32, bytes []byte) uint32 {
	for len(bytes) >= 2 {
		total += uint32(binary.BigEndian.Uint16(bytes))
		bytes = bytes[2:]
	}
	if len(bytes) == 1 {
		total += uint32(bytes[0]) << 8
	}
	return total
}

func fold(total uint32) uint16 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// udpOf returns the payload of an Ethernet frame that carries UDP to the given port, and the address that sent it.
func udpOf(frame []byte, port uint16) (payload []byte, from netip.Addr, ok bool) {
	if len(frame) < etherHeader+ipv4Header || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return nil, netip.Addr{}, false
	}
	ip := frame[etherHeader:]
	size := int(ip[0]&0x0f) * 4
	if ip[0]>>4 != 4 || ip[9] != protocolUDP || size < ipv4Header || len(ip) < size+udpHeader {
		return nil, netip.Addr{}, false
	}
	udp := ip[size:]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != port || length < udpHeader || length > len(udp) {
		return nil, netip.Addr{}, false
	}
	return udp[udpHeader:length], netip.AddrFrom4([4]byte(ip[12:16])), true
}

// arpProbe asks who has target without claiming an address (RFC 5227 section 2.1.1: the sender's address is zero).
func arpProbe(hw net.HardwareAddr, target netip.Addr) []byte {
	frame := make([]byte, 0, minEtherFrame)
	frame = append(append(frame, etherBroadcast...), hw...)
	frame = binary.BigEndian.AppendUint16(frame, etherARP)
	frame = append(frame, 0, 1, 8, 0, 6, 4, 0, arpRequest)
	frame = append(append(frame, hw...), 0, 0, 0, 0)
	addr := target.As4()
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), addr[:]...)
	return frame[:minEtherFrame]
}

// arpFrom reports whether an Ethernet frame is ARP sent by the owner of addr, other than ourselves. Both requests and replies of
// the owner show that it is there (RFC 5227 section 2.1.1).
func arpFrom(frame []byte, addr netip.Addr, self net.HardwareAddr) bool {
	if len(frame) < etherHeader+arpSize || binary.BigEndian.Uint16(frame[12:]) != etherARP {
		return false
	}
	arp := frame[etherHeader:]
	if binary.BigEndian.Uint16(arp[2:]) != etherIPv4 || arp[4] != 6 || arp[5] != 4 {
		return false
	}
	operation := binary.BigEndian.Uint16(arp[6:])
	if operation != arpRequest && operation != arpReply {
		return false
	}
	return netip.AddrFrom4([4]byte(arp[14:18])) == addr && string(arp[8:14]) != string(self)
}
