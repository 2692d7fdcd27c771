package pki_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCAIsGoodForDeadClocks(t *testing.T) {
	ca := newCA(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	for _, at := range []time.Time{time.Unix(60, 0), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Now(), time.Now().AddDate(19, 0, 0)} {
		if _, err := ca.Certificate().Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at}); err != nil {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

func TestIssueEndsWithTheAuthority(t *testing.T) {
	ca := newCA(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	for range 10 {
		der, err := ca.Issue(&x509.Certificate{NotBefore: pki.Epoch(), NotAfter: time.Now().AddDate(30, 0, 0)}, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if !cert.NotAfter.Equal(ca.Certificate().NotAfter) {
			t.Errorf("it ends %v, its authority %v", cert.NotAfter, ca.Certificate().NotAfter)
		}
		serials[cert.SerialNumber.String()] = true
	}
	if len(serials) != 10 {
		t.Errorf("%d serial numbers of 10 certificates", len(serials))
	}
}

func TestOpenCAKeepsWhatItMade(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	first, err := pki.OpenCA(cert, key, "test CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	second, err := pki.OpenCA(cert, key, "other name", time.Now())
	if err != nil || !bytes.Equal(first.CertPEM(), second.CertPEM()) {
		t.Fatalf("opening again gave another authority: %v", err)
	}

	if err := os.Remove(cert); err != nil { // what a crash after writing the key leaves
		t.Fatal(err)
	}
	third, err := pki.OpenCA(cert, key, "test CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	firstKey, _ := first.KeyPEM()
	thirdKey, _ := third.KeyPEM()
	if !bytes.Equal(firstKey, thirdKey) {
		t.Error("the key was not kept")
	}
	if _, err := pki.LoadCA(cert, key); err != nil {
		t.Errorf("the certificate was not written: %v", err)
	}

	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.OpenCA(cert, key, "test CA", time.Now()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("a certificate without its key: %v", err)
	}
}

func TestOpenCAErrors(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	if _, err := pki.LoadCA(cert, key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loading nothing: %v", err)
	}
	if err := newCA(t).Save(cert, key); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.OpenCA(cert, key, "test CA", time.Now()); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key that all can read: %v", err)
	}
	if _, err := pki.OpenCA(filepath.Join(dir, "none", "ca.crt"), filepath.Join(dir, "none", "ca.key"), "x", time.Now()); err == nil {
		t.Error("an authority was kept in no directory")
	}
}

func TestParseCARefuses(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	keyPEM, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	otherKey, _ := other.KeyPEM()
	key, _ := pki.NewKey()
	leaf, err := ca.Issue(&x509.Certificate{NotBefore: pki.Epoch(), NotAfter: time.Now().Add(time.Hour)}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	leafKey, _ := pki.EncodeKey(key)
	for _, test := range []struct {
		name, cert, key, want string
	}{
		{"nothing", "", "", "no certificate"},
		{"no key", string(ca.CertPEM()), "", "no private key"},
		{"text", "hello", string(keyPEM), "no certificate"},
		{"broken certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", string(keyPEM), "certificate 1"},
		{"broken key", string(ca.CertPEM()), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "reading a private key"},
		{"another's key", string(ca.CertPEM()), string(otherKey), "do not belong together"},
		{"a leaf", string(pki.EncodeCert(leaf)), string(leafKey), "not a certificate authority"},
	} {
		_, err := pki.ParseCA([]byte(test.cert), []byte(test.key))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want Invalid with %q", test.name, err, test.want)
		}
	}
	if _, err := pki.ParseCA(ca.CertPEM(), keyPEM); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func FuzzParseCA(f *testing.F) {
	ca, err := pki.NewCA("fuzz", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	key, _ := ca.KeyPEM()
	f.Add(ca.CertPEM(), key)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{})
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		if ca, err := pki.ParseCA(cert, key); err == nil && ca.Certificate() == nil {
			t.Error("neither an authority nor an error")
		}
	})
}
