package rpc

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
)

// call is one call on its way through: who, what, and how it ended. Unary calls and streams go the same way.
type call struct {
	id       string // tells the client which line of the log is its own
	method   string
	peer     string
	start    time.Time
	rule     rule
	identity auth.Identity // as far as the certificate could be read
	request  any           // nil for streams
	panicked any
}

// unary takes a unary call through: admitted or refused, handled, translated, recorded, logged.
func (s *Server) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	c := s.newCall(ctx, info.FullMethod)
	c.request = request
	defer func() {
		c.panicked = recover()
		err = s.finish(ctx, c, err)
	}()
	ctx, cancel, err := s.admit(ctx, c, false)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return handle(ctx, request)
}

// stream is unary for streams.
func (s *Server) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	c := s.newCall(ctx, info.FullMethod)
	defer func() {
		c.panicked = recover()
		err = s.finish(ctx, c, err)
	}()
	ctx, cancel, err := s.admit(ctx, c, true)
	if err != nil {
		return err
	}
	defer cancel()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	err = handle(service, &boundStream{stream, ctx})
	if lost := lostAuthority(ctx); lost != nil {
		return lost
	}
	if s.stopping.Err() != nil && stream.Context().Err() == nil {
		return newStatus(codes.Unavailable, ReasonStopping, "the server is stopping").Err()
	}
	return err
}

// boundStream is a stream with the context of an admitted call.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (b *boundStream) Context() context.Context { return b.ctx }

// SendMsg implements grpc.ServerStream. Who lost its authority is sent nothing more, whether the handler looks at its context or not.
func (b *boundStream) SendMsg(message any) error {
	if lost := lostAuthority(b.ctx); lost != nil {
		return lost
	}
	return b.ServerStream.SendMsg(message)
}

func (s *Server) newCall(ctx context.Context, method string) *call {
	c := &call{id: rand.Text()[:12], method: method, start: s.opt.Now()}
	if p, found := peer.FromContext(ctx); found {
		c.peer = p.Addr.String()
	}
	return c
}

// admit lets a call in: its identity is known, within its rate, and may do this. The context returned carries the identity and has a deadline.
func (s *Server) admit(ctx context.Context, c *call, stream bool) (context.Context, context.CancelFunc, error) {
	var known bool
	c.rule, known = policy[c.method]
	var refused error
	c.identity, refused = s.identify(ctx)
	// Whoever is not let in is let try only so often, too.
	if wait := s.limits.take(c.identity.Fingerprint, max(c.rule.cost, 1)); wait > 0 {
		return nil, nil, rateStatus(c.identity.Name, wait).Err()
	}
	if refused != nil {
		return nil, nil, refused
	}
	if err := authorise(c, known); err != nil {
		return nil, nil, err
	}
	ctx = auth.NewContext(ctx, c.identity)
	ctx = audit.NewContext(ctx, c.audited())
	if stream {
		return s.bindStream(ctx, c)
	}
	timeout := c.rule.timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	if _, given := ctx.Deadline(); given {
		timeout = maxTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, cancel, nil
}

// bindStream ends a stream when the server stops, when its method's time is over, and when its client would not be let in any more.
func (s *Server) bindStream(ctx context.Context, c *call) (context.Context, context.CancelFunc, error) {
	cancelTimeout := func() {}
	if c.rule.timeout > 0 {
		ctx, cancelTimeout = context.WithTimeout(ctx, c.rule.timeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(s.stopping, func() { cancel(nil) })
	var checking sync.WaitGroup
	checking.Go(func() { s.recheck(ctx, cancel) })
	return ctx, func() { release(); cancel(nil); checking.Wait(); cancelTimeout() }, nil
}

func authorise(c *call, known bool) error {
	if !known {
		return newStatus(codes.PermissionDenied, ReasonDenied, "no rule says who may call "+c.method).Err()
	}
	if err := c.identity.May(c.rule.action); err != nil {
		return err
	}
	if c.identity.Scoped() && !c.rule.scoped {
		return newStatus(codes.PermissionDenied, ReasonScope, fmt.Sprintf("%q is bound to a scope, and %s knows none: an identity without a scope may call it", c.identity.Name, c.method)).Err()
	}
	return nil
}

func (c *call) audited() audit.Call {
	return audit.Call{Identity: c.identity.Name, Role: string(c.identity.Role), Peer: c.peer, Method: c.method}
}

// finish ends a call: what the client is told, the audit record of a write that failed, the metric, and the line of the log.
func (s *Server) finish(ctx context.Context, c *call, err error) error {
	var stack []byte
	if c.panicked != nil {
		stack = debug.Stack()
		err = fmt.Errorf("panic: %v", c.panicked)
	}
	var told *status.Status
	if err != nil {
		told = toStatus(err, c.id)
	}
	code := told.Code()
	s.metrics.finished(c, code, s.opt.Now().Sub(c.start))
	if s.opt.Audit != nil && told != nil && c.rule.action == auth.Write && code != codes.Canceled && reason(told) != ReasonRate {
		record := c.audited().Record(objectsOf(c.request))
		record.Code, record.Error = codeName(code), auditText(told)
		s.opt.Audit.Refuse(record)
	}
	s.logCall(ctx, c, told, err, stack)
	return told.Err()
}

// logCall writes one line. It never holds what a message holds: a refused document's problems quote the document.
func (s *Server) logCall(ctx context.Context, c *call, told *status.Status, err error, stack []byte) {
	level := slog.LevelDebug
	code := told.Code()
	switch {
	case code == codes.Internal || code == codes.Unknown || code == codes.DataLoss:
		level = slog.LevelError
	case code == codes.PermissionDenied || code == codes.Unauthenticated || code == codes.ResourceExhausted:
		level = slog.LevelWarn
		told, silent := s.denied.take(s.opt.Now())
		if silent > 0 {
			s.log.Warn("API calls were refused that are not in the log, so many came", "calls", silent)
		}
		if !told {
			return
		}
	case c.rule.action == auth.Write:
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{
		slog.String("call", c.id), slog.String("method", c.method), slog.String("peer", c.peer),
		slog.String("identity", c.identity.Name), slog.String("role", string(c.identity.Role)),
		slog.String("code", codeName(code)), slog.Duration("took", s.opt.Now().Sub(c.start)),
	}
	switch {
	case code == codes.Internal:
		attrs = append(attrs, slog.Any("error", err))
	case code != codes.OK:
		attrs = append(attrs, slog.String("error", auditText(told)))
	}
	if stack != nil {
		attrs = append(attrs, slog.String("stack", string(stack)))
	}
	s.log.LogAttrs(ctx, level, "API call", attrs...)
}
