package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd/pki"
)

// serverCredentials is TLS as the API speaks it. Clients are verified by crypto/tls, as strictly as by anybody's; this only looks at why it refused one, and keeps
// which keys a connection was made with.
type serverCredentials struct {
	credentials.TransportCredentials
	keys    KeySource
	refused *refusals
}

func newCredentials(keys KeySource, refused *refusals) credentials.TransportCredentials {
	return &serverCredentials{credentials.NewTLS(tlsConfig(keys.Keys())), keys, refused}
}

// tlsConfig is the configuration for one connection. Without session tickets every connection shows its certificate: an authority that is taken away, or a
// certificate that has expired, is seen at once.
func tlsConfig(keys *pki.Keys) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{*keys.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              keys.ClientCAs,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2"},
	}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	keys := c.keys.Keys()
	patient := &patientConn{Conn: raw, handshaking: true}
	conn, info, err := credentials.NewTLS(tlsConfig(keys)).ServerHandshake(patient)
	if err != nil {
		c.refused.handshake(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	patient.handshaking = false
	return conn, &connInfo{TLSInfo: info.(credentials.TLSInfo), generation: keys.Generation}, nil
}

// lingerTime and lingerBytes bound what is read of a client that was refused.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// patientConn lets a client that is refused read why. With TLS 1.3 a client has finished its handshake, and sends, before its certificate is looked at: closing on
// what it sends would be a reset, and take the alert with it (RFC 1122 section 4.2.2.13).
type patientConn struct {
	net.Conn
	handshaking bool
}

// Close implements net.Conn.
func (p *patientConn) Close() error {
	half, can := p.Conn.(interface{ CloseWrite() error })
	if p.handshaking && can && half.CloseWrite() == nil && p.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, p.Conn, lingerBytes)
	}
	return p.Conn.Close()
}

// Clone implements credentials.TransportCredentials.
func (c *serverCredentials) Clone() credentials.TransportCredentials {
	return &serverCredentials{c.TransportCredentials.Clone(), c.keys, c.refused}
}

// refusals tells of connections that were not let in: each in the log, up to so many in a time, and all as a metric.
type refusals struct {
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	lines   quota
}

func newRefusals(log *slog.Logger, m *metrics, now func() time.Time) *refusals {
	return &refusals{log: log, metrics: m, now: now}
}

// refusal is why a connection was not let in: a word for the metric, a sentence for people.
type refusal struct {
	reason  string
	text    string
	subject string // of the client's certificate, where it showed one
}

func (r *refusals) handshake(from net.Addr, err error) {
	r.tell(from, explain(err, r.now()))
}

func (r *refusals) tell(from net.Addr, why refusal) {
	r.metrics.refused.WithLabelValues(why.reason).Inc()
	told, silent := r.lines.take(r.now())
	if silent > 0 {
		r.log.Warn("API connections were refused that are not in the log, so many came", "connections", silent)
	}
	if told {
		r.log.Warn("API connection refused", "peer", from.String(), "subject", why.subject, "reason", why.reason, "why", why.text)
	}
}

// explain says in words why a handshake failed.
func explain(err error, now time.Time) refusal {
	var verification *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	text := err.Error()
	switch {
	case errors.As(err, &verification):
		return explainCertificate(verification, now)
	case errors.As(err, &header):
		return explainPlain(header)
	case errors.As(err, &alert), strings.Contains(text, "remote error: tls:"):
		return refusal{reason: "client", text: "the client broke off: " + strings.TrimPrefix(text[strings.LastIndex(text, "remote error:"):], "remote error: ") +
			": it does not trust this server's certificate, or the name it called it by is not in it"}
	case strings.Contains(text, "didn't provide a certificate"):
		return refusal{reason: "no-certificate", text: "no client certificate"}
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "protocol version"):
		return refusal{reason: "version", text: "TLS version: " + offered(text) + ", 1.2 is the least"}
	case strings.Contains(text, "application protocol"), strings.Contains(text, "ALPN"):
		return refusal{reason: "protocol", text: "the client does not speak HTTP/2 (ALPN h2)"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(text, "connection reset"):
		return refusal{reason: "gone", text: "the client closed the connection within the handshake"}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return refusal{reason: "timeout", text: fmt.Sprintf("no handshake within %s", handshakeTimeout)}
	}
	return refusal{reason: "other", text: text}
}

// explainCertificate says why a client's certificate was refused.
func explainCertificate(failed *tls.CertificateVerificationError, now time.Time) refusal {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	cert := failed.UnverifiedCertificates[0]
	why := refusal{reason: "certificate", text: failed.Err.Error(), subject: subjectOf(cert)}
	switch {
	case errors.As(failed.Err, &unknown):
		why.reason, why.text = "unknown-ca", "signed by an unknown CA"+issuer(failed.UnverifiedCertificates)
	case errors.As(failed.Err, &invalid) && invalid.Reason == x509.Expired:
		why.reason, why.text = "expired", expiry(invalid.Cert, cert, now)
	case errors.As(failed.Err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		why.reason, why.text = "not-a-client", "not a client certificate: its extended key usage lacks clientAuth"
	}
	return why
}

func expiry(expired, shown *x509.Certificate, now time.Time) string {
	what := "client certificate"
	if !expired.Equal(shown) {
		what = "the CA certificate " + subjectOf(expired)
	}
	if now.Before(expired.NotBefore) {
		return fmt.Sprintf("%s is not valid before %s: one of the clocks is wrong", what, expired.NotBefore.UTC().Format(time.RFC3339))
	}
	return what + " expired " + ago(now.Sub(expired.NotAfter))
}

// issuer names who signed, and the fingerprint of what the client has of it, if it sent that.
func issuer(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	text := fmt.Sprintf(" %q", clip(last.Issuer.String(), maxDetail))
	if len(last.AuthorityKeyId) > 0 {
		text += ", key id " + hex.EncodeToString(last.AuthorityKeyId)
	}
	sum := sha256.Sum256(chain[0].Raw)
	return text + ", fingerprint of the certificate " + hex.EncodeToString(sum[:])
}

func subjectOf(cert *x509.Certificate) string { return clip(cert.Subject.String(), maxDetail) }

// explainPlain says what came instead of TLS, going by its first bytes.
func explainPlain(header tls.RecordHeaderError) refusal {
	first := string(header.RecordHeader[:])
	why := refusal{reason: "plain-text", text: "plain text where TLS was expected"}
	switch {
	case strings.HasPrefix(first, "PRI *"):
		why.text += ": gRPC without TLS"
	case strings.HasPrefix(first, "GET "), strings.HasPrefix(first, "POST "), strings.HasPrefix(first, "HEAD "), strings.HasPrefix(first, "PUT "):
		why.text += ": HTTP without TLS; machines' HTTP has another port"
	case strings.HasPrefix(first, "SSH-"):
		why.text += ": SSH"
	default:
		why.text += fmt.Sprintf(": it began with %x", header.RecordHeader)
	}
	return why
}

// offered names the versions of crypto/tls's text "client offered only unsupported versions: [302 301]".
func offered(text string) string {
	_, list, found := strings.Cut(text, "[")
	list, _, closed := strings.Cut(list, "]")
	if !found || !closed {
		return "the client offers none that is supported"
	}
	var names []string
	for version := range strings.FieldsSeq(list) {
		name, known := map[string]string{"300": "SSL 3.0", "301": "TLS 1.0", "302": "TLS 1.1"}[version]
		if !known {
			name = "0x" + version
		}
		names = append(names, name)
	}
	return "the client offers only " + strings.Join(names, ", ")
}

// ago returns "3 h ago", in the largest unit that fits.
func ago(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days ago", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return fmt.Sprintf("%d h ago", int(d/time.Hour))
	case d >= time.Minute:
		return fmt.Sprintf("%d min ago", int(d/time.Minute))
	}
	return fmt.Sprintf("%d s ago", int(d/time.Second))
}
