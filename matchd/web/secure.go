package web

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/render"
)

// The timeline tells of so many broken TLS handshakes of one address at once, then of one in so much time: Ignition tries again every five
// seconds, for hours.
const (
	brokenBurst = 2
	brokenEvery = 10 * time.Minute
)

// Pointed gives what pointer configs lead to.
type Pointed interface {
	// Redeem checks a ticket. Its errors are of kind Denied; with that of a ticket that only came too late, the ticket is returned.
	Redeem(token string) (auth.Ticket, error)
	// Ticketed returns the config of the ticket's machine, which reaches the machines' HTTP at the URL. Errors are those of [Configurer].
	Ticketed(ctx context.Context, ticket auth.Ticket, baseURL string) (*render.Config, error)
}

// SecureHandler returns the handler of what machines ask for by HTTPS. It must not be served without TLS.
func (s *Server) SecureHandler() http.Handler { return http.HandlerFunc(s.serveSecure) }

// ServeTLS is [Server.Serve] for the machines' HTTPS. The certificate is cfg's. No client is asked for one: an Ignition that has no config yet has
// none, and the ticket says who it is.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, cfg *tls.Config) error {
	limited := newLimit(l, s.o.MaxConns, s.metrics)
	srv := s.httpServer(s.SecureHandler(), limited)
	srv.ErrorLog = log.New(serverLog{s.o.Logger, s.handshakeFailed}, "", 0)
	cfg = cfg.Clone()
	cfg.MinVersion, cfg.ClientAuth = tls.VersionTLS12, tls.NoClientCert
	cfg.NextProtos = []string{"http/1.1"} // a config is one request: HTTP/2 would only add what can go wrong
	return serveHTTP(ctx, srv, tls.NewListener(limited, cfg))
}

// serveSecure answers one request by HTTPS. Nothing in it but the ticket says who asks.
func (s *Server) serveSecure(w http.ResponseWriter, r *http.Request) {
	x := s.newExchange(w, r)
	defer x.finish()
	x.identify()
	if x.path != boot.TicketPath {
		x.notFound("404 page not found\n")
		return
	}
	x.route = x.path
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		x.w.Header().Set("Allow", "GET, HEAD")
		x.refuse(http.StatusMethodNotAllowed, "405 method not allowed: a config is fetched\n")
		return
	}
	s.ticketed(x)
}

// ticketed sends the config that a ticket is for.
func (s *Server) ticketed(x *exchange) {
	token, given := bearer(x.r.Header)
	if !given || s.o.Pointed == nil {
		x.w.Header().Set("WWW-Authenticate", "Bearer")
		x.refuse(http.StatusUnauthorized, "401 unauthorized: a config is given for a ticket, which the machine's pointer config has\n")
		return
	}
	ticket, err := s.o.Pointed.Redeem(token)
	if ticket.MAC != "" || ticket.UUID != "" {
		x.mac, x.uuid = ticket.MAC, ticket.UUID
		x.labels = ticket.Labels
		x.claim()
	}
	if err != nil {
		x.record(event.Event{Stage: event.Refused, Level: event.Alarm, Message: "Ignition config refused: " + err.Error()})
		x.refuse(http.StatusForbidden, "403 forbidden: this ticket is refused; the machine's timeline says why\n")
		return
	}
	config, err := s.o.Pointed.Ticketed(x.ctx(), ticket, s.o.BaseURL(x.local))
	if err != nil {
		x.fail("Ignition config", err)
		return
	}
	x.config(&boot.Config{Config: config}, typeIgnition, " by HTTPS")
}

// claim remembers where a machine with a ticket was heard from, and learns its address where the ticket knows only its UUID.
func (x *exchange) claim() {
	if x.mac == "" {
		known, _ := x.server.o.Machines.ByUUID(x.uuid)
		x.mac = known.MAC
	}
	if x.mac != "" {
		x.server.o.Machines.Claim(x.mac, x.peer.Addr())
	}
}

// bearer returns the token of the one Authorization header (RFC 6750 section 2.1).
func bearer(h http.Header) (token string, given bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// distrust are the reasons that a machine gives who does not believe our certificate (RFC 8446 section 6.2, in the words of crypto/tls). The last comes of
// an alert that is not encrypted where ours are already.
var distrust = [...]string{"unknown certificate authority", "bad certificate", "expired certificate", "unknown certificate", "bad record MAC"}

// noTLS are the reasons of net/http and crypto/tls for who did not mean to speak TLS. It is none of a boot's troubles.
var noTLS = [...]string{"client sent an HTTP request to an HTTPS server", "first record does not look like a TLS handshake"}

// handshakeFailed tells a machine's timeline that it does not trust our certificate. It says so in its last words, and nowhere else.
func (s *Server) handshakeFailed(from, reason string) {
	among := func(reasons []string) bool {
		return slices.ContainsFunc(reasons, func(r string) bool { return strings.HasSuffix(reason, r) })
	}
	peer, err := netip.ParseAddrPort(from)
	if err != nil || reason == "EOF" || among(noTLS[:]) { // somebody looked whether the port is open, and what it is
		return
	}
	s.metrics.broken.Inc()
	addr := peer.Addr().Unmap().WithZone("")
	known, found := s.o.Machines.ByAddress(addr)
	if !found || !s.broken.allow(addr, time.Now()) {
		return
	}
	message := "the TLS handshake with the machines' HTTPS failed"
	if among(distrust[:]) {
		message += ": the machine has an old pointer with another CA, or its clock is past the certificate's end"
	}
	s.o.Recorder.Record(event.Event{
		MAC: known.MAC, UUID: known.UUID, Peer: addr.String(), Stage: event.Refused, Level: event.Alarm, Message: message, Error: reason,
	})
}
