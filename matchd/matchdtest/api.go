package matchdtest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/pki"
)

// makePKI makes the API's certificates and points the configuration to them.
func (d *Daemon) makePKI(t testing.TB, cfg *matchd.Config) {
	t.Helper()
	d.PKI = t.TempDir()
	names := pki.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	if _, err := pki.Init(d.PKI, names, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg.RPC = "127.0.0.1:0"
	cfg.RPCCert, cfg.RPCKey = filepath.Join(d.PKI, pki.ServerCert), filepath.Join(d.PKI, pki.ServerKey)
	cfg.RPCCA = filepath.Join(d.PKI, pki.CACert)
}

// Client is what a client of the API needs, as files.
type Client struct {
	CA, Cert, Key string
}

// NewClient makes the certificate of an identity for the daemon's API, and returns its files.
func (d *Daemon) NewClient(t testing.TB, id auth.Identity) Client {
	t.Helper()
	files, err := pki.NewClient(d.PKI, t.TempDir(), id, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return Client{CA: filepath.Join(d.PKI, pki.CACert), Cert: files[0], Key: files[1]}
}

// ClientTLS returns the TLS configuration of a client with a role, and a scope of pairs "KEY=VALUE".
func (d *Daemon) ClientTLS(t testing.TB, role auth.Role, scope ...string) *tls.Config {
	t.Helper()
	pairs, err := auth.ParseScope(scope)
	if err != nil {
		t.Fatal(err)
	}
	return d.NewClient(t, auth.Identity{Name: fmt.Sprintf("test-%s", role), Role: role, Scope: pairs}).TLS(t)
}

// TLS returns the TLS configuration of the client.
func (c Client) TLS(t testing.TB) *tls.Config {
	t.Helper()
	loaded, err := pki.NewReloader(pki.Files{Cert: c.Cert, Key: c.Key, CA: c.CA}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, ca := range loaded.Keys().CAs {
		roots.AddCert(ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{*loaded.Keys().Certificate}, RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}
