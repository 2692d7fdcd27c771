package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/lease"
)

// Renewal times as parts of the lease time, in eighths (RFC 2131 section 4.4.5).
const (
	renewEighths  = 4
	rebindEighths = 7
)

// Reply is everything that an answer is made of, besides the question.
type Reply struct {
	Type     dhcpv4.MessageType
	Server   netip.Addr     // option 54: Own, or what the client's relay wants there
	Own      netip.Addr     // our address towards the client
	Grant    *lease.Grant   // the address given; nil for a proxy and for INFORM
	Subnet   netip.Prefix   // gives option 1; the zero Prefix leaves it out
	Settings *Settings      // nil: none
	Decision *boot.Decision // nil: no boot information
	Style    Style          // how the boot information is written
	Message  string         // option 56 of a NAK
	MTU      int            // of the interface, bytes; 0: Ethernet's
}

// Bytes writes the reply to q. It is a pure function: the same question and answer give the same bytes. Nothing is written into
// the file and sname fields but what they are for (no option 52), nothing pads between options, and option 82 comes last.
func (r *Reply) Bytes(q *Query) []byte {
	request := q.Packet
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: request.HWType, ClientHWAddr: request.ClientHWAddr,
		TransactionID: request.TransactionID, Flags: request.Flags, GatewayIPAddr: request.GatewayIPAddr,
		Options: make(dhcpv4.Options, 20),
	}
	p.Options[53] = []byte{byte(r.Type)}
	p.Options[54] = r.Server.AsSlice()
	if len(q.ClientID) > 0 { // RFC 6842
		p.Options[61] = q.ClientID
	}
	if info := request.Options[82]; len(info) > 0 {
		p.Options[82] = info
	}
	if r.Type == dhcpv4.MessageTypeNak {
		r.refuse(p)
		return p.ToBytes()
	}
	if r.Type == dhcpv4.MessageTypeAck {
		p.ClientIPAddr = request.ClientIPAddr
	}
	if r.Settings != nil {
		r.Settings.add(p.Options, q.wishes)
	}
	if r.Grant != nil {
		r.addGrant(p)
	}
	if r.Subnet.IsValid() {
		p.Options[1] = netmask(r.Subnet)
	}
	if r.Decision != nil {
		r.addBoot(p, q)
	}
	shrink(p, q.wishes, q.payload(r.MTU))
	return p.ToBytes()
}

// refuse makes a NAK of p: RFC 2131 table 3 allows it little, and behind a relay the client must be reached by broadcast.
func (r *Reply) refuse(p *dhcpv4.DHCPv4) {
	if r.Message != "" {
		p.Options[56] = []byte(r.Message)
	}
	if !p.GatewayIPAddr.IsUnspecified() {
		p.SetBroadcast()
	}
}

func (r *Reply) addGrant(p *dhcpv4.DHCPv4) {
	p.YourIPAddr = r.Grant.Lease.Address.AsSlice()
	seconds := uint32(min(max(r.Grant.Time/time.Second, 1), 1<<32-1))
	p.Options[51] = binary.BigEndian.AppendUint32(nil, seconds)
	p.Options[58] = binary.BigEndian.AppendUint32(nil, uint32(uint64(seconds)*renewEighths/8))
	p.Options[59] = binary.BigEndian.AppendUint32(nil, uint32(uint64(seconds)*rebindEighths/8))
	if reservation := r.Grant.Reservation; reservation != nil && reservation.Hostname != "" {
		p.Options[12] = []byte(reservation.Hostname)
	}
}

func netmask(prefix netip.Prefix) []byte {
	return binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-prefix.Bits()))
}

// essential are the options that a reply never loses for want of room.
var essential = [...]uint8{1, 3, 6, 43, 51, 53, 54, 60, 61, 67, 82, 97, 121, 175}

// fixedSize is a message's size without options: header, magic cookie and END.
const fixedSize = 236 + 4 + 1

// shrink drops options until the message fits into limit bytes: first what the client did not ask for, then from the end of its
// list. Overloading file and sname would make more room, and PXE clients that cannot boot (FIRMWARE fact 47).
func shrink(p *dhcpv4.DHCPv4, list wishes, limit int) {
	size := fixedSize
	for _, value := range p.Options {
		size += len(value) + 2*max(1, (len(value)+maxOption-1)/maxOption)
	}
	if size <= limit {
		return
	}
	for _, code := range leastWanted(p.Options, list) {
		size -= len(p.Options[code]) + 2
		delete(p.Options, code)
		if size <= limit {
			return
		}
	}
}

// leastWanted lists the options that may be dropped, in that order.
func leastWanted(options dhcpv4.Options, list wishes) []uint8 {
	var codes []uint8
	for code := range options {
		if !slices.Contains(essential[:], code) {
			codes = append(codes, code)
		}
	}
	rank := func(code uint8) int {
		if i := slices.Index(list, code); i >= 0 {
			return i
		}
		return len(list) + int(code)
	}
	slices.SortFunc(codes, func(a, b uint8) int { return rank(b) - rank(a) })
	return codes
}
