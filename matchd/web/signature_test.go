package web_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/web"
)

// newKey makes a key and writes its private ring, locked if there is a passphrase.
func newKey(t *testing.T, passphrase string, armored bool) (file string, key *openpgp.Entity) {
	t.Helper()
	config := &packet.Config{DefaultHash: crypto.SHA256, Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("Boot", "", "boot@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		if err := key.EncryptPrivateKeys([]byte(passphrase), config); err != nil {
			t.Fatal(err)
		}
	}
	file = filepath.Join(t.TempDir(), "secring.gpg")
	var ring bytes.Buffer
	var out io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&ring, io.NopCloser(nil)}
	if armored {
		if out, err = armor.Encode(&ring, openpgp.PrivateKeyType, nil); err != nil {
			t.Fatal(err)
		}
	}
	// A locked key cannot sign itself anew; its identities are signed already.
	if err := key.SerializePrivateWithoutSigning(out, config); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, ring.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, key
}

func signing(t *testing.T, file, passphrase string) func(*web.Options) {
	t.Helper()
	ring, err := web.OpenKeyRing(file, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *web.Options) { o.Signer = ring }
}

var signedPaths = []string{"/boot.ipxe", "/boot.ipxe.0", "/ipxe", "/grub", "/ignition", "/cloud", "/generic", "/metadata"}

// TestSignatures holds what matchbox's signatures are: detached, of the text type, with SHA-256, of what the plain path sends.
func TestSignatures(t *testing.T) {
	file, key := newKey(t, "open sesame", true)
	h := newHarness(t, signing(t, file, "open sesame"))
	for _, path := range signedPaths {
		query := "?mac=" + hyphen
		plain := body(t, h.get("GET", path+query))
		h.events.take()

		binary := h.get("GET", path+".sig"+query, "Range", "bytes=0-3", "If-None-Match", "*")
		if got := binary.Header.Get("Content-Type"); binary.StatusCode != http.StatusOK || got != "application/octet-stream" {
			t.Errorf("%s.sig: %d %s", path, binary.StatusCode, got)
		}
		signature, err := packet.Read(bytes.NewReader([]byte(body(t, binary))))
		if err != nil {
			t.Fatal(err)
		}
		made := signature.(*packet.Signature)
		if made.SigType != packet.SigTypeText || made.Hash != crypto.SHA256 {
			t.Errorf("%s.sig: type %#x with %v, want 0x01 with SHA-256", path, made.SigType, made.Hash)
		}

		armoured := h.get("GET", path+".asc"+query)
		text := body(t, armoured)
		if got := armoured.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("%s.asc: %s", path, got)
		}
		if !strings.HasPrefix(text, "-----BEGIN PGP SIGNATURE-----\n") || !strings.HasSuffix(text, "-----END PGP SIGNATURE-----") {
			t.Errorf("%s.asc: %q", path, text)
		}
		if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{key}, strings.NewReader(plain), strings.NewReader(text), nil); err != nil {
			t.Errorf("%s.asc: %v", path, err)
		}
		if events := h.events.take(); len(events) > 0 {
			t.Errorf("%s: signatures left events: %v", path, events)
		}
	}
	for _, path := range []string{"/.sig", "/assets/empty.sig", "/v1/config.img.sig", "/m/" + hyphen + "/ipxe.sig"} {
		if r := h.get("GET", path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, r.StatusCode)
		}
	}
}

// TestGnuPGVerifies has GnuPG judge.
func TestGnuPGVerifies(t *testing.T) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal("this test needs GnuPG: apt-get install gnupg")
	}
	home := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(context.Background(), gpg, append([]string{"--homedir", home, "--batch", "--no-tty", "--pinentry-mode", "loopback"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("gpg %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() }) // the agent goes by itself, too, when its directory does
	run("--passphrase", "pw", "--quick-generate-key", "Boot <boot@example.com>", "rsa2048", "sign", "never")
	ring := filepath.Join(home, "secring.gpg")
	run("--passphrase", "pw", "--output", ring, "--export-secret-keys")

	h := newHarness(t, signing(t, ring, "pw"))
	for _, path := range signedPaths {
		content := filepath.Join(home, "content")
		if err := os.WriteFile(content, []byte(body(t, h.get("GET", path+"?mac="+hyphen))), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{".sig", ".asc"} {
			signature := filepath.Join(home, "signature"+suffix)
			if err := os.WriteFile(signature, []byte(body(t, h.get("GET", path+suffix+"?mac="+hyphen))), 0o600); err != nil {
				t.Fatal(err)
			}
			if out := run("--verify", signature, content); !strings.Contains(out, "Good signature") {
				t.Errorf("%s%s: %s", path, suffix, out)
			}
		}
	}
}

// TestSignatureOfFailure: what cannot be had has no signature, and says so as the plain path does.
func TestSignatureOfFailure(t *testing.T) {
	file, _ := newKey(t, "", false)
	h := newHarness(t, signing(t, file, ""))
	h.plan = func(boot.Ask) (*boot.Plan, error) { return nil, fault.New(fault.NotFound, "no group matches") }
	h.ignition = func(boot.Ask) (*render.Config, error) { return nil, errors.New("broken") }
	fetches := 0
	h.text = func(string, boot.Ask) ([]byte, error) {
		fetches++
		return bytes.Repeat([]byte("x"), fetches), nil
	}
	for path, want := range map[string]int{"/ipxe": 404, "/ignition": 503, "/generic": 404} {
		plain, signature := h.get("GET", path), h.get("GET", path+".sig")
		if signature.StatusCode != want || signature.Header.Get("Retry-After") != plain.Header.Get("Retry-After") {
			t.Errorf("%s.sig: %d, Retry-After %q", path, signature.StatusCode, signature.Header.Get("Retry-After"))
		}
		if text := body(t, signature); path != "/generic" && text != body(t, plain) {
			t.Errorf("%s.sig: %q", path, text)
		}
	}
	if r := newHarness(t).get("GET", "/ipxe.sig"); r.StatusCode != http.StatusNotFound {
		t.Errorf("without a key ring: %d", r.StatusCode)
	}
}

func TestOpenKeyRing(t *testing.T) {
	locked, key := newKey(t, "right", false)
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) string {
		file := filepath.Join(t.TempDir(), "ring")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	tests := []struct{ name, file, passphrase, want string }{
		{"wrong passphrase", locked, "wrong", "does not unlock"},
		{"no passphrase", locked, "", "no passphrase is given"},
		{"a public key", write(public.Bytes()), "", "public"},
		{"nothing", write(nil), "", "no key"},
		{"noise", write([]byte("hello")), "", "opening the key ring"},
		{"too big", write(make([]byte, 2<<20)), "", "more than"},
		{"not there", filepath.Join(t.TempDir(), "x"), "", "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := web.OpenKeyRing(tt.file, tt.passphrase)
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.passphrase != "" && strings.Contains(err.Error(), tt.passphrase) {
				t.Errorf("%v, want it to tell %q and no passphrase", err, tt.want)
			}
		})
	}
}
