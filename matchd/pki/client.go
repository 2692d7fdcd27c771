package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

// Times of certificates of the API.
const (
	// ClientLifetime is how long a client's certificate is good for by default: there is no list of revoked ones, so it should end by itself.
	ClientLifetime = 365 * 24 * time.Hour
	// MaxClientLifetime is the longest that can be asked for.
	MaxClientLifetime = 10 * ClientLifetime
	// ServerLifetime is how long the API's own certificate is good for.
	ServerLifetime = 2 * 365 * 24 * time.Hour
	// clientSkew is by how much the clock of the server that checks a client's certificate may be behind the one that made it.
	clientSkew = time.Hour
)

// Pair is a certificate and its private key, both as PEM.
type Pair struct {
	Cert, Key []byte
}

// IssueClient makes a key and a certificate that the API takes for the identity, good for lifetime. Errors are of kind Invalid for an identity that no certificate
// can hold.
func (c *CA) IssueClient(id auth.Identity, lifetime time.Duration, now time.Time) (Pair, error) {
	if err := auth.CheckName(id.Name); err != nil {
		return Pair{}, err
	}
	if _, err := auth.ParseRole(string(id.Role)); err != nil {
		return Pair{}, err
	}
	if err := auth.CheckScope(id.Role, id.Scope); err != nil {
		return Pair{}, fault.Wrap(fault.Invalid, err)
	}
	subject := id.Subject()
	if _, err := auth.ParseScope(subject.OrganizationalUnit); err != nil {
		return Pair{}, err
	}
	if lifetime <= 0 || lifetime > MaxClientLifetime {
		return Pair{}, fault.New(fault.Invalid, "a client certificate is good for 1 to %d days", MaxClientLifetime/(24*time.Hour))
	}
	return c.issueClient(subject, lifetime, now)
}

func (c *CA) issueClient(subject pkix.Name, lifetime time.Duration, now time.Time) (Pair, error) {
	key, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	der, err := c.Issue(&x509.Certificate{
		Subject: subject, NotBefore: now.Add(-clientSkew).UTC(), NotAfter: now.Add(lifetime).UTC(),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, key.Public())
	if err != nil {
		return Pair{}, fmt.Errorf("making a client certificate: %w", err)
	}
	keyPEM, err := EncodeKey(key)
	return Pair{EncodeCert(der), keyPEM}, err
}

// fileName refuses a name of an identity that would make a surprising file. The error is of kind Invalid.
func fileName(name string) error {
	odd := strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@+-", r))
	})
	if odd || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || name == "ca" || name == "server" {
		return fault.New(fault.Invalid, "the name %q also names files: use letters, digits and . _ @ + -, not a dot or a dash first, and not ca or server", name)
	}
	return nil
}

// NewClient makes a certificate by the authority of a directory and writes it to out as NAME.crt and NAME.key, and the authority's certificate beside it, so
// that out has all that a client needs. It returns the files written. Errors are of kind Conflict for files that are there already: nothing is replaced.
func NewClient(dir, out string, id auth.Identity, lifetime time.Duration, now time.Time) ([]string, error) {
	if err := fileName(id.Name); err != nil {
		return nil, err
	}
	ca, err := openExisting(dir)
	if err != nil {
		return nil, err
	}
	pair, err := ca.IssueClient(id, lifetime, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory for a client's files: %w", err)
	}
	base := filepath.Join(out, id.Name)
	for _, name := range []string{base + ".crt", base + ".key"} {
		if _, err := os.Lstat(name); err == nil {
			return nil, fault.New(fault.Conflict, "%s is there already: take another name or --out, or move it away", name)
		}
	}
	files := []string{base + ".crt", base + ".key"}
	copied, err := copyCA(ca, filepath.Join(out, CACert))
	if err != nil {
		return nil, err
	}
	if copied {
		files = append(files, filepath.Join(out, CACert))
	}
	return files, pair.save(base+".crt", base+".key")
}

// copyCA puts the authority's certificate where there is none yet, and reports whether it did. Another authority's is not replaced.
func copyCA(ca *CA, name string) (bool, error) {
	there, err := os.ReadFile(name)
	switch {
	case os.IsNotExist(err):
		return true, keyfile.Write(name, ca.CertPEM(), keyfile.Public)
	case err != nil:
		return false, err
	case strings.TrimSpace(string(there)) != strings.TrimSpace(string(ca.CertPEM())):
		return false, fault.New(fault.Conflict, "%s is another authority's certificate: take another --out", name)
	}
	return false, nil
}

// save writes the pair, the key first and for its owner alone.
func (p Pair) save(cert, key string) error {
	if err := keyfile.Write(key, p.Key, keyfile.Secret); err != nil {
		return err
	}
	return keyfile.Write(cert, p.Cert, keyfile.Public)
}
