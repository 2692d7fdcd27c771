package rpc_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// issue makes a certificate by hand, as something else than pki may have.
func issue(t testing.TB, ca *pki.CA, template x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour)
	}
	der, err := ca.Issue(&template, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var (
	clientUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	serverUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	viewer      = pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}}
)

// TestRefusedCertificates looks at what the log tells of each, and the client.
func TestRefusedCertificates(t *testing.T) {
	f := start(t, nil)
	stranger, err := pki.NewCA("somebody's CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := issue(t, stranger, x509.Certificate{Subject: viewer, ExtKeyUsage: clientUsage})
	sum := sha256.Sum256(foreign.Certificate[0])
	server, err := tls.LoadX509KeyPair(filepath.Join(f.dir, pki.ServerCert), filepath.Join(f.dir, pki.ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, reason string
		certs        []tls.Certificate
		log          []string
		client       string
	}{
		{"none", "no-certificate", nil, []string{"no client certificate"}, "certificate required"},
		{"expired", "expired", []tls.Certificate{issue(t, f.ca(t), x509.Certificate{
			Subject: viewer, ExtKeyUsage: clientUsage, NotBefore: time.Now().AddDate(0, 0, -2), NotAfter: time.Now().Add(-3*time.Hour - time.Minute),
		})}, []string{"client certificate expired 3 h ago", "CN=jo,O=matchd:viewer"}, "expired certificate"},
		{"not yet", "expired", []tls.Certificate{issue(t, f.ca(t), x509.Certificate{
			Subject: viewer, ExtKeyUsage: clientUsage, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
		})}, []string{"is not valid before", "one of the clocks is wrong"}, "expired certificate"},
		{"unknown CA", "unknown-ca", []tls.Certificate{foreign},
			[]string{"signed by an unknown CA", "somebody's CA", "fingerprint of the certificate " + hex.EncodeToString(sum[:])}, "unknown certificate authority"},
		{"server's", "not-a-client", []tls.Certificate{server}, []string{"not a client certificate: its extended key usage lacks clientAuth"}, "bad certificate"},
		{"no usage for clients", "not-a-client", []tls.Certificate{issue(t, f.ca(t), x509.Certificate{Subject: viewer, ExtKeyUsage: serverUsage})},
			[]string{"not a client certificate"}, "bad certificate"},
	} {
		config := f.tlsWith(t)
		// Also what the server says that it would not take: otherwise the client shows nothing.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if test.certs == nil {
				return &tls.Certificate{}, nil
			}
			return &test.certs[0], nil
		}
		_, err := getStatus(t, f.dialTLS(t, config))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), test.client) {
			t.Errorf("%s: the client got %v, want %q", test.name, err, test.client)
		}
		for _, text := range append(test.log, "reason="+test.reason, "peer=127.0.0.1:") {
			f.awaitLog(t, text)
		}
		if strings.Contains(f.log.String(), "GetStatus") {
			t.Fatalf("%s: a call came through", test.name)
		}
	}
}

func TestRefusedConnections(t *testing.T) {
	f := start(t, nil)
	for _, test := range []struct {
		name, reason, log string
		talk              func(t *testing.T)
	}{
		{"plain HTTP", "plain-text", "plain text where TLS was expected: HTTP without TLS", func(t *testing.T) { f.say(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") }},
		{"plain gRPC", "plain-text", "gRPC without TLS", func(t *testing.T) {
			conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := getStatus(t, conn); status.Code(err) != codes.Unavailable {
				t.Errorf("got %v", err)
			}
		}},
		{"SSH", "plain-text", "expected: SSH", func(t *testing.T) { f.say(t, "SSH-2.0-OpenSSH_9.9\r\n") }},
		{"garbage", "plain-text", "it began with dead", func(t *testing.T) { f.say(t, "\xde\xad\xbe\xef\x00\x01\x02\x03\xff\xff\xff\xff") }},
		{"silence", "gone", "closed the connection within the handshake", func(t *testing.T) { f.say(t, "") }},
		{"old TLS", "version", "the client offers only TLS 1.1", func(t *testing.T) {
			config := f.tls(t, auth.Identity{Name: "jo", Role: auth.Viewer})
			config.MinVersion, config.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
			if conn, err := tls.Dial("tcp", f.addr, config); err == nil {
				conn.Close()
				t.Error("TLS 1.1 was let in")
			}
		}},
		{"no HTTP/2", "protocol", "does not speak HTTP/2", func(t *testing.T) {
			config := f.tls(t, auth.Identity{Name: "jo", Role: auth.Viewer})
			config.NextProtos = []string{"http/1.1"}
			if conn, err := tls.Dial("tcp", f.addr, config); err == nil {
				_, _ = conn.Read(make([]byte, 1))
				conn.Close()
			}
		}},
		{"client that trusts nobody", "client", "it does not trust this server's certificate", func(t *testing.T) {
			config := f.tls(t, auth.Identity{Name: "jo", Role: auth.Viewer})
			config.RootCAs = x509.NewCertPool()
			if _, err := getStatus(t, f.dialTLS(t, config)); err == nil {
				t.Error("it was let in")
			}
		}},
	} {
		test.talk(t)
		f.awaitLog(t, test.log)
		f.awaitLog(t, "reason="+test.reason)
	}
	if _, err := getStatus(t, f.dial(t, auth.Viewer)); err != nil {
		t.Errorf("a good client after all of these: %v", err)
	}
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	reasons := 0
	for _, family := range families {
		if family.GetName() == "matchd_rpc_refused_connections_total" {
			reasons = len(family.GetMetric())
		}
	}
	if reasons != 5 {
		t.Errorf("%d reasons in the metrics, want 5", reasons)
	}
}

// say sends bytes and closes once the server has.
func (f *fixture) say(t *testing.T, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if text == "" {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.Copy(io.Discard, conn)
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	f := start(t, nil)
	for range 100 {
		f.say(t, "GET / HTTP/1.1\r\n")
	}
	f.ahead.Add(int64(time.Minute))
	f.say(t, "GET / HTTP/1.1\r\n")
	f.awaitLog(t, "API connections were refused that are not in the log")
	if lines := strings.Count(f.log.String(), "API connection refused"); lines > 41 { // two windows, and the one after
		t.Errorf("%d lines for 101 refused connections", lines)
	}
}

func TestCertificatesWithoutARole(t *testing.T) {
	f := start(t, nil)
	plain := issue(t, f.ca(t), x509.Certificate{Subject: pkix.Name{CommonName: "fake-client"}, ExtKeyUsage: clientUsage})
	_, err := getStatus(t, f.dialTLS(t, f.tlsWith(t, plain)))
	if status.Code(err) != codes.PermissionDenied || info(err).GetReason() != rpc.ReasonIdentity || !strings.Contains(err.Error(), "matchd pki client fake-client --role") {
		t.Errorf("got %v", err)
	}
	g := start(t, func(o *rpc.Options) { o.DefaultRole = auth.Operator })
	plain = issue(t, g.ca(t), x509.Certificate{Subject: pkix.Name{CommonName: "fake-client", OrganizationalUnit: []string{"Engineering"}}, ExtKeyUsage: clientUsage})
	got, err := getStatus(t, g.dialTLS(t, g.tlsWith(t, plain)))
	if err != nil || got.GetRole() != "operator" {
		t.Errorf("with a default role: %v, %v", got, err)
	}
	odd := issue(t, g.ca(t), x509.Certificate{Subject: pkix.Name{CommonName: "x", OrganizationalUnit: []string{"site=fra"}}, ExtKeyUsage: clientUsage})
	if _, err := getStatus(t, g.dialTLS(t, g.tlsWith(t, odd))); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a scope without a role: %v", err)
	}
}

func TestConnectionDoesNotOutliveItsCertificate(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Viewer)
	if _, err := getStatus(t, conn); err != nil {
		t.Fatal(err)
	}
	f.ahead.Add(int64(2 * time.Hour))
	_, err := getStatus(t, conn)
	if status.Code(err) != codes.Unauthenticated || info(err).GetReason() != rpc.ReasonExpired || !strings.Contains(err.Error(), `"test-viewer" expired`) {
		t.Errorf("got %v", err)
	}
}

// TestAuthorityTakenAway replaces the authority under an open connection.
func TestAuthorityTakenAway(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Viewer)
	if _, err := getStatus(t, conn); err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewCA("the next CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	old := f.ca(t)
	if err := keyfile.Write(f.files().CA, append(other.CertPEM(), old.CertPEM()...), keyfile.Public); err != nil {
		t.Fatal(err)
	}
	f.ahead.Add(int64(5 * time.Second))
	if _, err := getStatus(t, conn); err != nil {
		t.Errorf("with both authorities: %v", err)
	}
	if err := keyfile.Write(f.files().CA, other.CertPEM(), keyfile.Public); err != nil {
		t.Fatal(err)
	}
	f.ahead.Add(int64(5 * time.Second))
	_, err = getStatus(t, conn)
	if status.Code(err) != codes.Unauthenticated || info(err).GetReason() != rpc.ReasonUntrusted {
		t.Errorf("without its authority: %v", err)
	}
}

// TestReloadUnderLoad renews the server's certificate over and over while clients connect and call: none of them fails, and the last certificate is shown.
func TestReloadUnderLoad(t *testing.T) {
	f := start(t, nil)
	config := f.tls(t, auth.Identity{Name: "busy", Role: auth.Viewer})
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(credentials.NewTLS(config.Clone())))
				if err != nil {
					t.Error(err)
					return
				}
				for range 5 {
					if _, err := matchdpb.NewStatusClient(conn).GetStatus(t.Context(), &matchdpb.GetStatusRequest{}); err != nil {
						t.Errorf("while the certificate changes: %v", err)
						conn.Close()
						return
					}
				}
				conn.Close()
			}
		})
	}
	names := pki.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	var last *x509.Certificate
	for range 20 {
		var err error
		if last, err = pki.RenewServer(f.dir, names, time.Now()); err != nil {
			t.Fatal(err)
		}
		f.ahead.Add(int64(2 * time.Second))
		if _, err := getStatus(t, f.dialTLS(t, config.Clone())); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	clients.Wait()
	f.ahead.Add(int64(5 * time.Second))
	conn, err := tls.Dial("tcp", f.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !conn.ConnectionState().PeerCertificates[0].Equal(last) {
		t.Error("the last certificate is not in use")
	}

	// A broken one is not taken.
	if err := os.WriteFile(f.files().Cert, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.ahead.Add(int64(5 * time.Second))
		if _, err := getStatus(t, f.dialTLS(t, config.Clone())); err != nil {
			t.Errorf("with a broken file: %v", err)
		}
	}
	if told := strings.Count(f.log.String(), "cannot be used"); told != 1 {
		t.Errorf("the log tells of the broken file %d times", told)
	}
}
