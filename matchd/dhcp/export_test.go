package dhcp

import (
	"net"
	"net/netip"
)

// FrameOf builds the frame of a UDP packet; tests play clients with it.
func FrameOf(from, to netip.AddrPort, hwFrom, hwTo net.HardwareAddr, payload []byte) []byte {
	d := datagram{from: from, to: to, hwFrom: hwFrom, hwTo: hwTo, payload: payload}
	return d.frame()
}

// UDPOf is udpOf.
func UDPOf(frame []byte, port uint16) (payload []byte, from netip.Addr, ok bool) {
	return udpOf(frame, port)
}

// ChecksumsHold verifies the IPv4 and UDP checksums of a frame.
func ChecksumsHold(frame []byte) bool {
	ip := frame[etherHeader:]
	udp := ip[ipv4Header:]
	pseudo := sum(sum(protocolUDP+uint32(len(udp)), ip[12:16]), ip[16:20])
	return fold(sum(0, ip[:ipv4Header])) == 0xffff && fold(sum(pseudo, udp)) == 0xffff
}

// ARPProbe and ARPFrom are the conflict probe's two sides.
var (
	ARPProbe = arpProbe
	ARPFrom  = arpFrom
)

// EtherBroadcast is the address that everybody hears.
var EtherBroadcast = etherBroadcast
