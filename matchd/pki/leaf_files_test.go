package pki_test

import (
	"bytes"
	"crypto"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
)

// writeLeaf issues a certificate into files, as a renewal would.
func writeLeaf(t *testing.T, ca *pki.CA, files pki.LeafFiles, now time.Time) {
	t.Helper()
	cert, err := ca.IssueServer(pki.Names{IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := pki.EncodeKey(cert.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{files.Cert: pki.EncodeCert(cert.Certificate[0]), files.Key: keyPEM, files.CA: ca.CertPEM()} {
		if name == "" {
			continue
		}
		if err := keyfile.Write(name, content, keyfile.Secret); err != nil {
			t.Fatal(err)
		}
	}
}

func leafFiles(t *testing.T) pki.LeafFiles {
	t.Helper()
	dir := t.TempDir()
	return pki.LeafFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt")}
}

func TestFileLeafFollowsItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, files := newCA(t), leafFiles(t)
		writeLeaf(t, ca, files, time.Now())
		var log bytes.Buffer
		leaf, err := pki.OpenFileLeaf(files, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		first := leaf.Ends()
		if !bytes.Equal(leaf.CA(), ca.CertPEM()) {
			t.Error("another CA")
		}

		if err := os.WriteFile(files.Key, []byte("half a"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Minute)
			if !leaf.Ends().Equal(first) {
				t.Error("a broken key was taken over")
			}
		}
		if n := strings.Count(log.String(), "of no use"); n != 1 {
			t.Errorf("said %d times, want once:\n%s", n, &log)
		}

		writeLeaf(t, ca, files, time.Now().Add(time.Hour))
		if !leaf.Ends().Equal(first) {
			t.Error("the files are looked at for every client")
		}
		time.Sleep(time.Minute)
		if got := leaf.Certificate().NotAfter; !got.Equal(leaf.Ends()) {
			t.Errorf("the certificate is another one, which ends at %v", got)
		}
		if !leaf.Ends().After(first) {
			t.Errorf("the renewed certificate was not taken over:\n%s", &log)
		}
		if cert, err := leaf.GetCertificate(nil); err != nil || !cert.Leaf.NotAfter.Equal(leaf.Ends()) {
			t.Errorf("%v", err)
		}
	})
}

func TestFileLeafRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, pki.LeafFiles){
		"no certificate": func(t *testing.T, f pki.LeafFiles) { spoilFile(t, f.Cert, "") },
		"no key":         func(t *testing.T, f pki.LeafFiles) { spoilFile(t, f.Key, "") },
		"no CA":          func(t *testing.T, f pki.LeafFiles) { spoilFile(t, f.CA, "") },
		"text":           func(t *testing.T, f pki.LeafFiles) { spoilFile(t, f.CA, "hello") },
		"another's CA":   func(t *testing.T, f pki.LeafFiles) { spoilFile(t, f.CA, string(newCA(t).CertPEM())) },
	} {
		files := leafFiles(t)
		writeLeaf(t, newCA(t), files, time.Now())
		spoil(t, files)
		_, err := pki.OpenFileLeaf(files, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if strings.Contains(name, "another") && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "does not lead to")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	files := leafFiles(t)
	files.CA = ""
	writeLeaf(t, newCA(t), files, time.Now().AddDate(-1, 0, 0))
	leaf, err := pki.OpenFileLeaf(files, slog.New(slog.DiscardHandler))
	if err != nil || len(leaf.CA()) > 0 || leaf.Ends().After(time.Now()) {
		t.Errorf("one that ended, of a CA that clients know, still serves: %v", err)
	}
}

// spoilFile removes a file, or puts something else there.
func spoilFile(t *testing.T, name, content string) {
	t.Helper()
	err := os.Remove(name)
	if content != "" {
		err = os.WriteFile(name, []byte(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
