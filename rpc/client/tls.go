package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd/fault"
)

// tlsConfig reads the certificates. TLS 1.3 is asked for: the server is ours.
func tlsConfig(options Options) (*tls.Config, error) {
	authorities, err := pemOf("CA certificate", options.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, fault.New(fault.Invalid, "%s holds no CA certificate in PEM", place(options.CA))
	}
	if _, err := pair(options); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: options.ServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair(options) },
	}, nil
}

// pair reads the client's certificate and key.
func pair(options Options) (*tls.Certificate, error) {
	cert, err := pemOf("client certificate", options.Cert)
	if err != nil {
		return nil, err
	}
	key, err := pemOf("client key", options.Key)
	if err != nil {
		return nil, err
	}
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "client certificate %s with key %s: %w", place(options.Cert), place(options.Key), err)
	}
	return &loaded, nil
}

func isPEM(value string) bool { return strings.Contains(value, "-----BEGIN ") }

// place names where a value comes from, and never the value itself.
func place(value string) string {
	if isPEM(value) {
		return "(given as text)"
	}
	return value
}

func pemOf(what, value string) ([]byte, error) {
	switch {
	case value == "":
		return nil, fault.New(fault.Invalid, "no %s is given", what)
	case isPEM(value):
		return []byte(value), nil
	}
	content, err := os.ReadFile(value)
	if err != nil {
		return nil, fault.New(fault.Invalid, "reading the %s: %w", what, err)
	}
	return content, nil
}

// link remembers why the last attempt to connect failed, which gRPC passes on as text only.
type link struct {
	endpoint string

	mu   sync.Mutex
	last error // nil while all is well
}

func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *link) dial(ctx context.Context, endpoint string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		l.note(err)
	}
	return conn, err
}

// watched are credentials that tell the link how a handshake ended.
type watched struct {
	credentials.TransportCredentials
	link *link
}

// ClientHandshake implements [credentials.TransportCredentials].
func (w *watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	w.link.note(err)
	if err != nil {
		return nil, nil, fmt.Errorf("shaking hands: %w", err)
	}
	return &listened{Conn: conn, link: w.link}, info, nil
}

// Clone implements [credentials.TransportCredentials].
func (w *watched) Clone() credentials.TransportCredentials {
	return &watched{TransportCredentials: w.TransportCredentials.Clone(), link: w.link}
}

// listened is a connection whose read errors are noted: with TLS 1.3 a server refuses a client's certificate only after the client's
// handshake is over (RFC 8446 section 4.4.2.4), so that the refusal is the first thing read.
type listened struct {
	net.Conn
	link *link
}

// Read implements [net.Conn].
func (c *listened) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.link.note(err)
	}
	return n, err
}
