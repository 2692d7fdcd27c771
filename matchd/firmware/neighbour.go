package firmware

import (
	"encoding/binary"
	"net/netip"
)

// Options that a plain DHCP server sends, and its lease time in seconds.
const (
	optMask       = 1
	optLeaseTime  = 51
	neighbourTime = 3600
)

// Neighbour is a DHCP server that gives one address and knows nothing of booting: what a proxy stands beside.
type Neighbour struct {
	Server netip.Addr
	Client netip.Prefix // the address that it gives, with its network
}

// Answer returns the offer or the acknowledgement for a packet; nil where the server stays silent: the packet is no DHCP request, or for another server.
func (n Neighbour) Answer(packet []byte) []byte {
	q := answer{raw: packet}
	if len(packet) < offOptions || packet[0] != 1 || [4]byte(packet[offCookie:offOptions]) != cookie {
		return nil
	}
	kind := byte(typeOffer)
	switch q.messageType() {
	case typeDiscover:
	case typeRequest:
		kind = typeAck
		if id := q.serverID(); id.IsValid() && id != n.Server {
			return nil
		}
	default:
		return nil
	}
	reply := make([]byte, offOptions, minMessage)
	copy(reply, packet[:offOptions])
	reply[0] = 2
	clear(reply[offYiaddr:offSiaddr])
	address, server := n.Client.Addr().As4(), n.Server.As4()
	copy(reply[offYiaddr:], address[:])
	copy(reply[offSiaddr:], server[:])
	clear(reply[offFile-serverNameSize : offCookie])
	mask := ^uint32(0) << (32 - n.Client.Bits())
	for _, o := range []option{
		{optType, []byte{kind}}, {optServerID, server[:]},
		{optLeaseTime, binary.BigEndian.AppendUint32(nil, neighbourTime)}, {optMask, binary.BigEndian.AppendUint32(nil, mask)},
	} {
		reply = append(append(reply, o.code, byte(len(o.value))), o.value...)
	}
	return append(reply, optEnd)
}

// serverNameSize is the length of the header field before the file name (RFC 2131 figure 1).
const serverNameSize = 64
