package tftp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// link carries packets to and from one client.
type link interface {
	send(p []byte) error
	// recv waits for a packet until the deadline, then fails with os.ErrDeadlineExceeded.
	recv(p []byte, deadline time.Time) (int, error)
	// close makes a waiting and every later recv fail. It may be called more than once.
	close()
}

var (
	errNoAnswer = errors.New("the client stopped answering")
	errEnding   = errors.New("the server is shutting down")
)

// wire is the connection that one transfer's library server runs over. Toward the library it is a lock-step peer that never loses a
// packet: each packet written is answered by exactly one packet read. Toward the client it keeps a window of blocks on the way,
// retransmits, and gives up.
//
// The library writes in one goroutine and reads in another, but strictly in turn; turn passes the state below from the writer to the reader,
// and the packet that the reader returns passes it back.
type wire struct {
	link  link
	local net.Addr
	peer  *net.UDPAddr
	terms terms
	oack  []byte // replaces the library's; nil if the client asked for no option

	turn      chan struct{}
	closed    chan struct{}
	closeOnce sync.Once

	request     []byte // for the library to read first; nil once it was read
	negotiating bool   // the OACK is on the way
	next        int64  // last block that the library wrote, counted without end; on the wire it is modulo 65536. The OACK is block 0
	acked       int64  // last block that the client has
	final       bool   // next is the last block of the file
	hurried     bool   // blocks were sent again on a repeated ACK, once per advance
	ring        [][]byte
	buf         []byte

	retransmits int
	started     bool   // a block of data was sent
	onAnswer    func() // called on every advance; may be nil
	cause       error  // why it ended early; nil while all is well
}

func newWire(l link, local net.Addr, peer *net.UDPAddr, r *request, t terms) *wire {
	w := &wire{
		link: l, local: local, peer: peer, terms: t, oack: r.oack(t),
		turn: make(chan struct{}, 1), closed: make(chan struct{}),
		ring: make([][]byte, t.window), buf: make([]byte, maxRequest),
	}
	w.request = r.forLibrary(t, w.oack != nil)
	if w.oack != nil {
		w.acked = -1
	}
	return w
}

// WriteTo takes a packet from the library and sends what the client shall see of it.
func (w *wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	switch binary.BigEndian.Uint16(p) {
	case opOACK:
		w.negotiating = true
		w.put(w.oack)
	case opData:
		w.started = true
		w.final = len(p) < w.terms.block+4
		w.next++
		w.put(p)
	case opError:
		// The library ends the transfer. If the client did, or is gone, there is nobody to tell; otherwise the file could not be read.
		if w.cause == nil {
			return len(p), w.link.send(errorPacket(codeUndefined, "reading the file failed"))
		}
		return len(p), nil
	}
	w.turn <- struct{}{}
	return len(p), nil
}

// put sends a block and keeps it until it is acknowledged. That a send fails is seen by recv: either the socket is closed, or the
// network was away for a moment and the block is sent again.
func (w *wire) put(p []byte) {
	slot := &w.ring[w.next%int64(len(w.ring))]
	*slot = append((*slot)[:0], p...)
	_ = w.link.send(p)
}

// ReadFrom returns the packet that answers what the library wrote last: the acknowledgement that it waits for, or an ERROR.
func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	if w.request != nil {
		n := copy(p, w.request)
		w.request = nil
		return n, w.peer, nil
	}
	select {
	case <-w.turn:
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
	if err := w.settle(); err != nil {
		w.cause = err
		return copy(p, errorPacket(codeUndefined, "ended")), w.peer, nil
	}
	return copy(p, ackPacket(uint16(w.next))), w.peer, nil
}

// full reports whether the library has to wait.
func (w *wire) full() bool {
	outstanding := w.next - w.acked
	if w.final || w.negotiating {
		return outstanding > 0
	}
	return outstanding >= int64(w.terms.window)
}

// settle returns once the library may write on: when the window has room, or, at the end, when the client has everything.
func (w *wire) settle() error {
	tries, timeout := 0, firstTimeout
	deadline := time.Now().Add(timeout)
	for w.full() {
		n, err := w.link.recv(w.buf, deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if tries == maxRetransmits {
				return errNoAnswer
			}
			tries++
			timeout = min(2*timeout, lastTimeout)
			deadline = time.Now().Add(timeout)
			w.resend()
			continue
		}
		if err != nil {
			return err
		}
		advanced, err := w.take(w.buf[:n])
		if err != nil {
			return err
		}
		if advanced {
			tries, timeout = 0, firstTimeout
			deadline = time.Now().Add(timeout)
		}
	}
	return nil
}

// take handles a packet of the client's and reports whether the client got further.
func (w *wire) take(p []byte) (advanced bool, err error) {
	if len(p) < 4 {
		return false, nil
	}
	switch binary.BigEndian.Uint16(p) {
	case opError:
		return false, parseError(p)
	case opAck:
	default:
		return false, nil
	}
	block := binary.BigEndian.Uint16(p[2:])
	ahead, outstanding := int64(block-uint16(w.acked)), w.next-w.acked
	switch {
	case ahead >= 1 && ahead <= outstanding:
		w.advance(ahead)
		if w.acked != w.next {
			w.resend() // RFC 7440 section 4: an ACK within the window asks for the rest of it again
		}
		return true, nil
	case ahead == 0 && w.terms.window > 1 && !w.hurried && !w.negotiating:
		// The first block of the window was lost. Once only: answering every repeated ACK is the Sorcerer's Apprentice (RFC 1123 section 4.2.3.1).
		w.hurried = true
		w.resend()
	}
	return false, nil
}

func (w *wire) advance(blocks int64) {
	w.acked += blocks
	w.hurried, w.negotiating = false, false
	if w.onAnswer != nil {
		w.onAnswer()
	}
}

// resend sends every block that is on the way once more.
func (w *wire) resend() {
	for block := w.acked + 1; block <= w.next; block++ {
		w.retransmits++
		_ = w.link.send(w.ring[block%int64(len(w.ring))])
	}
}

// delivered returns the number of bytes that the client acknowledged. It is for after the transfer.
func (w *wire) delivered() int64 {
	blocks := max(0, w.acked)
	if w.final && w.acked == w.next && blocks > 0 {
		last := len(w.ring[w.next%int64(len(w.ring))]) - 4
		return (blocks-1)*int64(w.terms.block) + int64(last)
	}
	return blocks * int64(w.terms.block)
}

// Close lets the library's reader go.
func (w *wire) Close() error {
	w.closeOnce.Do(func() { close(w.closed) })
	return nil
}

// LocalAddr returns the address that the client asked; the library wants to see an IP address in it.
func (w *wire) LocalAddr() net.Addr { return w.local }

// SetDeadline and its kin do nothing: the wire keeps time itself.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
