package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
)

// Content types of answers.
const (
	typeText     = "text/plain; charset=utf-8"
	typeJSON     = "application/json"
	typeIgnition = "application/vnd.coreos.ignition+json"
)

// exchange is one request with its answer and what is known of who asks.
type exchange struct {
	server *Server
	w      *response
	r      *http.Request
	path   string // cleaned
	route  string // for metrics: few values
	labels groups.Labels
	mac    machine.MAC // empty if nothing tells
	uuid   string
	peer   netip.AddrPort
	local  netip.AddrPort // the address of ours that the machine reached
	began  time.Time
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := s.newExchange(w, r)
	defer x.finish()
	x.introduce()
	if handler := s.routes[x.path]; handler != nil {
		x.route = x.path
		handler(x)
		return
	}
	switch {
	case x.path == "/assets" || strings.HasPrefix(x.path, "/assets/"):
		x.route = "/assets"
		s.asset(x)
	case strings.HasPrefix(x.path, "/m/"), strings.HasPrefix(x.path, "/grub/"): // the latter is GRUB's compiled-in prefix
		x.route = "/m"
		s.file(x)
	default:
		x.route = "other"
		x.notFound("404 page not found\n")
	}
}

func (s *Server) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{server: s, w: &response{ResponseWriter: w}, r: r, path: cleanPath(r.URL.Path), route: "other", began: time.Now()}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		x.peer = netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port())
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if at, err := netip.ParseAddrPort(local.String()); err == nil {
			x.local = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
	}
	x.w.hurry()
	return x
}

// introduce reads the labels of the query, and finds out by them who asks.
func (x *exchange) introduce() {
	labels, dropped := groups.LabelsFromQuery(x.r.URL.Query())
	x.labels = labels
	x.identify()
	if len(dropped) > 0 {
		x.server.o.Logger.Warn("ignoring a label that is no MAC address", "peer", x.peer, "path", x.path, "labels", dropped)
	}
}

// cleanPath removes doubled slashes and dot segments in place of ServeMux's redirect. A slash at the end stays: "/ipxe/" is not "/ipxe".
func cleanPath(p string) string {
	cleaned := path.Clean("/" + p)
	if cleaned != "/" && strings.HasSuffix(p, "/") {
		cleaned += "/"
	}
	return cleaned
}

// identify finds out who asks: by the mac label, by the uuid label, by the peer's address. Where a machine's name was spoken from is
// remembered, for what is asked for from there without a name.
func (x *exchange) identify() {
	machines := x.server.o.Machines
	var known machine.Machine
	mac, err := machine.ParseMAC(x.labels["mac"])
	if err == nil {
		known, _ = machines.ByMAC(mac)
		known.MAC = mac
		machines.Claim(mac, x.peer.Addr())
	} else {
		var found bool
		if known, found = machines.ByUUID(x.labels["uuid"]); !found {
			known, _ = machines.ByAddress(x.peer.Addr())
		}
	}
	x.mac, x.uuid = known.MAC, known.UUID
}

// ask is the question that this request puts to the planner.
func (x *exchange) ask() boot.Ask {
	return boot.Ask{
		Labels: x.labels, RawQuery: x.r.URL.RawQuery, BaseURL: x.server.o.BaseURL(x.local), Peer: x.peer,
	}
}

func (x *exchange) ctx() context.Context { return x.r.Context() }

// record writes an event of this exchange. A HEAD request delivers nothing, so it leaves no trace in the timeline.
func (x *exchange) record(e event.Event) {
	if x.r.Method == http.MethodHead {
		return
	}
	if e.MAC == "" {
		e.MAC = x.mac
	}
	if e.UUID == "" {
		e.UUID = x.uuid
	}
	e.Peer = x.peer.Addr().String()
	e.DurationMS = time.Since(x.began).Milliseconds()
	x.server.o.Recorder.Record(e)
}

// sent records that the whole answer went out, or that the connection broke.
func (x *exchange) sent(e event.Event, total int) {
	e.Bytes = x.w.bytes
	if x.w.err != nil && x.r.Method != http.MethodHead {
		e.Level, e.Error, e.Total = event.Warn, x.w.err.Error(), int64(total)
	}
	x.record(e)
}

// text answers with a body in memory.
func (x *exchange) text(status int, kind string, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body) // the response keeps the error
	}
}

// refuse answers with a status and a reason. Bodies of failures are never empty: shim 16.1 waits for ever on an empty 404.
func (x *exchange) refuse(status int, reason string) {
	h := x.w.Header()
	h.Del("ETag")
	h.Set("X-Content-Type-Options", "nosniff")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(boot.RetrySeconds))
	}
	x.text(status, typeText, []byte(reason))
}

func (x *exchange) notFound(reason string) {
	if x.server.o.Matchbox {
		reason = "404 page not found\n"
	}
	x.refuse(http.StatusNotFound, reason)
}

// fail answers for an error of the planner or of the disk, and records it. what says for a person what was asked for. The error's text goes
// into the timeline and not to the machine: it may quote a config.
func (x *exchange) fail(what string, err error) {
	var report *render.Report
	var noMatch *catalog.NoMatch
	var bad *boot.BadAsk
	switch {
	case errors.Is(err, context.Canceled) && x.ctx().Err() != nil:
		x.refuse(http.StatusServiceUnavailable, "the client went away\n")
	case fault.Is(err, fault.NotFound):
		e := event.Event{Stage: event.Refused, Level: event.Warn, Message: what + " refused: " + err.Error()}
		if errors.As(err, &noMatch) {
			e.Stage = event.NotMatched
		}
		x.record(e)
		x.notFound("404 not found: nothing on this site gives this machine its " + what + "\n")
	case errors.As(err, &bad):
		x.record(event.Event{Stage: event.Refused, Level: event.Alarm, Message: what + " refused: " + err.Error()})
		x.refuse(http.StatusBadRequest, "400 bad request: "+bad.Error()+"\n")
	case errors.As(err, &report):
		x.record(event.Event{Stage: event.ConfigRefused, Level: event.Alarm, Message: what + " cannot be rendered; the machine was told to ask again", Error: err.Error()})
		x.refuse(http.StatusServiceUnavailable, "503 not ready: the "+what+" of this machine cannot be rendered; its timeline says why\n")
	default:
		x.record(event.Event{Stage: event.Error, Level: event.Alarm, Message: what + " could not be made; the machine was told to ask again", Error: err.Error()})
		x.refuse(http.StatusServiceUnavailable, "503 not ready: the "+what+" of this machine could not be made; its timeline says why\n")
	}
}

// finish logs the exchange, and answers for a handler that panicked.
func (x *exchange) finish() {
	if p := recover(); p != nil {
		x.server.metrics.panics.Inc()
		x.server.o.Logger.Error("a handler panicked", "path", x.path, "panic", p, "stack", string(debug.Stack()))
		x.record(event.Event{Stage: event.Error, Level: event.Alarm, Message: "answering " + x.path + " failed", Error: fmt.Sprint(p)})
		if x.w.status != 0 {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		x.refuse(http.StatusServiceUnavailable, "503 not ready: the server failed\n")
	}
	took := time.Since(x.began)
	m := x.server.metrics
	m.requests.WithLabelValues(x.route, strconv.Itoa(x.w.status)).Inc()
	m.bytes.Add(float64(x.w.bytes))
	m.seconds.WithLabelValues(x.route).Observe(took.Seconds())
	level := slog.LevelInfo
	if x.w.err != nil {
		level = slog.LevelWarn
	}
	logger := x.server.o.Logger
	if !logger.Enabled(x.ctx(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", x.r.Method), slog.String("path", x.path), slog.Int("status", x.w.status), slog.Int64("bytes", x.w.bytes),
		slog.Duration("took", took), slog.String("peer", x.peer.String()), slog.String("mac", x.mac.String()),
	}
	if x.w.err != nil {
		attrs = append(attrs, slog.Any("error", x.w.err))
	}
	logger.LogAttrs(x.ctx(), level, "http", attrs...)
}

// response notes what was answered. It passes files on to the kernel: its ReadFrom ends at the connection's, which knows sendfile.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
	err    error // the first failure to write
}

// WriteHeader notes the status, and gives the one failure of http.ServeContent that comes without a body a body.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	if status != http.StatusPreconditionFailed {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	const reason = "412 precondition failed: the file has changed\n"
	w.Header().Set("Content-Type", typeText)
	w.Header().Set("Content-Length", strconv.Itoa(len(reason)))
	w.ResponseWriter.WriteHeader(status)
	_, _ = w.Write([]byte(reason))
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.hurry()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	w.note(err)
	return n, err
}

// ReadFrom sends chunk by chunk, each under a deadline of its own, so that a client may be slow but not asleep.
func (w *response) ReadFrom(r io.Reader) (total int64, err error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	left := int64(-1) // unknown
	if limited, ok := r.(*io.LimitedReader); ok {
		r, left = limited.R, limited.N
		defer func() { limited.N -= total }()
	}
	for left != 0 {
		w.hurry()
		chunk := int64(writeChunk)
		if left > 0 {
			chunk = min(chunk, left)
		}
		// io.CopyN hands an *io.LimitedReader of the file to the connection, which is the form that net takes to sendfile.
		n, err := io.CopyN(w.ResponseWriter, r, chunk)
		total += n
		w.bytes += n
		if left > 0 {
			left -= n
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			w.note(err)
			return total, err
		}
	}
	return total, nil
}

// hurry sets the deadline of the next piece. A test's recorder has none to set.
func (w *response) hurry() {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(stallTime))
}

func (w *response) note(err error) {
	if err != nil && w.err == nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		w.err = err
	}
}

// Unwrap lets http.ResponseController through.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
