// Package wire reads and writes the DHCP messages of the lab's own clients (RFC 2131).
// It is written apart from matchd on purpose: a test must not share its subject's bugs.
package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Message types (option 53, RFC 2132 section 9.6).
const (
	Discover = 1
	Offer    = 2
	Request  = 3
	Decline  = 4
	Ack      = 5
	Nak      = 6
	Release  = 7
	Inform   = 8
)

// Options that the lab's clients use.
const (
	OptRequestedIP = 50
	OptLeaseTime   = 51
	OptType        = 53
	OptServerID    = 54
	OptParameters  = 55
	OptClientID    = 61
)

const (
	headerSize = 240
	minSize    = 300 // what BOOTP had; some servers drop less
)

var cookie = [4]byte{99, 130, 83, 99}

// ErrMessage is returned for bytes that are no DHCP message.
var ErrMessage = errors.New("not a DHCP message")

// Message is a DHCP message over Ethernet.
type Message struct {
	Reply     bool
	XID       uint32
	Broadcast bool
	// Client, Your, Server and Gateway are ciaddr, yiaddr, siaddr and giaddr.
	Client, Your, Server, Gateway netip.Addr
	MAC                           [6]byte
	Options                       map[byte][]byte
}

// Type returns option 53, 0 where there is none.
func (m *Message) Type() byte {
	if v := m.Options[OptType]; len(v) == 1 {
		return v[0]
	}
	return 0
}

// Addr returns an option that holds one address; invalid where there is none.
func (m *Message) Addr(option byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(m.Options[option])
	return addr
}

// SetAddr sets an option to one address.
func (m *Message) SetAddr(option byte, addr netip.Addr) {
	m.Options[option] = addr.AsSlice()
}

// Marshal writes the message with its options in ascending order.
func (m *Message) Marshal() []byte {
	b := make([]byte, headerSize, 512)
	b[0], b[1], b[2] = 1, 1, 6
	if m.Reply {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], m.XID)
	if m.Broadcast {
		b[10] = 0x80
	}
	for i, addr := range []netip.Addr{m.Client, m.Your, m.Server, m.Gateway} {
		if addr.IsValid() {
			copy(b[12+4*i:], addr.AsSlice())
		}
	}
	if m.Gateway.IsValid() && !m.Reply {
		b[3] = 1
	}
	copy(b[28:], m.MAC[:])
	copy(b[236:], cookie[:])
	codes := make([]byte, 0, len(m.Options))
	for code := range m.Options {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		b = append(b, code, byte(len(m.Options[code])))
		b = append(b, m.Options[code]...)
	}
	b = append(b, 255)
	for len(b) < minSize {
		b = append(b, 0)
	}
	return b
}

// Parse reads a message.
func Parse(b []byte) (*Message, error) {
	if len(b) < headerSize || [4]byte(b[236:240]) != cookie {
		return nil, ErrMessage
	}
	m := &Message{
		Reply: b[0] == 2, XID: binary.BigEndian.Uint32(b[4:]), Broadcast: b[10]&0x80 != 0,
		MAC: [6]byte(b[28:34]), Options: map[byte][]byte{},
	}
	for i, addr := range []*netip.Addr{&m.Client, &m.Your, &m.Server, &m.Gateway} {
		*addr = netip.AddrFrom4([4]byte(b[12+4*i : 16+4*i]))
	}
	for rest := b[headerSize:]; len(rest) > 0 && rest[0] != 255; {
		if rest[0] == 0 {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return nil, ErrMessage
		}
		code, size := rest[0], int(rest[1])
		m.Options[code] = append(m.Options[code], rest[2:2+size]...)
		rest = rest[2+size:]
	}
	return m, nil
}

// Port is the port of servers and relays.
const Port = 67
