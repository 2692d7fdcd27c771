package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a link whose client is a function: given a packet and its time, it returns the answers.
type script struct {
	started time.Time
	client  func(at time.Duration, p []byte) [][]byte
	inbox   chan []byte
	closed  chan struct{}
	log     []string
}

func newScript(client func(time.Duration, []byte) [][]byte) *script {
	return &script{started: time.Now(), client: client, inbox: make(chan []byte, 100), closed: make(chan struct{})}
}

func (s *script) send(p []byte) error {
	at := time.Since(s.started)
	s.log = append(s.log, fmt.Sprintf("%v %x", at, p[:min(4, len(p))]))
	for _, answer := range s.client(at, p) {
		s.inbox <- answer
	}
	return nil
}

func (s *script) recv(p []byte, deadline time.Time) (int, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case packet := <-s.inbox:
		return copy(p, packet), nil
	case <-timer.C:
		return 0, os.ErrDeadlineExceeded
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

func (s *script) close() { close(s.closed) }

// play sends content by the library over a wire to a scripted client.
func play(s *script, r request, content []byte) (*wire, error) {
	w := newWire(s, &net.UDPAddr{IP: net.IPv4zero}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 1}, &r, r.agree(1468, int64(len(content))))
	t := &transfer{}
	return w, t.serveLibrary(w, bytes.NewReader(content))
}

func TestRetransmitsAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(func(_ time.Duration, p []byte) [][]byte {
			if p[1] == opData && binary.BigEndian.Uint16(p[2:]) == 1 {
				return [][]byte{ackPacket(1)}
			}
			return nil
		})
		w, err := play(s, request{}, make([]byte, 2000))
		if !errors.Is(err, errNoAnswer) {
			t.Errorf("error is %v, want %v", err, errNoAnswer)
		}
		want := []string{
			"0s 00030001", "0s 00030002", "1s 00030002", "3s 00030002", "7s 00030002", "12s 00030002", "17s 00030002", "22s 00030002",
		}
		if got := strings.Join(s.log, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("sent\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		if took := time.Since(s.started); took != 27*time.Second {
			t.Errorf("gave up after %v, want 27s", took)
		}
		if w.delivered() != 512 {
			t.Errorf("delivered %d bytes, want 512", w.delivered())
		}
	})
}

// TestDuplicateACKs holds that a repeated ACK in lock-step sends nothing again (RFC 1123 section 4.2.3.1), and in a window once.
func TestDuplicateACKs(t *testing.T) {
	for _, window := range []int{0, 2} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(func(_ time.Duration, p []byte) [][]byte {
				switch p[1] {
				case opOACK:
					return [][]byte{ackPacket(0), ackPacket(0), ackPacket(0)}
				case opData:
					if n := binary.BigEndian.Uint16(p[2:]); window == 0 || n%2 == 0 || len(p) < 516 {
						return [][]byte{ackPacket(n), ackPacket(n), ackPacket(n), {0}, {0, 9, 0, 0}}
					}
				}
				return nil
			})
			w, err := play(s, request{window: window}, make([]byte, 512*8))
			if err != nil {
				t.Fatal(err)
			}
			if limit := window * 6; w.retransmits > limit {
				t.Errorf("window %d: %d blocks were sent again, want at most %d", window, w.retransmits, limit)
			}
			if w.delivered() != 512*8 {
				t.Errorf("delivered %d bytes", w.delivered())
			}
		})
	}
}

func TestClosedLinkEndsTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(func(time.Duration, []byte) [][]byte { return nil })
		time.AfterFunc(3*time.Second, s.close)
		if _, err := play(s, request{}, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error is %v", err)
		}
	})
}

// failing is a file whose second read fails.
type failing struct{ reads int }

func (f *failing) Read(p []byte) (int, error) {
	if f.reads++; f.reads > 1 {
		return 0, errors.New("input/output error of a disk with a secret name")
	}
	return len(p), nil
}

func TestReadErrorIsToldWithoutDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told string
		s := newScript(func(_ time.Duration, p []byte) [][]byte {
			if p[1] == opError {
				told = string(p)
			}
			return [][]byte{ackPacket(binary.BigEndian.Uint16(p[2:]))}
		})
		r := request{}
		w := newWire(s, &net.UDPAddr{IP: net.IPv4zero}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 7)}, &r, r.agree(1468, 5000))
		err := (&transfer{}).serveLibrary(w, &failing{})
		if err == nil || told != "\x00\x05\x00\x00reading the file failed\x00" {
			t.Errorf("error %v, client was told %q", err, told)
		}
	})
}

func TestBlockLimit(t *testing.T) {
	r := request{blksize: 1472}
	for limit, want := range map[int]int{1500 - 32: 1468, 9000 - 32: 1472, 100: 512} {
		if got := r.agree(limit, 0).block; got != want {
			t.Errorf("limit %d: block is %d, want %d", limit, got, want)
		}
	}
}

// FuzzParseRequest looks for a request that is parsed into terms which cannot be kept.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		"\x00\x01f\x00octet\x00", "\x00\x01f\x00netascii\x00blksize\x001468\x00tsize\x000\x00windowsize\x004\x00",
		"\x00\x02f\x00octet\x00", "\x00\x01\x00\x00\x00", "\x00\x01f\x00octet\x00tsize", "\x00\x04\x00\x01", "", "\x00\x01/m/52-54-00-00-00-01//x\x00octet\x00blksize\x00\x00",
	} {
		f.Add([]byte(seed), int64(7))
	}
	f.Fuzz(func(t *testing.T, p []byte, size int64) {
		r, silent, err := parseRequest(p)
		if err != nil {
			var protocol *protocolError
			if !errors.As(err, &protocol) {
				t.Errorf("error is %T", err)
			}
			return
		}
		if silent || r.name == "" {
			t.Errorf("%q gives %+v, silent %v", p, r, silent)
		}
		terms := r.agree(1468, max(0, size))
		if terms.block < 512 || terms.block > 1468 || terms.window < 1 || terms.window > MaxWindow {
			t.Errorf("%q gives %+v", p, terms)
		}
		if oack := r.oack(terms); (oack != nil) != (r.blksize > 0 || r.window > 0 || r.tsize && !r.netascii) || len(oack) > 512 {
			t.Errorf("%q gives OACK %q", p, oack)
		}
	})
}
