package dhcp_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/matchd/matchd/matchd/dhcp"
)

var otherMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}

func TestFrames(t *testing.T) {
	from, to := netip.MustParseAddrPort("10.0.0.1:67"), netip.MustParseAddrPort("10.0.0.100:68")
	for length := range 9 {
		payload := make([]byte, length)
		for i := range payload {
			payload[i] = byte(255 - i)
		}
		frame := dhcp.FrameOf(from, to, otherMAC, testMAC.HardwareAddr(), payload)
		if !dhcp.ChecksumsHold(frame) {
			t.Errorf("%d bytes: a checksum is wrong", length)
		}
		got, source, ok := dhcp.UDPOf(frame, 68)
		if !ok || string(got) != string(payload) || source != from.Addr() {
			t.Errorf("%d bytes: read back %x from %v", length, got, source)
		}
		if _, _, ok := dhcp.UDPOf(frame, 67); ok {
			t.Error("another port's packet is taken")
		}
		for cut := range len(frame) - len(payload) {
			if _, _, ok := dhcp.UDPOf(frame[:cut], 68); ok {
				t.Errorf("a frame cut to %d bytes is taken", cut)
			}
		}
	}
}

func TestARP(t *testing.T) {
	addr, self := netip.MustParseAddr("10.0.0.7"), testMAC.HardwareAddr()
	probe := dhcp.ARPProbe(self, addr)
	if len(probe) != 60 || string(probe[:6]) != string(dhcp.EtherBroadcast) || string(probe[38:42]) != "\x0a\x00\x00\x07" {
		t.Errorf("probe %x", probe)
	}
	if string(probe[28:32]) != "\x00\x00\x00\x00" {
		t.Error("a probe claims an address: neighbours would learn it")
	}
	answer := append([]byte(nil), probe...)
	answer[21] = 2 // reply
	copy(answer[22:28], otherMAC)
	copy(answer[28:32], addr.AsSlice())
	if !dhcp.ARPFrom(answer, addr, self) {
		t.Error("the owner's reply is overlooked")
	}
	if dhcp.ARPFrom(answer, netip.MustParseAddr("10.0.0.8"), self) {
		t.Error("another address counts")
	}
	if dhcp.ARPFrom(probe, addr, self) || dhcp.ARPFrom(answer, addr, otherMAC) {
		t.Error("our own packet counts")
	}
	for cut := range 42 {
		if dhcp.ARPFrom(answer[:cut], addr, self) {
			t.Errorf("a frame cut to %d bytes counts", cut)
		}
	}
	answer[21] = 3
	if dhcp.ARPFrom(answer, addr, self) {
		t.Error("RARP counts")
	}
}
