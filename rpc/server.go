package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/pki"
)

// Bounds of the server. What one client may hold is bounded before anything is known of it.
const (
	// MaxMessage is the size of the largest message, either way, in bytes. An Apply of 1,000 documents of 16 KiB, or of 100,000 small groups, is one
	// message of about 20 MiB; grpc's own 4 MiB would refuse them. Only clients with a certificate get as far as sending one.
	MaxMessage = 32 << 20
	// maxHeader bounds the headers of a call.
	maxHeader = 16 << 10
	// maxStreams bounds the calls of one connection at the same time.
	maxStreams = 128
	// bufferSize is that of a connection's reading, in bytes; grpc's own is 32 KiB, which a thousand idle connections would hold.
	bufferSize = 8 << 10
	// handshakeTimeout is the time from accepting a connection to the end of its TLS handshake.
	handshakeTimeout = 10 * time.Second
	// idleTimeout closes a connection without calls. Clients connect again by themselves.
	idleTimeout = 15 * time.Minute
	// keepaliveTime and keepaliveTimeout find connections whose other end is gone.
	keepaliveTime, keepaliveTimeout = 2 * time.Minute, 20 * time.Second
	// minPing is the least time between two pings of a client; one that pings more often is cut off.
	minPing = 20 * time.Second
	// drainTimeout is for how long calls may go on when the server stops.
	drainTimeout = 10 * time.Second
)

// KeySource has the server's certificate and the authorities that sign clients; [pki.Reloader] is one. It is asked for every connection.
type KeySource interface {
	Keys() *pki.Keys
}

// Options are what a server works with. A service whose part is the zero value is not offered.
type Options struct {
	Logger  *slog.Logger          // nil: slog.Default
	Metrics prometheus.Registerer // nil: none
	Keys    KeySource
	// DefaultRole is that of clients whose certificate has none; empty: they are refused.
	DefaultRole auth.Role
	// CallsPerSecond bounds each identity, with bursts of [burstSeconds] times as many; 0: [defaultCallsPerSecond].
	CallsPerSecond int
	Now            func() time.Time // nil: time.Now

	Audit  AuditLog     // nil: refused calls are not recorded, and nobody can ask
	Status StatusSource // nil: no status service

	Objects ObjectParts
	Reads   ReadParts

	Matchbox MatchboxParts // zero: matchbox's services are not offered

	recheckInterval time.Duration // 0: [recheckInterval]
}

// Server is the API. Make it by [New].
type Server struct {
	opt     Options
	log     *slog.Logger
	grpc    *grpc.Server
	health  *health.Server
	limits  *limiter
	metrics *metrics
	refused *refusals
	denied  quota // lines of the log about calls that were not let in

	stopping context.Context // ends when the server stops: streams end with it
	stop     context.CancelFunc
}

// New returns a server with all services that the options have the parts for. It starts nothing.
func New(o Options) (*Server, error) {
	if o.Keys == nil {
		return nil, errors.New("the API needs keys: it is never served without TLS")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opt: o, log: o.Logger, health: health.NewServer(), metrics: newMetrics(o.Metrics)}
	s.limits = newLimiter(o.CallsPerSecond, o.Now)
	s.refused = newRefusals(o.Logger, s.metrics, o.Now)
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.Creds(newCredentials(o.Keys, s.refused)),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxHeaderListSize(maxHeader), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(bufferSize),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.WaitForHandlers(true), grpc.ForceServerCodecV2(newStrictCodec()),
	)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	registrar := strict{s.grpc}
	register(registrar, &s.opt)
	reflection.Register(s.grpc)
	for method := range s.methods() {
		if _, known := policy[method]; !known {
			return nil, fmt.Errorf("method %s has no rule: nobody could call it", method)
		}
	}
	return s, nil
}

// methods returns the full names of all methods that are offered.
func (s *Server) methods() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for service, info := range s.grpc.GetServiceInfo() {
			for _, method := range info.Methods {
				if !yield("/" + service + "/" + method.Name) {
					return
				}
			}
		}
	}
}

// Serve serves on a listener until ctx ends, and closes it. Running calls are then given a little time; streams end at once, with UNAVAILABLE. The error is nil
// when ctx ended.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var draining sync.WaitGroup
	done := make(chan struct{})
	draining.Go(func() {
		select {
		case <-ctx.Done():
			s.drain()
		case <-done:
		}
	})
	err := s.grpc.Serve(newBounded(listener, s.refused, s.metrics))
	close(done)
	s.stop()
	draining.Wait()
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// drain lets calls end, and cuts off those that do not.
func (s *Server) drain() {
	s.health.Shutdown()
	s.stop()
	timer := time.AfterFunc(drainTimeout, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}
