package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pin "github.com/pin/tftp/v3"

	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

var (
	errSuperseded = errors.New("the client asked anew")
	errCrowdedOut = errors.New("the client did not answer while others waited")
)

// transfer is one request under way.
type transfer struct {
	server  *Server
	front   *front
	request request
	arrived arrived
	packet  []byte      // the request as it came
	shared  *sharedPort // in single-port mode

	left     bool        // counted out; guarded by front.mu
	answered atomic.Bool // the client has acknowledged something
	started  time.Time

	mu      sync.Mutex
	link    link
	stopped error // why it was stopped from outside
}

func (s *Server) newTransfer(f *front, r request, a arrived, packet []byte) *transfer {
	t := &transfer{server: s, front: f, request: r, arrived: a, packet: append([]byte(nil), packet...), started: time.Now()}
	if s.o.SinglePort {
		t.shared = newSharedPort(f.conn, a.local, a.peer)
		t.link = t.shared
	}
	return t
}

// stop ends the transfer from outside.
func (t *transfer) stop(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped == nil {
		t.stopped = why
	}
	if t.link != nil {
		t.link.close()
	}
}

// connect gives the transfer its link.
func (t *transfer) connect() (link, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped != nil {
		return nil, t.stopped
	}
	if t.link == nil {
		own, err := dialOwnPort(t.arrived.local, t.arrived.peer)
		if err != nil {
			return nil, err
		}
		t.link = own
	}
	return t.link, nil
}

func (t *transfer) run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { t.stop(errEnding) })()
	link, err := t.connect()
	if err != nil {
		t.log(slog.LevelWarn, "cannot answer a TFTP request", "error", err)
		t.count(outcomeFailed)
		return
	}
	defer link.close()
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	file, err := t.server.o.Source.Open(opening, bootfile.Request{
		Name: t.request.name, Peer: t.arrived.peer, BaseURL: t.server.o.BaseURL(t.arrived.local), Fold: true,
	})
	if err != nil {
		t.refused(link, err)
		return
	}
	w := newWire(link, &net.UDPAddr{IP: net.IPv4zero}, net.UDPAddrFromAddrPort(t.arrived.peer), &t.request, t.request.agree(t.blockLimit(file.Event.MAC), file.Size))
	w.onAnswer = func() { t.answered.Store(true) }
	err = t.serveLibrary(w, file.Body)
	if closing := file.Body.Close(); err == nil {
		err = closing
	}
	t.finished(file, w, err)
}

// blockLimit is the largest block that leaves in one frame: the MTU less the headers of IP (20 or 40 bytes), UDP (8) and TFTP (4).
func (t *transfer) blockLimit(mac machine.MAC) int {
	headers := 32
	if t.arrived.peer.Addr().Is6() {
		headers = 52
	}
	limit := t.server.mtu(t.arrived.index) - headers
	if own := t.server.o.BlockSize(mac); own > 0 {
		limit = min(limit, own)
	}
	return limit
}

// libraryPatience is how long the library waits for the wire, which always answers sooner: it gives a client up by itself.
const libraryPatience = time.Hour

// serveLibrary runs the library over the wire until the file was sent or the transfer ended otherwise.
func (t *transfer) serveLibrary(w *wire, body io.Reader) error {
	var result error
	var server *pin.Server
	server = pin.NewServer(func(_ string, rf io.ReaderFrom) error {
		defer func() {
			if p := recover(); p != nil {
				result = fmt.Errorf("sending: %v", p) // one client's transfer, not the process
			}
			server.Shutdown() // in single-port mode this only says so; Serve below returns once the wire is closed
			_ = w.Close()
		}()
		// The reader is hidden from the library: it would seek for a size that the OACK already tells.
		_, result = rf.ReadFrom(struct{ io.Reader }{body})
		return nil
	}, nil)
	server.EnableSinglePort() // makes the library speak through our connection only
	server.SetBlockSizeNegotiation(false)
	server.SetBlockSize(w.terms.block)
	server.SetTimeout(libraryPatience)
	server.SetRetries(1)
	if err := server.Serve(w); err != nil {
		return err
	}
	if w.cause != nil {
		return w.cause
	}
	return result
}

// refused answers for a file that there is not, or that could not be opened.
func (t *transfer) refused(link link, err error) {
	code, text := errorCode(err)
	if sending := link.send(errorPacket(code, text)); sending != nil {
		t.log(slog.LevelDebug, "cannot send a TFTP error", "error", sending)
	}
	if !fault.Is(err, fault.NotFound) {
		t.count(outcomeFailed)
		t.record(event.Event{Stage: event.Error, Level: event.Alarm, Message: "could not open " + t.request.name + " for TFTP", Error: err.Error()})
		return
	}
	t.count(outcomeNotFound)
	if optional(t.request.name) {
		t.log(slog.LevelDebug, "no such file")
		return
	}
	t.record(event.Event{Stage: event.Refused, Level: event.Warn, Message: "asked by TFTP for " + t.request.name + ", which does not exist", Error: err.Error()})
}

// optional reports whether a name is one that clients try on the chance: shim its revocation lists and certificates, GRUB its
// modules, fonts and configs, U-Boot a device tree, iPXE a script. Their absence is no news.
func optional(name string) bool {
	lower := strings.ToLower(name)
	for _, kernelOrLoader := range [...]string{"assets/", `assets\`, ".kpxe", ".pxe", "vmlinu", "initrd"} {
		if strings.Contains(lower, kernelOrLoader) {
			return false
		}
	}
	if !strings.HasSuffix(lower, ".efi") {
		return true
	}
	return strings.Contains(lower, "revocations") || strings.Contains(lower, "shim_certificate") || strings.Contains(lower, "mm")
}

// finished records what became of a transfer that began.
func (t *transfer) finished(file *bootfile.File, w *wire, err error) {
	t.mu.Lock()
	if t.stopped != nil && err != nil {
		err = t.stopped
	}
	t.mu.Unlock()
	delivered, took := w.delivered(), time.Since(t.started)
	m := t.server.metrics
	m.bytes.Add(float64(delivered))
	m.retransmits.Add(float64(w.retransmits))
	e := file.Event
	e.Bytes, e.DurationMS = delivered, took.Milliseconds()
	var client *protocolError
	switch {
	case err == nil:
		t.count(outcomeSent)
		t.log(slog.LevelInfo, "tftp", "bytes", delivered, "took", took, "mac", e.MAC)
		m.seconds.Observe(took.Seconds())
		if !t.request.netascii {
			e.Total = file.Size
		}
	case errors.As(err, &client) && !w.started:
		// EDK2 asks for the size, says "User aborted the transfer" (error 8) and then asks for the file (pin/tftp#125).
		t.count(outcomeProbe)
		t.log(slog.LevelDebug, "client wanted to know the size only", "error", err)
		return
	case errors.Is(err, errSuperseded), errors.Is(err, errCrowdedOut):
		t.count(outcomeAborted)
		t.log(slog.LevelDebug, "transfer superseded", "error", err)
		return
	default:
		t.count(outcomeAborted)
		t.log(slog.LevelWarn, "tftp", "bytes", delivered, "took", took, "mac", e.MAC, "error", err)
		e.Level, e.Error, e.Total = event.Warn, err.Error(), file.Size
		e.Message = "did not get all of " + file.Name + " by TFTP"
	}
	t.record(e)
}

// record completes an event with what this edge knows.
func (t *transfer) record(e event.Event) {
	if e.MAC == "" {
		e.MAC = t.server.o.Source.Whose(t.request.name, t.arrived.peer.Addr())
	}
	e.Peer = t.arrived.peer.Addr().String()
	t.server.o.Recorder.Record(e)
}

func (t *transfer) count(outcome string) {
	t.server.metrics.requests.WithLabelValues(outcome).Inc()
}

func (t *transfer) log(level slog.Level, message string, args ...any) {
	t.server.o.Logger.Log(context.Background(), level, message, append([]any{"peer", t.arrived.peer, "file", t.request.name}, args...)...)
}
