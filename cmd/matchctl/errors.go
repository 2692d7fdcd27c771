package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/client"
)

// credentialsError is a connection that could not be made for want of certificates.
type credentialsError struct {
	used  connection
	cause error
}

func (e *credentialsError) Error() string { return e.cause.Error() }
func (e *credentialsError) Unwrap() error { return e.cause }

// report says what a command ended with, and what to do next, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	var done exitCode
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &done):
		return int(done)
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)):
		a.err.line("matchctl: interrupted")
		return exitError
	}
	a.err.painted(red, "matchctl: %s", printableLines(text(err)))
	if advice := a.advise(err); advice != "" {
		a.err.line("%s", advice)
	}
	if errors.As(err, &usage) {
		a.err.line("See 'matchctl help'.")
	}
	return codeOf(err)
}

// codeOf is the exit code of an error.
func codeOf(err error) int {
	var usage usageError
	var credentials *credentialsError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case client.IsUnreachable(err):
		return exitUnreachable
	case errors.As(err, &credentials):
		return exitUsage
	case fault.Is(err, fault.NotFound):
		return exitNotFound
	case fault.Is(err, fault.Denied):
		return exitDenied
	}
	return exitError
}

// text says what happened.
func text(err error) string {
	var failed *client.Error
	if errors.As(err, &failed) && failed.Unreachable {
		return "cannot reach matchd at " + failed.Endpoint + ": " + unreachable(failed)
	}
	return err.Error()
}

func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// unreachable says in words what kept a connection from coming about.
func unreachable(failed *client.Error) string {
	var (
		verify *tls.CertificateVerificationError
		header tls.RecordHeaderError
		dns    *net.DNSError
		op     *net.OpError
	)
	switch {
	case errors.As(failed, &verify):
		return verification(verify)
	case errors.As(failed, &header):
		return "what listens there does not speak TLS"
	case errors.As(failed, &dns):
		return "there is no host " + dns.Name
	case errors.As(failed, &op) && op.Op == "remote error":
		return "the server refused the handshake: " + alert(op.Err.Error())
	case errors.Is(failed, context.DeadlineExceeded), errors.As(failed, &op) && op.Timeout():
		return "it does not answer"
	case errors.As(failed, &op):
		return op.Err.Error()
	}
	return failed.Unwrap().Error()
}

// verification says what is wrong with the server's certificate.
func verification(failed *tls.CertificateVerificationError) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		shown     *x509.Certificate
	)
	if len(failed.UnverifiedCertificates) > 0 {
		shown = failed.UnverifiedCertificates[0]
	}
	switch {
	case errors.As(failed.Err, &authority) && shown != nil:
		return fmt.Sprintf("its certificate (%q, issued by %q) is not signed by the authority that you trust", shown.Subject.CommonName, shown.Issuer.CommonName)
	case errors.As(failed.Err, &name):
		return fmt.Sprintf("its certificate is for %s, not for %q", strings.Join(namesOf(name.Certificate), ", "), name.Host)
	case errors.As(failed.Err, &invalid) && invalid.Reason == x509.Expired && shown != nil:
		return "its certificate is not valid now: it is from " + span(shown)
	}
	return failed.Err.Error()
}

func span(cert *x509.Certificate) string {
	return cert.NotBefore.UTC().Format(time.RFC3339) + " to " + cert.NotAfter.UTC().Format(time.RFC3339)
}

func namesOf(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"no name at all"}
	}
	return names
}

// alert puts TLS's alerts into words. The server's log has the exact reason.
func alert(text string) string {
	text = strings.TrimPrefix(text, "tls: ")
	switch text {
	case "bad certificate", "certificate unknown", "unknown certificate", "unsupported certificate":
		return "it does not accept your certificate"
	case "expired certificate":
		return "your certificate has expired"
	case "unknown certificate authority":
		return "your certificate is signed by an authority that it does not trust"
	case "certificate required":
		return "it wants a client certificate"
	}
	return text
}

// advise says what to do next; empty where the error itself says it.
func (a *app) advise(err error) string {
	var failed *client.Error
	var credentials *credentialsError
	var stale *staleFile
	switch {
	case errors.As(err, &credentials):
		return credentials.advice()
	case errors.As(err, &stale):
		return stale.advice()
	case !errors.As(err, &failed):
		return ""
	case failed.Unreachable:
		return a.adviseReaching(failed)
	}
	switch failed.Code {
	case "UNAUTHENTICATED", "PERMISSION_DENIED":
		return "\"matchctl status\" tells who you are to the server. Who may do this can be given a certificate with: matchd pki client NAME --role ROLE"
	case "RESOURCE_EXHAUSTED":
		if strings.Contains(failed.Message, "message larger than max") {
			return "An apply may have 32 MiB, and a document in it 256 KiB: apply fewer objects at once, or look for a template that is too large."
		}
		return retry(failed, "The server asks you to slow down.")
	case "DEADLINE_EXCEEDED":
		return "Give it more time with --timeout, or look at the server's health with: matchctl status"
	case "UNIMPLEMENTED":
		return "The server is of another version than this program (" + version + "): matchctl status"
	case "UNAVAILABLE":
		return retry(failed, "Ask again in a moment, or look at the server's health with: matchctl status")
	case "ABORTED", "FAILED_PRECONDITION":
		return adviseConflict(failed)
	}
	return ""
}

func retry(failed *client.Error, otherwise string) string {
	if failed.RetryAfter > 0 {
		return fmt.Sprintf("Ask again in %s.", failed.RetryAfter)
	}
	return otherwise
}

func adviseConflict(failed *client.Error) string {
	switch failed.Reason {
	case "OWNED":
		return "Change it in that file; the server follows it."
	case "STALE":
		return "Somebody else changed it meanwhile: get it again, and decide again."
	}
	return ""
}

func (a *app) adviseReaching(failed *client.Error) string {
	var verify *tls.CertificateVerificationError
	var name x509.HostnameError
	var op *net.OpError
	switch {
	case errors.As(failed, &name):
		return "Call it by one of these names, give --server-name, or make it a certificate with: matchd pki server --name " + name.Host
	case errors.As(failed, &verify):
		return "The authority that you trust is " + a.used.CA + "; the server's own is ca.crt in its pki directory. Give that file with --ca, or put it into the context."
	case errors.As(failed, &op) && op.Op == "remote error":
		if expired := ownCertificate(a.used.Cert, a.now()); expired != "" {
			return expired
		}
		return "Your certificate is " + a.used.Cert + ". Another one is made on the server's host with: matchd pki client NAME --role ROLE. The server's log says why it refused this one."
	}
	return "Does matchd run there, and does its setting \"rpc\" name this port? Another server is named by --endpoint, MATCHCTL_ENDPOINT or a context: matchctl config set-context"
}

// ownCertificate says that the client's certificate is the problem, if it is out of date.
func ownCertificate(file string, now time.Time) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || now.After(cert.NotBefore) && now.Before(cert.NotAfter) {
		return ""
	}
	return fmt.Sprintf("Your certificate %s is not valid now: it is from %s. A new one is made on the server's host with: matchd pki client %s --role ROLE",
		file, span(cert), cert.Subject.CommonName)
}

func (e *credentialsError) advice() string {
	switch {
	case errors.Is(e.cause, fs.ErrNotExist) && e.used.Name == "" && e.used.Cert == defaultCert:
		return "On the server's host, \"matchd pki init\" makes these files. Elsewhere, get a certificate made (matchd pki client NAME --role ROLE) and name its files:\n" +
			"  matchctl config set-context NAME --endpoint HOST:8081 --ca ca.crt --cert NAME.crt --key NAME.key"
	case errors.Is(e.cause, fs.ErrPermission):
		return "These files are for their owner alone. Ask for a certificate of your own (matchd pki client NAME --role ROLE), or become their owner."
	}
	return "Certificates are made on the server's host with: matchd pki client NAME --role ROLE"
}
