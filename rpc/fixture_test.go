package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc"
)

// fixture is a server over real TLS on loopback.
type fixture struct {
	dir     string // as pki.Init makes it
	addr    string
	server  *rpc.Server
	metrics *prometheus.Registry
	log     *buffer
	audit   *fakeAudit
	status  *fakeStatus
	ahead   atomic.Int64 // by how much the server's clock is ahead

	stop func() // and waits
}

func (f *fixture) now() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }

// start serves until the test ends. change may be nil; services are registered before it serves.
func start(t testing.TB, change func(*rpc.Options), services ...func(grpc.ServiceRegistrar)) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), metrics: prometheus.NewRegistry(), log: &buffer{}, audit: &fakeAudit{}, status: &fakeStatus{}}
	names := pki.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	if _, err := pki.Init(f.dir, names, time.Now()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, err := pki.NewReloader(f.files(), log, f.now)
	if err != nil {
		t.Fatal(err)
	}
	options := rpc.Options{Logger: log, Metrics: f.metrics, Keys: keys, Now: f.now, Audit: f.audit, Status: f.status}
	if change != nil {
		change(&options)
	}
	if f.server, err = rpc.New(options); err != nil {
		t.Fatal(err)
	}
	for _, register := range services {
		f.server.Register(register)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := f.server.Serve(ctx, listener); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	f.stop = sync.OnceFunc(func() { cancel(); serving.Wait() })
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) files() pki.Files {
	return pki.Files{Cert: filepath.Join(f.dir, pki.ServerCert), Key: filepath.Join(f.dir, pki.ServerKey), CA: filepath.Join(f.dir, pki.CACert)}
}

func (f *fixture) ca(t testing.TB) *pki.CA {
	t.Helper()
	ca, err := pki.LoadCA(filepath.Join(f.dir, pki.CACert), filepath.Join(f.dir, pki.CAKey))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// tls returns the configuration of a client with the identity.
func (f *fixture) tls(t testing.TB, id auth.Identity) *tls.Config {
	t.Helper()
	pair, err := f.ca(t).IssueClient(id, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return f.tlsWith(t, cert)
}

func (f *fixture) tlsWith(t testing.TB, certs ...tls.Certificate) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.ca(t).Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: certs, MinVersion: tls.VersionTLS12}
}

// dial returns a connection of a client with the role, and a scope of pairs.
func (f *fixture) dial(t testing.TB, role auth.Role, scope ...string) *grpc.ClientConn {
	t.Helper()
	pairs, err := auth.ParseScope(scope)
	if err != nil {
		t.Fatal(err)
	}
	return f.dialTLS(t, f.tls(t, auth.Identity{Name: "test-" + string(role), Role: role, Scope: pairs}))
}

func (f *fixture) dialTLS(t testing.TB, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MaxMessage), grpc.MaxCallSendMsgSize(2*rpc.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// awaitLog waits until the log holds the text.
func (f *fixture) awaitLog(t testing.TB, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(f.log.String(), text); {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not tell %q:\n%s", text, f.log.String())
		}
		f.log.wait(100 * time.Millisecond)
	}
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil {
		close(b.written)
		b.written = nil
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// wait returns after the next write, or the time.
func (b *buffer) wait(limit time.Duration) {
	b.mu.Lock()
	if b.written == nil {
		b.written = make(chan struct{})
	}
	written := b.written
	b.mu.Unlock()
	select {
	case <-written:
	case <-time.After(limit):
	}
}

// fakeAudit answers with what a test says.
type fakeAudit struct {
	mu      sync.Mutex
	list    func(context.Context, audit.Query) ([]audit.Record, bool, error)
	refused []audit.Record
}

func (a *fakeAudit) answer(list func(context.Context, audit.Query) ([]audit.Record, bool, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = list
}

// fail has the log answer with an error.
func (a *fakeAudit) fail(err error) {
	a.answer(func(context.Context, audit.Query) ([]audit.Record, bool, error) { return nil, false, err })
}

func (a *fakeAudit) List(ctx context.Context, q audit.Query) ([]audit.Record, bool, error) {
	a.mu.Lock()
	list := a.list
	a.mu.Unlock()
	if list == nil {
		return nil, false, nil
	}
	return list(ctx, q)
}

func (a *fakeAudit) Refuse(r audit.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = append(a.refused, r)
}

func (a *fakeAudit) refusals() []audit.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]audit.Record(nil), a.refused...)
}

type fakeStatus struct{ panics atomic.Bool }

func (s *fakeStatus) Status(context.Context) rpc.ServerStatus {
	if s.panics.Load() {
		panic("the status is in flames")
	}
	return rpc.ServerStatus{Version: "v1", Revision: 7, Ready: true, Site: "/srv/site", Findings: []rpc.Finding{{Level: "warn", What: "disk", Advice: "buy"}}}
}
