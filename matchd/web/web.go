// Package web serves HTTP: boot files, scripts and configs to machines ([Server.Serve]), configs for tickets to machines by HTTPS ([Server.ServeTLS]),
// and health, metrics and timelines to operators ([Admin]).
//
// The machines' side keeps matchbox's paths, labels, statuses and content types, with better manners: what no group matches is 404 and
// final, what fails on our side is 503 (Ignition gives up on 4xx and retries 5xx), a body is never empty where it says why, its length is always
// told, and nothing is ever redirected: doubled slashes are cleaned in place, since firmware does not follow (shim 16.1 asks for
// "/efi//grubx64.efi"; smee PR#229). No URL is made from the Host header: EDK2's lacks the port.
package web

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
)

// Bounds and times of a listener.
const (
	// DefaultMaxConns is the number of connections at once; further ones wait to be accepted.
	DefaultMaxConns = 4096
	// connShare is the part of all connections that one address may have.
	connShare = 8
	// minConnsPerAddress is what one address may have at least: a rack behind NAT is one address.
	minConnsPerAddress = 64
	// maxHeader is the size of a request's line and headers in bytes.
	maxHeader = 32 << 10
	// headerTimeout is how long a client may take to send its request's headers.
	headerTimeout = 10 * time.Second
	// bodyTimeout is how long a client may take to send a whole request.
	bodyTimeout = 30 * time.Second
	// idleTimeout is how long a connection may be kept without a request.
	idleTimeout = 60 * time.Second
	// stallTime is how long a client may take for writeChunk bytes. There is no bound for a whole file: a slow line may take an hour for an image.
	stallTime = 2 * time.Minute
	// writeChunk is the number of bytes that are sent under one deadline.
	writeChunk = 2 << 20
	// drainTime is how long requests may go on after Serve was told to end.
	drainTime = 3 * time.Second
)

// Planner decides what machines boot. Errors are of a fault.Kind: NotFound for a machine that shall get nothing (404), anything else
// becomes 503.
type Planner interface {
	// BootScript returns the first iPXE script of the machine, or of any where the address is empty.
	BootScript(ctx context.Context, ask boot.Ask, mac machine.MAC) ([]byte, error)
	// Plan returns what the asking machine boots.
	Plan(ctx context.Context, ask boot.Ask) (*boot.Plan, error)
}

// Configurer makes machines' configs. Errors are as with [Planner]; one that wraps a *render.Report means that a document of the site is
// wrong.
type Configurer interface {
	// Ignition returns what the machine is given by plain HTTP: its config, or one that leads to it.
	Ignition(ctx context.Context, ask boot.Ask) (*boot.Config, error)
	// ConfigImage returns the same config as an initrd.
	ConfigImage(ctx context.Context, ask boot.Ask) (*boot.ConfigImage, error)
	Generic(ctx context.Context, ask boot.Ask) ([]byte, error)
	Cloud(ctx context.Context, ask boot.Ask) ([]byte, error)
	Metadata(ctx context.Context, ask boot.Ask) ([]byte, error)
}

// Files opens the per-machine name space that TFTP serves as well. [bootfile.Space] is one.
type Files interface {
	Open(ctx context.Context, r bootfile.Request) (*bootfile.File, error)
}

// Recorder takes the timeline's events. It never blocks.
type Recorder interface{ Record(event.Event) }

// Options configure a [Server]. Planner, Configurer, Files, Machines, Roles, Recorder, Logger and BaseURL are required.
type Options struct {
	Planner    Planner
	Configurer Configurer
	Files      Files
	Assets     *assets.Tree // nil: /assets is 404
	Machines   *machine.Registry
	Roles      *bootfile.Roles // shared with Files
	Recorder   Recorder
	Logger     *slog.Logger
	// Metrics is where the server's metrics are registered; nil for none.
	Metrics prometheus.Registerer
	// BaseURL returns how a machine that reached us at the given address gets here again: "http://10.0.0.1:8080".
	BaseURL func(local netip.AddrPort) string
	// MaxConns is the number of connections at once; 0 means DefaultMaxConns.
	MaxConns int
	// Pointed gives what pointers lead to; nil: [Server.ServeTLS] refuses every ticket.
	Pointed Pointed
	// Signer makes the signatures under PATH.sig and PATH.asc; nil: there are none.
	Signer Signer
	// Matchbox makes the bodies of failures matchbox's to the byte.
	Matchbox bool
}

// Server answers machines.
type Server struct {
	o       Options
	metrics *metrics
	reports *limiter
	broken  *limiter // of TLS handshakes, as far as the timeline tells of them
	routes  map[string]func(*exchange)
}

// New returns a server that does nothing yet.
func New(o Options) (*Server, error) {
	if o.Planner == nil || o.Configurer == nil || o.Files == nil || o.Machines == nil || o.Roles == nil {
		return nil, errors.New("web: Planner, Configurer, Files, Machines and Roles are required")
	}
	if o.Recorder == nil || o.Logger == nil || o.BaseURL == nil {
		return nil, errors.New("web: Recorder, Logger and BaseURL are required")
	}
	if o.MaxConns < 0 {
		return nil, fmt.Errorf("web: MaxConns is %d, want 0 or more", o.MaxConns)
	}
	if o.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	s := &Server{o: o, metrics: newMetrics(o.Metrics), reports: newLimiter(reportBurst, reportEvery), broken: newLimiter(brokenBurst, brokenEvery)}
	s.routes = map[string]func(*exchange){
		"/": s.root, "/boot.ipxe": s.bootScript, "/boot.ipxe.0": s.bootScript, "/autoexec.ipxe": s.bootScript,
		"/ipxe": s.ipxe, "/grub": s.grub, "/ignition": s.ignition, "/cloud": s.cloud, "/generic": s.generic, "/metadata": s.metadata,
		"/v1/report": s.report, "/v1/" + boot.ConfigImageName: s.configImage,
	}
	s.addSignatures()
	return s, nil
}

// Handler returns the handler of everything that machines ask for.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Serve answers on the listener until ctx ends, lets requests finish for a moment, and returns nil. It closes the listener. It fails
// when the listener does.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	limited := newLimit(l, s.o.MaxConns, s.metrics)
	return serveHTTP(ctx, s.httpServer(s.Handler(), limited), limited)
}

// httpServer returns a server with the bounds of every listener that machines reach.
func (s *Server) httpServer(handler http.Handler, limited *limit) *http.Server {
	return &http.Server{
		Handler: handler, ConnState: limited.state, ErrorLog: log.New(serverLog{log: s.o.Logger}, "", 0),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		DisableGeneralOptionsHandler: true,
	}
}

// serveHTTP runs a server until ctx ends.
func serveHTTP(ctx context.Context, srv *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(draining); err != nil {
		_ = srv.Close() // what did not finish in time is cut off; clients of a restart ask again
	}
	<-failed
	return nil
}
