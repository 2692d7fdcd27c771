package firmware_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/firmware"
)

var (
	dhcpServer = [4]byte{10, 0, 0, 2}
	bootServer = [4]byte{10, 0, 0, 1}
	leased     = [4]byte{10, 0, 0, 200}
	nobody     [4]byte
)

// option is one option of a reply, in the order given.
type option struct {
	code  byte
	value string
}

// reply is one answer of a network's server, written by hand. A lease is acknowledged in the same words.
type reply struct {
	yiaddr, siaddr [4]byte
	file           string
	options        []option // without 53
	pad            int      // bytes of padding behind the end, for size
}

func (r reply) bytes(request []byte, kind byte) []byte {
	message := make([]byte, 240, 400)
	message[0], message[1], message[2] = 2, 1, 6
	copy(message[4:8], request[4:8])
	copy(message[16:], r.yiaddr[:])
	copy(message[20:], r.siaddr[:])
	copy(message[28:44], request[28:44])
	copy(message[108:], r.file)
	copy(message[236:], "\x63\x82\x53\x63")
	for _, o := range append([]option{{53, string(kind)}}, r.options...) {
		message = append(append(message, o.code, byte(len(o.value))), o.value...)
	}
	return append(append(message, 255), make([]byte, r.pad)...)
}

// network answers DISCOVER with all offers in their order, REQUEST with the offer whose option 54 is asked for, and port 4011 of an
// address with what bootPort has for it.
type network struct {
	offers   []reply
	ack      *reply // instead of the offer's words
	bootPort map[[4]byte]reply
	asked    []netip.AddrPort
}

func (n *network) Exchange(_ context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	n.asked = append(n.asked, to)
	if to.Port() == 4011 {
		answer, ok := n.bootPort[to.Addr().As4()]
		if !ok {
			return nil, nil
		}
		return [][]byte{answer.bytes(packet, 5)}, nil
	}
	var answers [][]byte
	server, isRequest := find(packet, 54)
	for _, offer := range n.offers {
		switch {
		case !isRequest:
			answers = append(answers, offer.bytes(packet, 2))
		case offer.yiaddr != nobody && offer.has(54, server):
			if n.ack != nil {
				offer = *n.ack
			}
			answers = append(answers, offer.bytes(packet, 5))
		}
	}
	return answers, nil
}

func (r reply) has(code byte, value string) bool {
	for _, o := range r.options {
		if o.code == code && o.value == value {
			return true
		}
	}
	return false
}

func find(packet []byte, code byte) (string, bool) {
	for i := 240; i+1 < len(packet) && packet[i] != 255; i += 2 + int(packet[i+1]) {
		if packet[i] == code {
			return string(packet[i+2 : i+2+int(packet[i+1])]), true
		}
	}
	return "", false
}

// Offers that tests put together.
var (
	id      = option{54, string(dhcpServer[:])}
	bootID  = option{54, string(bootServer[:])}
	pxe     = option{60, "PXEClient"}
	load    = option{43, "\x06\x01\x08\xff"}
	bare    = reply{yiaddr: leased, options: []option{id}}
	proxy   = reply{siaddr: bootServer, file: "ours.efi", options: []option{bootID, pxe, load, {67, "ours.efi\x00"}}}
	pointer = reply{siaddr: bootServer, options: []option{bootID, pxe}}
	second  = reply{siaddr: bootServer, file: "ours.efi", options: []option{bootID, pxe, load, {67, "ours.efi\x00"}}}
)

func locate(t *testing.T, kind firmware.Kind, n *network) firmware.Trace {
	t.Helper()
	return firmware.Locate(context.Background(), firmware.Machine{Kind: kind, MAC: "52:54:00:00:00:01"}, firmware.Wires{DHCP: n})
}

// files is TFTP and HTTP at once, from URL to content.
type files map[string]string

func (f files) Read(_ context.Context, r firmware.TFTPRequest) ([]byte, int64, error) {
	content, ok := f["tftp://"+r.Server.String()+"/"+strings.TrimPrefix(r.File, "/")]
	if !ok {
		return nil, 0, errors.New("file not found")
	}
	return []byte(content), int64(len(content)), nil
}

func (f files) RoundTrip(r *http.Request) (*http.Response, error) {
	content, ok := f[r.URL.String()]
	response := &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Header: http.Header{}, Request: r, ContentLength: int64(len(content))}
	if !ok {
		response.StatusCode, response.Status = http.StatusNotFound, "404 Not Found"
	}
	response.Body = io.NopCloser(bytes.NewReader([]byte(content)))
	return response, nil
}

func boot(m firmware.Machine, n *network, f files) firmware.Trace {
	if m.MAC == "" {
		m.MAC = "52:54:00:00:00:01"
	}
	return firmware.Boot(context.Background(), m, firmware.Wires{DHCP: n, TFTP: f, HTTP: f})
}

func explain(t *testing.T, trace firmware.Trace) {
	t.Helper()
	for _, step := range trace.Steps {
		t.Logf("%s: %s", step.Actor, step.Text)
	}
}
