package dhcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Sub-options of option 82 (RFC 3046, RFC 3527, RFC 5107).
const (
	relayCircuitID     = 1
	relayLinkSelection = 5
	relayServerID      = 11
)

// Beginnings of option 60 that make a boot client.
const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// Message sizes in bytes, without IP and UDP headers where it says payload (RFC 2131 section 2, RFC 2132 section 9.10).
const (
	minMessage    = 576  // what every client takes
	headers       = 28   // IPv4 without options, and UDP
	maxHostname   = 63   // RFC 1035 section 2.3.4
	maxArches     = 16   // of option 93; more is noise
	guidLength    = 17   // option 97: type and UUID, RFC 4578 section 2.3
	ethernetMTU   = 1500 // where the interface does not tell
	hwtypeEther   = 1    // of the header's htype field
	maxPacketSize = 2048 // of what we read; no client sends more than an Ethernet frame
)

// Query is what one packet from a client says.
type Query struct {
	Packet    *dhcpv4.DHCPv4
	Type      dhcpv4.MessageType
	Boot      boot.Request // filled in for every client; meaningful where IsBoot
	IsBoot    bool         // a client that wants to boot from the network
	Class     string       // option 60 as sent
	GUID      []byte       // option 97 if it is fit to be echoed, else nil
	ClientID  []byte       // option 61
	CircuitID []byte       // option 82 sub-option 1
	Link      netip.Addr   // option 82 sub-option 5, which outranks Relay; else the zero Addr
	Override  netip.Addr   // option 82 sub-option 11: the server identifier that the relay wants
	Relay     netip.Addr   // giaddr; the zero Addr where there is none
	Client    netip.Addr   // ciaddr; the zero Addr where there is none
	Requested netip.Addr   // option 50
	ServerID  netip.Addr   // option 54
	Hostname  string       // option 12 if it is a host name
	Odd       []string     // what is wrong with the packet and yet no reason not to answer
	wishes    wishes       // option 55
	limit     int          // option 57, 0 where absent
}

// Parse reads a packet from a client. An error of kind Invalid says why it deserves no answer.
func Parse(packet []byte) (*Query, error) {
	p, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return nil, fault.New(fault.Invalid, "malformed: %w", err)
	}
	if p.OpCode != dhcpv4.OpcodeBootRequest {
		return nil, fault.New(fault.Invalid, "not a request")
	}
	kind := p.Options[53]
	if len(kind) != 1 {
		return nil, fault.New(fault.Invalid, "no message type")
	}
	q := &Query{
		Packet: p, Type: dhcpv4.MessageType(kind[0]), Class: string(p.Options[60]), ClientID: p.Options[61],
		Relay: setAddr(p.GatewayIPAddr), Client: setAddr(p.ClientIPAddr),
		Requested: setAddr(p.Options[50]), ServerID: setAddr(p.Options[54]),
		Hostname: hostname(p.Options[12]), wishes: wishes(p.Options[55]),
	}
	if size := p.Options[57]; len(size) == 2 {
		q.limit = int(binary.BigEndian.Uint16(size))
	}
	if err := q.identify(); err != nil {
		return nil, err
	}
	q.readRelay()
	q.readBoot()
	return q, nil
}

// identify reads who is asking: an Ethernet address, or a client identifier where InfiniBand has none that fits (RFC 4390).
func (q *Query) identify() error {
	hw := q.Packet.ClientHWAddr
	known := len(hw) == 6 || len(hw) == 8
	if known && strings.Trim(string(hw), "\x00") != "" {
		q.Boot.Machine.MAC = machine.MACFrom(hw)
	}
	if q.Boot.Machine.MAC == "" && len(q.ClientID) == 0 {
		return fault.New(fault.Invalid, "neither a hardware address nor a client identifier")
	}
	q.Boot.Machine.Hostname = q.Hostname
	guid := q.Packet.Options[97]
	switch {
	case len(guid) == guidLength && guid[0] == 0:
		q.GUID = guid
		q.Boot.Machine.UUID = uuidText(guid[1:])
	case len(guid) > 0:
		q.Odd = append(q.Odd, "option 97 is not a type 0 UUID")
	}
	return nil
}

// uuidText writes a UUID of option 97: the first three fields arrive little-endian, as SMBIOS has them. All zeros or all ones mean
// that the board has none.
func uuidText(raw []byte) string {
	if bytes.Count(raw, []byte{0}) == len(raw) || bytes.Count(raw, []byte{0xff}) == len(raw) {
		return ""
	}
	digits := hex.EncodeToString(raw)
	return machine.SwapUUID(digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:])
}

func (q *Query) readRelay() {
	info := q.Packet.Options[82]
	for len(info) >= 2 && len(info) >= 2+int(info[1]) {
		value := info[2 : 2+int(info[1])]
		switch info[0] {
		case relayCircuitID:
			q.CircuitID = value
		case relayLinkSelection:
			q.Link = setAddr(value)
		case relayServerID:
			q.Override = setAddr(value)
		}
		info = info[2+len(value):]
	}
	if !q.Relay.IsValid() { // what a client writes into option 82 itself is not a relay's word
		q.Link, q.Override = netip.Addr{}, netip.Addr{}
	}
}

// readBoot reads what firmware the client is. User class and option 175 come before options 60 and 93, because iPXE keeps those of
// the firmware that it came from (FIRMWARE fact 23).
func (q *Query) readBoot() {
	r := &q.Boot
	features := readFeatures(q.Packet.Options[175])
	r.IPXE = isIPXE(q.Packet.Options[77]) || len(features) > 0
	r.Capable = r.IPXE && features.capable()
	r.HTTPBoot = !r.IPXE && strings.HasPrefix(q.Class, classHTTP)
	r.Arches = readArches(q.Packet.Options[93])
	if len(r.Arches) == 0 {
		r.Arches = archOfClass(q.Class)
	}
	q.IsBoot = r.IPXE || r.HTTPBoot || strings.HasPrefix(q.Class, classPXE) || len(q.Packet.Options[93]) > 0
	for _, arch := range r.Arches {
		if arch.Bootable() || len(r.Arches) == 1 {
			r.Machine.Arch, r.Machine.HasArch = arch, true
			break
		}
	}
}

// readArches reads option 93, which may hold several types (RFC 4578 section 2.1).
func readArches(value []byte) []machine.Arch {
	if len(value) == 1 { // some ROMs write one byte
		return []machine.Arch{machine.Arch(value[0])}
	}
	count := min(len(value)/2, maxArches)
	if count == 0 {
		return nil
	}
	arches := make([]machine.Arch, count)
	for i := range arches {
		arches[i] = machine.Arch(binary.BigEndian.Uint16(value[2*i:]))
	}
	return arches
}

// archOfClass reads "PXEClient:Arch:00011:UNDI:003000", for firmware that sends no option 93 (FIRMWARE table 3.0, last row).
func archOfClass(class string) []machine.Arch {
	_, rest, found := strings.Cut(class, ":Arch:")
	if !found {
		return nil
	}
	digits, _, _ := strings.Cut(rest, ":")
	number, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil
	}
	return []machine.Arch{machine.Arch(number)}
}

// payload returns how many bytes the reply may have on a link with the given MTU. EDK2 says 65280 where it means 255 (FIRMWARE fact
// 47), so the client's word is clamped from both sides.
func (q *Query) payload(mtu int) int {
	if mtu <= 0 {
		mtu = ethernetMTU
	}
	return max(min(max(q.limit, minMessage), mtu), minMessage) - headers
}

// setAddr converts four bytes to an address; anything else, and 0.0.0.0, is the zero Addr.
func setAddr(bytes []byte) netip.Addr {
	if len(bytes) != 4 {
		return netip.Addr{}
	}
	addr := netip.AddrFrom4([4]byte(bytes))
	if addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}

// hostname returns the first label of option 12, lower-case, or nothing if it is no host name: it reaches labels, templates and logs.
func hostname(value []byte) string {
	name, _, _ := strings.Cut(strings.TrimRight(string(value), "\x00"), ".")
	if name == "" || len(name) > maxHostname {
		return ""
	}
	for i := range len(name) {
		c := name[i] | 0x20
		if !(c >= 'a' && c <= 'z' || name[i] >= '0' && name[i] <= '9' || name[i] == '-' && i > 0) {
			return ""
		}
	}
	return strings.ToLower(name)
}
