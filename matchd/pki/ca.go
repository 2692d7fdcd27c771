// Package pki makes the certificates that matchd shows and checks: small certificate authorities of its own, for machines and for the API.
// Keys are ECDSA on P-256, which every TLS 1.2 client has. Nothing here asks a network for anything.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

// CALifetime is how long a certificate authority is good for. Every machine that is handed one is handed it anew with each boot, but
// operators copy the file, and nobody thinks of it again.
const CALifetime = 20 * 365 * 24 * time.Hour

// serialBits is the size of a serial number (RFC 5280 section 4.1.2.2: at most 20 octets, unique and positive).
const serialBits = 127

// Epoch is the NotBefore of everything that machines check. A machine whose clock's battery is dead boots in 1970, in 2000, or when its
// firmware was built, and checks certificates before it can ask anybody for the time: to such a machine a certificate of today is not
// yet valid, and Ignition would wait for ever. How long a certificate is good for is bounded by its end.
func Epoch() time.Time { return time.Unix(0, 0).UTC() }

// CA is a certificate authority: a self-signed certificate and its key. It never changes and is safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA returns a new certificate authority with the given common name, good from [Epoch] to [CALifetime] after now.
func NewCA(name string, now time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	return certify(key, name, now)
}

// certify returns a certificate authority of the key.
func certify(key crypto.Signer, name string, now time.Time) (*CA, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: Epoch(), NotAfter: now.Add(CALifetime).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate just made: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// NewKey returns a new private key on P-256.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// sign gives the template a random serial number and signs it. The certificate is in DER.
func sign(template, parent *x509.Certificate, public any, key crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	numbered := *template
	numbered.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, &numbered, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	return der, nil
}

// Issue signs the template for a public key and returns the certificate in DER. The serial number is random, whatever the template says, and
// the certificate ends with the authority's own at the latest.
func (c *CA) Issue(template *x509.Certificate, public any) ([]byte, error) {
	bounded := *template
	if bounded.NotAfter.After(c.cert.NotAfter) {
		bounded.NotAfter = c.cert.NotAfter
	}
	return sign(&bounded, c.cert, public, c.key)
}

// Certificate returns the authority's certificate, which is shared: do not change it.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// CertPEM returns the authority's certificate as PEM.
func (c *CA) CertPEM() []byte { return EncodeCert(c.cert.Raw) }

// KeyPEM returns the authority's private key as PEM.
func (c *CA) KeyPEM() ([]byte, error) { return EncodeKey(c.key) }

// EncodeCert returns a certificate in DER as PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// EncodeKey returns a private key as PEM (PKCS #8, which every TLS library reads).
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseCA reads a certificate authority from the PEM of its certificate and its key (PKCS #8). Errors are of kind Invalid: no certificate
// authority, a key that is another's.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	certs, err := ParseCerts(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	cert := certs[0]
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !cert.IsCA || !cert.BasicConstraintsValid:
		return nil, fault.New(fault.Invalid, "the certificate of %q is not a certificate authority's", cert.Subject)
	case !ok || !public.Equal(key.Public()):
		return nil, fault.New(fault.Invalid, "the certificate of %q and the private key do not belong together", cert.Subject)
	}
	return &CA{cert: cert, key: key}, nil
}

// ParseCerts reads the certificates of a PEM text, at least one; the error is of kind Invalid.
func ParseCerts(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New(fault.Invalid, "certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fault.New(fault.Invalid, "there is no certificate (PEM) in it")
	}
	return certs, nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fault.New(fault.Invalid, "there is no private key (PEM, PKCS #8) in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "reading a private key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fault.New(fault.Invalid, "the private key is not ECDSA on P-256")
	}
	return key, nil
}

// LoadCA reads a certificate authority from its files. The error wraps fs.ErrNotExist where a file is missing.
func LoadCA(certFile, keyFile string) (*CA, error) {
	key, err := keyfile.ReadSecret(keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate authority's key: %w", err)
	}
	cert, err := keyfile.Read(certFile)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate authority: %w", err)
	}
	ca, err := ParseCA(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", certFile, keyFile, err)
	}
	return ca, nil
}

// Save writes the authority's certificate and key, the key first and for its owner alone. What is there is replaced.
func (c *CA) Save(certFile, keyFile string) error {
	key, err := c.KeyPEM()
	if err != nil {
		return err
	}
	if err := keyfile.Write(keyFile, key, keyfile.Secret); err != nil {
		return err
	}
	return keyfile.Write(certFile, c.CertPEM(), keyfile.Public)
}

// OpenCA is [LoadCA]; an authority of which nothing is there is made with the given common name, and saved. A key without a certificate, which a
// crash between the two leaves, is given one. A certificate without a key is an error: machines or people may trust it already.
func OpenCA(certFile, keyFile, name string, now time.Time) (*CA, error) {
	ca, err := LoadCA(certFile, keyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	_, certErr := keyfile.Read(certFile)
	keyPEM, keyErr := keyfile.ReadSecret(keyFile)
	switch {
	case certErr == nil:
		return nil, fault.New(fault.Invalid, "%s is there and its key %s is not: put it back, or move the certificate away to have a new authority made", certFile, keyFile)
	case keyErr == nil:
		key, err := parseKey(keyPEM)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", keyFile, err)
		}
		ca, err = certify(key, name, now)
		if err != nil {
			return nil, err
		}
	default:
		if ca, err = NewCA(name, now); err != nil {
			return nil, err
		}
	}
	if err := ca.Save(certFile, keyFile); err != nil {
		return nil, fmt.Errorf("keeping a certificate authority: %w", err)
	}
	return ca, nil
}
