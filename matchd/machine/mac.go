package machine

import (
	"fmt"
	"net"
	"strings"
)

// MAC is a hardware address in lower-case colon form, such as "52:54:00:12:34:56": 6 bytes on Ethernet, 8 or 20 on
// InfiniBand. It is comparable, so it can be a key. The zero value means that no address is known.
type MAC string

// ParseMAC accepts colons, hyphens, Cisco's dots and bare hexadecimal digits in any case.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a MAC address", s)
	}
	return MAC(hw.String()), nil
}

// MACFrom converts a hardware address from a packet. An empty one gives the zero MAC.
func MACFrom(hw net.HardwareAddr) MAC { return MAC(hw.String()) }

// HardwareAddr returns the bytes of the address, nil for the zero MAC.
func (m MAC) HardwareAddr() net.HardwareAddr {
	hw, err := net.ParseMAC(string(m))
	if err != nil {
		return nil
	}
	return hw
}

// Hyphens returns the address as iPXE's ${mac:hexhyp} and our per-machine paths spell it: "52-54-00-12-34-56".
func (m MAC) Hyphens() string { return strings.ReplaceAll(string(m), ":", "-") }

// String returns the address in lower-case colon form.
func (m MAC) String() string { return string(m) }
