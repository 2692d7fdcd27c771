package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

// The files of a directory of certificates. Only the first and the server's two belong on the server; the authority's key may be kept elsewhere.
const (
	CACert     = "ca.crt"
	CAKey      = "ca.key"
	ServerCert = "server.crt"
	ServerKey  = "server.key"
	AdminName  = "admin" // admin.crt and admin.key: the first client
)

// caName is the common name of the API's authority.
const caName = "matchd API CA"

// Step is one file, or pair of files, that [Init] made or found.
type Step struct {
	Files []string
	Made  bool
	Note  string // what it is, or why it was left alone
}

// Init makes what the API needs in a directory: an authority, a certificate for the server with the names, and one for the first admin. What is there is kept,
// so that it can be run again; a server's certificate that lacks a name or ends soon is told of. Errors are of kind Invalid or Conflict for files that do not
// fit together.
func Init(dir string, names Names, now time.Time) ([]Step, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory for certificates: %w", err)
	}
	caFiles := []string{filepath.Join(dir, CACert), filepath.Join(dir, CAKey)}
	_, err := os.Stat(caFiles[0])
	fresh := errors.Is(err, fs.ErrNotExist)
	ca, err := OpenCA(caFiles[0], caFiles[1], caName, now)
	if err != nil {
		return nil, err
	}
	steps := []Step{{Files: caFiles, Made: fresh, Note: describe(ca.cert, now)}}
	server, err := initServer(dir, ca, names, now)
	if err != nil {
		return steps, err
	}
	steps = append(steps, server)
	admin, err := initAdmin(dir, ca, now)
	if err != nil {
		return steps, err
	}
	return append(steps, admin), nil
}

func initServer(dir string, ca *CA, names Names, now time.Time) (Step, error) {
	step := Step{Files: []string{filepath.Join(dir, ServerCert), filepath.Join(dir, ServerKey)}}
	cert, found, err := readPair(step.Files)
	switch {
	case err != nil:
		return step, err
	case !found:
		pair, cert, err := ca.serverPair(names, now)
		if err != nil {
			return step, err
		}
		step.Made, step.Note = true, describe(cert, now)
		return step, pair.save(step.Files[0], step.Files[1])
	}
	step.Note = describe(cert, now)
	again := ": \"matchd pki server\" makes it anew"
	switch missing := names.missing(cert); {
	case cert.CheckSignatureFrom(ca.cert) != nil:
		step.Note += "; it is not signed by this authority" + again
	case now.After(cert.NotAfter.Add(-ExpiryWarning)):
		step.Note += "; it ends soon" + again
	case len(missing) > 0:
		step.Note += fmt.Sprintf("; it lacks %q: \"matchd pki server --name %s\" makes it anew", missing, strings.Join(missing, " --name "))
	}
	return step, nil
}

func initAdmin(dir string, ca *CA, now time.Time) (Step, error) {
	step := Step{Files: []string{filepath.Join(dir, AdminName+".crt"), filepath.Join(dir, AdminName+".key")}}
	cert, found, err := readPair(step.Files)
	if err != nil {
		return step, err
	}
	if found {
		step.Note = describe(cert, now)
		if cert.CheckSignatureFrom(ca.cert) != nil {
			step.Note += "; it is not signed by this authority: move it away to have another made"
		}
		return step, nil
	}
	pair, err := ca.IssueClient(auth.Identity{Name: AdminName, Role: auth.Admin}, ClientLifetime, now)
	if err != nil {
		return step, err
	}
	certs, err := ParseCerts(pair.Cert)
	if err != nil {
		return step, err
	}
	step.Made, step.Note = true, describe(certs[0], now)
	return step, pair.save(step.Files[0], step.Files[1])
}

// readPair reads the certificate of a pair, and reports whether it is there. One of the two without the other is of kind Conflict, except for a key alone, which
// a crash between the two leaves: it is replaced.
func readPair(files []string) (*x509.Certificate, bool, error) {
	text, err := keyfile.Read(files[0])
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	certs, err := ParseCerts(text)
	if err != nil {
		return nil, false, fault.New(fault.Invalid, "%s: %w", files[0], err)
	}
	if _, err := os.Stat(files[1]); err != nil {
		return nil, false, fault.New(fault.Conflict, "%s is there and its key is not (%w): put it back, or move the certificate away to have another made", files[0], err)
	}
	return certs[0], true, nil
}

func describe(cert *x509.Certificate, now time.Time) string {
	if now.After(cert.NotAfter) {
		return "expired " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	return "good until " + cert.NotAfter.UTC().Format(time.DateOnly)
}

// RenewServer makes a new key and certificate for the API's server, by the authority of the directory. It has the given names and those of the certificate
// before, and the key keeps its owner. A running daemon takes it up by itself.
func RenewServer(dir string, names Names, now time.Time) (*x509.Certificate, error) {
	ca, err := openExisting(dir)
	if err != nil {
		return nil, err
	}
	files := []string{filepath.Join(dir, ServerCert), filepath.Join(dir, ServerKey)}
	if text, err := keyfile.Read(files[0]); err == nil {
		if before, err := ParseCerts(text); err == nil {
			names.add(before[0])
		}
	}
	pair, cert, err := ca.serverPair(names, now)
	if err != nil {
		return nil, err
	}
	before, statErr := os.Stat(files[1])
	if err := pair.save(files[0], files[1]); err != nil || statErr != nil {
		return cert, err
	}
	return cert, keepOwner(files[1], before)
}

// openExisting opens the authority of a directory that [Init] made.
func openExisting(dir string) (*CA, error) {
	ca, err := LoadCA(filepath.Join(dir, CACert), filepath.Join(dir, CAKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there is no certificate authority in %s (%w): \"matchd pki init\" makes one; if it is elsewhere, name it by --dir", dir, err)
	}
	return ca, err
}

func (c *CA) serverPair(names Names, now time.Time) (Pair, *x509.Certificate, error) {
	made, err := c.IssueServer(names, ServerLifetime, now)
	if err != nil {
		return Pair{}, nil, err
	}
	key, err := EncodeKey(made.PrivateKey.(crypto.Signer))
	return Pair{EncodeCert(made.Certificate[0]), key}, made.Leaf, err
}

// HostNames returns what clients may call this host: its name, localhost, and the addresses of its interfaces. Addresses that change with the link (link-local)
// are left out.
func HostNames() (Names, error) {
	names := Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}}
	if host, err := os.Hostname(); err == nil && ValidDNS(host) && host != "localhost" {
		names.DNS = append(names.DNS, host)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return names, fmt.Errorf("asking for the addresses of the interfaces: %w", err)
	}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		if ip.IsGlobalUnicast() && !slices.Contains(names.IPs, ip) {
			names.IPs = append(names.IPs, ip)
		}
	}
	return names, nil
}

// Add adds a name or an address, as text. The error is of kind Invalid.
func (n *Names) Add(text string) error {
	if ip, err := netip.ParseAddr(text); err == nil {
		if !slices.Contains(n.IPs, ip) {
			n.IPs = append(n.IPs, ip)
		}
		return nil
	}
	if !ValidDNS(text) {
		return fault.New(fault.Invalid, "%q is neither an IP address nor a DNS name", text)
	}
	if !slices.Contains(n.DNS, text) {
		n.DNS = append(n.DNS, text)
	}
	return nil
}

func (n *Names) add(cert *x509.Certificate) {
	for _, name := range cert.DNSNames {
		if !slices.Contains(n.DNS, name) {
			n.DNS = append(n.DNS, name)
		}
	}
	for _, raw := range cert.IPAddresses {
		if ip, ok := netip.AddrFromSlice(raw); ok && !slices.Contains(n.IPs, ip.Unmap()) {
			n.IPs = append(n.IPs, ip.Unmap())
		}
	}
}

// missing returns the names that a certificate does not have.
func (n *Names) missing(cert *x509.Certificate) []string {
	var has Names
	has.add(cert)
	var missing []string
	for _, name := range n.DNS {
		if !slices.Contains(has.DNS, name) {
			missing = append(missing, name)
		}
	}
	for _, ip := range n.IPs {
		if !slices.Contains(has.IPs, ip) {
			missing = append(missing, ip.String())
		}
	}
	return missing
}

// ValidDNS reports whether a text is a host name that a certificate can hold (RFC 1123 section 2.1), a wildcard included.
func ValidDNS(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 || name[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '*' && i == 0 && len(name) > 2 && name[1] == '.':
		case c == '-' && label > 0, c == '_', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && name[len(name)-1] != '-'
}
