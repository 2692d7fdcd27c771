package tftp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Opcodes (RFC 1350 section 5, RFC 2347).
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOACK  = 6
)

// Error codes (RFC 1350 appendix, RFC 2347).
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeDenied    = 2
	codeIllegal   = 4
	codeRefused   = 8 // the client does not like the options, or wanted to know nothing but the size
)

// Bounds of the options' values.
const (
	defaultBlock = 512
	maxBlock     = 65464 // RFC 2348
)

// request is a read request. Options that were not asked for, or with a value outside of their RFC, are zero.
type request struct {
	name     string
	netascii bool
	blksize  int
	tsize    bool
	window   int
}

// protocolError is a request that cannot be served whatever the name, or the client's own ERROR.
type protocolError struct {
	code uint16
	text string
}

func (e *protocolError) Error() string { return fmt.Sprintf("error %d: %s", e.code, e.text) }

// parseRequest decodes a packet that came to the listening port. silent means that it is no request and must not be answered: an
// ERROR in reply to a stray ACK or ERROR could set two machines talking for ever.
func parseRequest(p []byte) (r request, silent bool, err error) {
	if len(p) < 4 {
		return r, true, &protocolError{codeIllegal, "packet too short"}
	}
	switch binary.BigEndian.Uint16(p) {
	case opRead:
	case opWrite:
		return r, false, &protocolError{codeDenied, "this server is read-only"}
	default:
		return r, true, &protocolError{codeIllegal, "not a request"}
	}
	fields := strings.Split(string(p[2:]), "\x00")
	// Every string ends with a NUL, so the last field is what follows the last one: nothing. Some clients forget that NUL.
	if fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	if len(fields) < 2 || fields[0] == "" {
		return r, false, &protocolError{codeIllegal, "request without file name or mode"}
	}
	r.name = fields[0]
	switch strings.ToLower(fields[1]) {
	case "octet":
	case "netascii":
		r.netascii = true
	default:
		return r, false, &protocolError{codeIllegal, "mode is neither octet nor netascii"}
	}
	for i := 2; i+1 < len(fields); i += 2 {
		r.option(fields[i], fields[i+1])
	}
	return r, false, nil
}

// option takes in one option. An unknown one and a value that the RFC does not allow are ignored, which RFC 2347 means by "should
// simply be omitted": the client goes on with the default.
func (r *request) option(name, value string) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return
	}
	switch strings.ToLower(name) {
	case "blksize":
		// The library knows no block below 512, and no firmware asks for one.
		if n >= defaultBlock && n <= maxBlock {
			r.blksize = n
		}
	case "tsize":
		r.tsize = n >= 0
	case "windowsize":
		if n >= 1 && n <= 65535 {
			r.window = min(n, MaxWindow)
		}
	}
}

// terms are the options as granted.
type terms struct {
	block  int   // bytes
	window int   // blocks
	size   int64 // bytes; -1: not told
}

// agree settles the terms. limit is the largest block that fits the path.
func (r *request) agree(limit int, size int64) terms {
	t := terms{block: defaultBlock, window: max(1, r.window), size: -1}
	if r.blksize > 0 {
		t.block = max(defaultBlock, min(r.blksize, limit))
	}
	if r.tsize && !r.netascii { // netascii grows a file by its line ends (RFC 2349 leaves the size of that open)
		t.size = size
	}
	return t
}

// oack returns the OACK that grants the terms, nil if no option was asked for.
func (r *request) oack(t terms) []byte {
	var p []byte
	add := func(name string, value int64) {
		p = append(p, name...)
		p = append(p, 0)
		p = strconv.AppendInt(p, value, 10)
		p = append(p, 0)
	}
	if r.blksize > 0 {
		add("blksize", int64(t.block))
	}
	if t.size >= 0 {
		add("tsize", t.size)
	}
	if r.window > 0 {
		add("windowsize", int64(t.window))
	}
	if p == nil {
		return nil
	}
	return append([]byte{0, opOACK}, p...)
}

// forLibrary returns the request that the library is given: it knows nothing of names, and its block is the one granted. With an option
// in it, the library sends an OACK, which the wire replaces by ours.
func (r *request) forLibrary(t terms, withOACK bool) []byte {
	mode := "octet"
	if r.netascii {
		mode = "netascii"
	}
	p := append([]byte{0, opRead}, "file\x00"+mode+"\x00"...)
	if withOACK {
		p = append(p, "blksize\x00"+strconv.Itoa(t.block)+"\x00"...)
	}
	return p
}

// errorPacket returns an ERROR. Some clients keep 512 bytes for it.
func errorPacket(code uint16, text string) []byte {
	p := binary.BigEndian.AppendUint16([]byte{0, opError}, code)
	return append(append(p, text[:min(len(text), defaultBlock-1)]...), 0)
}

// parseError decodes the client's ERROR; p is one by its opcode.
func parseError(p []byte) *protocolError {
	e := &protocolError{code: codeUndefined}
	if len(p) >= 4 {
		e.code = binary.BigEndian.Uint16(p[2:])
		text, _, _ := strings.Cut(string(p[4:]), "\x00")
		e.text = strings.ToValidUTF8(text, "?")
	}
	return e
}

func ackPacket(block uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
}
