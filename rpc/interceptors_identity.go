package rpc

import (
	"container/list"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/pki"
)

// Bounds of the rates of identities.
const (
	// defaultCallsPerSecond is far above what people and Terraform do, and below what two cores can serve: one identity in a loop leaves room for others.
	defaultCallsPerSecond = 5_000
	// burstSeconds is for how many seconds' worth of calls an identity may come at once.
	burstSeconds = 2
	// maxIdentities is the number of identities whose rates are kept; the one that called least recently is forgotten, and starts with a full burst.
	maxIdentities = 1024
)

// recheckInterval is how long a stream goes on, at most, after the authority of its client was taken away.
const recheckInterval = 30 * time.Second

// identify returns who calls. The certificate was verified when the connection was made; a connection outlives that, so its end and its authority are checked
// again.
func (s *Server) identify(ctx context.Context) (auth.Identity, error) {
	p, found := peer.FromContext(ctx)
	if !found {
		return auth.Identity{}, newStatus(codes.Unauthenticated, ReasonIdentity, "the connection tells nothing of its client").Err()
	}
	info, found := p.AuthInfo.(*connInfo)
	if !found || len(info.State.PeerCertificates) == 0 {
		return auth.Identity{}, newStatus(codes.Unauthenticated, ReasonIdentity, "a client certificate is needed").Err()
	}
	chain := info.State.PeerCertificates
	identity, err := auth.FromCertificate(chain[0], s.opt.DefaultRole)
	if err != nil {
		return identity, newStatus(codes.PermissionDenied, ReasonIdentity, err.Error()).Err()
	}
	now := s.opt.Now()
	if now.After(chain[0].NotAfter) {
		return identity, newStatus(codes.Unauthenticated, ReasonExpired, fmt.Sprintf("the client certificate of %q expired %s", identity.Name, ago(now.Sub(chain[0].NotAfter)))).Err()
	}
	if keys := s.opt.Keys.Keys(); keys.Generation != info.generation {
		if err := verifyAgain(keys, chain, now); err != nil {
			return identity, newStatus(codes.Unauthenticated, ReasonUntrusted, fmt.Sprintf("the client certificate of %q: %v", identity.Name, err)).Err()
		}
	}
	return identity, nil
}

// authorityError is the cause of the end of a stream whose client would not be let in any more.
type authorityError struct{ error }

func (e *authorityError) Unwrap() error { return e.error }

// lostAuthority returns why the client of a stream may not go on; nil: it may.
func lostAuthority(ctx context.Context) error {
	var lost *authorityError
	if errors.As(context.Cause(ctx), &lost) {
		return lost.error
	}
	return nil
}

// recheck identifies the client of a stream again, every so often and when its certificate ends, until ctx ends or it fails, which ends the stream.
func (s *Server) recheck(ctx context.Context, end context.CancelCauseFunc) {
	for {
		timer := time.NewTimer(s.untilRecheck(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if _, err := s.identify(ctx); err != nil {
			end(&authorityError{err})
			return
		}
	}
}

// untilRecheck is the interval, or the time that the client's certificate has left, if that is less.
func (s *Server) untilRecheck(ctx context.Context) time.Duration {
	interval := s.opt.recheckInterval
	if interval == 0 {
		interval = recheckInterval
	}
	p, _ := peer.FromContext(ctx)
	info, _ := p.AuthInfo.(*connInfo) // the call was admitted: there is one
	left := info.State.PeerCertificates[0].NotAfter.Sub(s.opt.Now())
	return max(min(interval, left+time.Millisecond), time.Millisecond)
}

// verifyAgain checks a chain against authorities that are in use now.
func verifyAgain(keys *pki.Keys, chain []*x509.Certificate, now time.Time) error {
	options := x509.VerifyOptions{
		Roots: keys.ClientCAs, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(options)
	return err
}

// connInfo is what is known of a connection: TLS, and which keys were in use when it was made.
type connInfo struct {
	credentials.TLSInfo
	generation uint64
}

// limiter holds the rate of each identity.
type limiter struct {
	perSecond int
	now       func() time.Time

	mu     sync.Mutex
	known  map[string]*list.Element // by fingerprint
	recent *list.List               // of *limited, the most recent first
}

type limited struct {
	fingerprint string
	rate        *rate.Limiter
}

func newLimiter(perSecond int, now func() time.Time) *limiter {
	if perSecond <= 0 {
		perSecond = defaultCallsPerSecond
	}
	return &limiter{perSecond: perSecond, now: now, known: map[string]*list.Element{}, recent: list.New()}
}

// take takes tokens of an identity. With not enough left it takes none, and returns when there will be.
func (l *limiter) take(fingerprint string, tokens int) time.Duration {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	element, found := l.known[fingerprint]
	if !found {
		if l.recent.Len() >= maxIdentities {
			oldest := l.recent.Back()
			delete(l.known, oldest.Value.(*limited).fingerprint)
			l.recent.Remove(oldest)
		}
		element = l.recent.PushFront(&limited{fingerprint, rate.NewLimiter(rate.Limit(l.perSecond), l.burst())})
		l.known[fingerprint] = element
	}
	l.recent.MoveToFront(element)
	reserved := element.Value.(*limited).rate.ReserveN(now, min(tokens, l.burst()))
	wait := reserved.DelayFrom(now)
	if wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}

func (l *limiter) burst() int { return l.perSecond * burstSeconds }

func rateStatus(name string, wait time.Duration) *status.Status {
	return newStatus(codes.ResourceExhausted, ReasonRate, fmt.Sprintf("%q calls faster than an identity may: try again in %s", name, wait.Round(time.Millisecond)),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
}
