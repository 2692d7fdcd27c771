package dhcp

import (
	"fmt"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Describe says in one line what a packet tells of booting: its type, the address, the server and the boot file that it gives. Bytes that are no
// packet are said to be none.
func Describe(packet []byte) string {
	p, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return "no DHCP packet"
	}
	parts := []string{p.MessageType().String()}
	if !p.YourIPAddr.IsUnspecified() {
		parts = append(parts, fmt.Sprintf("address %v", p.YourIPAddr))
	}
	if id := p.ServerIdentifier(); id != nil {
		parts = append(parts, fmt.Sprintf("from server %v", id))
	}
	if !p.ServerIPAddr.IsUnspecified() {
		parts = append(parts, fmt.Sprintf("next server %v", p.ServerIPAddr))
	}
	file := strings.TrimRight(string(p.Options[67]), "\x00")
	if file == "" {
		file = p.BootFileName
	}
	if file != "" && p.OpCode == dhcpv4.OpcodeBootReply {
		parts = append(parts, fmt.Sprintf("boot file %q", file))
	}
	return strings.Join(parts, ", ")
}
