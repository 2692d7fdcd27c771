package firmware

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Layout of a DHCP message (RFC 2131 section 2), bytes.
const (
	offYiaddr  = 16
	offSiaddr  = 20
	offChaddr  = 28
	offFile    = 108
	offCookie  = 236
	offOptions = 240
	fileSize   = 128
	minMessage = 300
)

// Options that firmware reads or sends.
const (
	optVendor      = 43
	optRequested   = 50
	optType        = 53
	optServerID    = 54
	optParameters  = 55
	optMaxSize     = 57
	optClass       = 60
	optClientID    = 61
	optBootFile    = 67
	optUserClass   = 77
	optArch        = 93
	optInterface   = 94
	optGUID        = 97
	optIPXE        = 175
	optDNS         = 6
	optEnd         = 255
	broadcastFlag  = 0x8000
	typeDiscover   = 1
	typeOffer      = 2
	typeRequest    = 3
	typeAck        = 5
	maxEDK2Message = 1472 // PXEBC_DHCP4_PACKET_MAX_SIZE: longer offers are dropped
)

var cookie = [4]byte{99, 130, 83, 99}

// option is one option to send, in order.
type option struct {
	code  byte
	value []byte
}

// request is a message to send.
type request struct {
	xid     uint32
	secs    uint16
	flags   uint16
	client  netip.Addr // ciaddr
	mac     []byte
	file    string // U-Boot fills it in
	options []option
}

func (q *request) bytes() []byte {
	message := make([]byte, offOptions, minMessage)
	message[0], message[1], message[2] = 1, 1, 6
	binary.BigEndian.PutUint32(message[4:], q.xid)
	binary.BigEndian.PutUint16(message[8:], q.secs)
	binary.BigEndian.PutUint16(message[10:], q.flags)
	if q.client.Is4() {
		addr := q.client.As4()
		copy(message[12:], addr[:])
	}
	copy(message[offChaddr:], q.mac)
	copy(message[offFile:offFile+fileSize-1], q.file)
	copy(message[offCookie:], cookie[:])
	for _, o := range q.options {
		message = append(append(message, o.code, byte(len(o.value))), o.value...)
	}
	message = append(message, optEnd)
	for len(message) < minMessage {
		message = append(message, 0)
	}
	return message
}

// answer is a received message. It reads the bytes anew each time, as firmware does that keeps pointers into the packet.
type answer struct{ raw []byte }

var errNotDHCP = errors.New("not a DHCP reply to us")

// parseAnswer checks what every client checks before it looks further.
func parseAnswer(raw []byte, xid uint32, mac []byte) (*answer, error) {
	if len(raw) < offOptions || raw[0] != 2 || !bytes.Equal(raw[offCookie:offOptions], cookie[:]) ||
		binary.BigEndian.Uint32(raw[4:]) != xid || !bytes.Equal(raw[offChaddr:offChaddr+len(mac)], mac) {
		return nil, errNotDHCP
	}
	return &answer{raw: bytes.Clone(raw)}, nil
}

// offset returns where the value of an option starts and how long it is. It stops at END and at what does not fit.
func (a *answer) offset(code byte) (start, length int, ok bool) {
	for i := offOptions; i < len(a.raw) && a.raw[i] != optEnd; {
		if a.raw[i] == 0 {
			i++
			continue
		}
		if i+1 >= len(a.raw) || i+2+int(a.raw[i+1]) > len(a.raw) {
			break
		}
		if a.raw[i] == code {
			return i + 2, int(a.raw[i+1]), true
		}
		i += 2 + int(a.raw[i+1])
	}
	return 0, 0, false
}

func (a *answer) option(code byte) []byte {
	start, length, ok := a.offset(code)
	if !ok {
		return nil
	}
	return a.raw[start : start+length]
}

func (a *answer) messageType() byte {
	if value := a.option(optType); len(value) == 1 {
		return value[0]
	}
	return 0
}

func addrAt(raw []byte) netip.Addr {
	if len(raw) < 4 {
		return netip.Addr{}
	}
	addr := netip.AddrFrom4([4]byte(raw[:4]))
	if addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}

func (a *answer) yiaddr() netip.Addr   { return addrAt(a.raw[offYiaddr:]) }
func (a *answer) siaddr() netip.Addr   { return addrAt(a.raw[offSiaddr:]) }
func (a *answer) serverID() netip.Addr { return addrAt(a.option(optServerID)) }

// nextServer is siaddr, else option 54: nobody here reads option 66 or 150 or sname (FIRMWARE fact 5).
func (a *answer) nextServer() netip.Addr {
	if addr := a.siaddr(); addr.IsValid() {
		return addr
	}
	return a.serverID()
}

// headerFile is the file field up to its NUL.
func (a *answer) headerFile() string { return text(a.raw[offFile : offFile+fileSize]) }

// file is option 67, else the file field.
func (a *answer) file() string {
	if value := a.option(optBootFile); value != nil {
		return text(value)
	}
	return a.headerFile()
}

// class reports whether option 60 begins with prefix.
func (a *answer) class(prefix string) bool {
	return bytes.HasPrefix(a.option(optClass), []byte(prefix))
}

// vendor returns a sub-option of option 43.
func (a *answer) vendor(code byte) ([]byte, bool) {
	value := a.option(optVendor)
	for len(value) > 0 && value[0] != optEnd {
		if value[0] == 0 {
			value = value[1:]
			continue
		}
		if len(value) < 2 || len(value) < 2+int(value[1]) {
			break
		}
		if value[0] == code {
			return value[2 : 2+int(value[1])], true
		}
		value = value[2+int(value[1]):]
	}
	return nil, false
}

func text(field []byte) string {
	before, _, _ := bytes.Cut(field, []byte{0})
	return string(before)
}
