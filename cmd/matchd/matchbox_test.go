package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchboxpb"
)

func TestMatchboxArgs(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"single dashes", "serve -matchbox -address :1 -rpc-address=:2 -log-level debug -web-ssl", "serve --matchbox --address :1 --rpc-address=:2 --log-level debug --web-ssl"},
		{"anywhere", "serve -address :1 --matchbox", "serve --address :1 --matchbox"},
		{"matchd's own flags, too", "serve --matchbox -tftp :69", "serve --matchbox --tftp :69"},
		{"what nobody knows", "serve --matchbox -nope -c x", "serve --matchbox -nope -c x"},
		{"not without", "serve -address :1", "serve -address :1"},
		{"not elsewhere", "render --matchbox -address :1", "render --matchbox -address :1"},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := matchboxArgs(strings.Fields(tt.in)); strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMatchboxLevel(t *testing.T) {
	for level, want := range map[string]string{"trace": "debug", "Warning": "warn", "fatal": "error", "panic": "error", "info": "info", "loud": "loud"} {
		if got := matchboxLevel(level); got != want {
			t.Errorf("%s: %s, want %s", level, got, want)
		}
	}
}

// dataDir is a data directory of matchbox with one machine.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"groups/default.json": `{"id":"default","profile":"p"}`,
		"profiles/p.json":     `{"id":"p","boot":{"kernel":"/assets/k","args":["a b"]},"generic_id":"g"}`,
		"generic/g":           "generic {{.request.raw_query}}\n",
		"assets/k":            "kernel",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// log is what a daemon writes.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// freeAddress returns a loopback address whose port was free.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// startMatchbox runs "matchd serve --matchbox" with arguments until the test ends, and returns when it has a site to serve.
func startMatchbox(t *testing.T, args ...string) *logged {
	t.Helper()
	log := &logged{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, slices.Concat([]string{"serve", "--matchbox", "--admin", ""}, args), io.Discard, log)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitOK {
			t.Errorf("exit code %d\n%s", code, log.text())
		}
	})
	deadline := time.After(30 * time.Second)
	for !strings.Contains(log.text(), "the site is served") {
		select {
		case code := <-done:
			done <- code
			t.Fatalf("exit code %d\n%s", code, log.text())
		case <-deadline:
			t.Fatalf("it does not serve\n%s", log.text())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return log
}

func fetch(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	response, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestMatchboxUnit runs what a unit file of matchbox says: everything by variables, one of them outranked by a flag.
func TestMatchboxUnit(t *testing.T) {
	data, address := dataDir(t), freeAddress(t)
	t.Setenv("MATCHBOX_ADDRESS", "203.0.113.1:1") // nobody can bind it
	t.Setenv("MATCHBOX_DATA_PATH", data)
	t.Setenv("MATCHBOX_ASSETS_PATH", filepath.Join(data, "assets"))
	t.Setenv("MATCHBOX_LOG_LEVEL", "trace")
	t.Setenv("MATCHBOX_RPC_ADDRESS", "") // an empty variable says nothing
	log := startMatchbox(t, "-address", address)
	golden := []struct {
		path, kind, body string
		status           int
	}{
		{"/", "text/plain; charset=utf-8", "matchbox\n", 200},
		{"/ipxe?x=1", "text/plain; charset=utf-8", "#!ipxe\nkernel /assets/k a b\nboot\n", 200},
		{"/generic?x=1", "text/plain; charset=utf-8", "generic x=1\n", 200},
		{"/metadata?x=1", "text/plain; charset=utf-8", "REQUEST_QUERY_X=1\nREQUEST_RAW_QUERY=x=1\n", 200},
		{"/assets/k", "text/plain; charset=utf-8", "kernel", 200},
		{"/ignition", "text/plain; charset=utf-8", "404 page not found\n", 404},
		{"/cloud", "text/plain; charset=utf-8", "404 page not found\n", 404},
		{"/nothing", "text/plain; charset=utf-8", "404 page not found\n", 404},
		{"/ipxe/", "text/plain; charset=utf-8", "404 page not found\n", 404},
		{"/ipxe.sig", "text/plain; charset=utf-8", "404 page not found\n", 404},
	}
	for _, want := range golden {
		response, body := fetch(t, http.DefaultClient, "http://"+address+want.path)
		if response.StatusCode != want.status || body != want.body || response.Header.Get("Content-Type") != want.kind {
			t.Errorf("%s: %d %s %q, want %d %s %q", want.path, response.StatusCode, response.Header.Get("Content-Type"), body, want.status, want.kind, want.body)
		}
	}
	if text := log.text(); !strings.Contains(text, `tftp=""`) || !strings.Contains(text, `rpc=""`) || !strings.Contains(text, "level=DEBUG") {
		t.Errorf("log:\n%s", text)
	}
	if _, err := os.Stat(filepath.Join(data, ".matchd", "config.db")); err != nil {
		t.Errorf("the state is elsewhere: %v", err)
	}
}

// TestMatchboxSecure switches on what needs keys: the API with certificates that name no role, HTTPS for machines, signatures.
func TestMatchboxSecure(t *testing.T) {
	data, address, api, keys := dataDir(t), freeAddress(t), freeAddress(t), t.TempDir()
	if _, err := pki.Init(keys, pki.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(keys, name) }
	signer, err := openpgp.NewEntity("Boot", "", "boot@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.EncryptPrivateKeys([]byte("secret"), nil); err != nil {
		t.Fatal(err)
	}
	var ring bytes.Buffer
	if err := signer.SerializePrivateWithoutSigning(&ring, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("ring.gpg"), ring.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MATCHBOX_PASSPHRASE", "secret")
	t.Setenv("MATCHBOX_WEB_SSL", "true")
	startMatchbox(t, "-address="+address, "-rpc-address="+api, "-data-path", data, "-assets-path=", "-log-level=debug",
		"-cert-file", in(pki.ServerCert), "-key-file", in(pki.ServerKey), "-ca-file", in(pki.CACert),
		"-web-cert-file", in(pki.ServerCert), "-web-key-file", in(pki.ServerKey), "-key-ring-path", in("ring.gpg"))

	roots := x509.NewCertPool()
	ca, err := os.ReadFile(in(pki.CACert))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	secure := &http.Client{Transport: transport}
	response, script := fetch(t, secure, "https://"+address+"/ipxe")
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Errorf("%s %d", response.Proto, response.StatusCode)
	}
	_, signature := fetch(t, secure, "https://"+address+"/ipxe.asc")
	if _, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList{signer}, strings.NewReader(script), strings.NewReader(signature), nil); err != nil {
		t.Error(err)
	}
	if response, _ := fetch(t, secure, "https://"+address+"/assets/k"); response.StatusCode != http.StatusNotFound {
		t.Errorf("assets are switched off: %d", response.StatusCode)
	}

	cert, key := plainCertificate(t, keys)
	c, err := client.DialMatchbox(client.Options{Endpoint: api, CA: in(pki.CACert), Cert: cert, Key: key, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Groups.GroupPut(t.Context(), &matchboxpb.GroupPutRequest{Group: &matchboxpb.Group{Id: "g", Profile: "p", Selector: map[string]string{"a": "b"}}}); err != nil {
		t.Errorf("a certificate without a role: %v", err)
	}
	if written, err := os.ReadFile(filepath.Join(data, "groups", "g.json")); err != nil || !strings.Contains(string(written), "\n\t\"selector\": {\n") {
		t.Errorf("%s, %v", written, err)
	}
}

// plainCertificate makes a client's certificate as one would with openssl for matchbox: it has a name, and no role.
func plainCertificate(t *testing.T, keys string) (certFile, keyFile string) {
	t.Helper()
	ca, err := pki.LoadCA(filepath.Join(keys, pki.CACert), filepath.Join(keys, pki.CAKey))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(keys, "plain.crt"), filepath.Join(keys, "plain.key")
	for name, content := range map[string][]byte{certFile: pki.EncodeCert(der), keyFile: keyPEM} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestMatchboxExits holds the exit codes, and that the reason is told.
func TestMatchboxExits(t *testing.T) {
	data := dataDir(t)
	assets := "-assets-path=" + filepath.Join(data, "assets")
	tests := []struct {
		name, args string
		code       int
		want       string
	}{
		{"version", "-version", exitOK, "unknown"},
		{"help", "-help", exitOK, "--matchbox"},
		{"no data directory", "-data-path /nowhere", exitProblem, "-data-path"},
		{"no assets directory", "-data-path " + data + " -assets-path /nowhere", exitProblem, "-assets-path"},
		{"no certificate", "-data-path " + data + " " + assets + " -rpc-address :0 -cert-file /nowhere", exitProblem, "-cert-file"},
		{"no certificate for machines", "-data-path " + data + " " + assets + " -web-ssl -web-cert-file /nowhere", exitProblem, "-web-cert-file"},
		{"no key ring", "-data-path " + data + " " + assets + " -address 127.0.0.1:0 -key-ring-path /nowhere", exitProblem, "key ring"},
		{"bad address", "-data-path " + data + " " + assets + " -address nowhere", exitProblem, "nowhere"},
		{"bad level", "-data-path " + data + " " + assets + " -log-level loud", exitProblem, "log_level"},
		{"unknown flag", "-nope", exitUsage, "-nope"},
		{"bad value", "-web-ssl=perhaps", exitUsage, "perhaps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			code := run(t.Context(), append([]string{"serve", "-matchbox", "-admin="}, strings.Fields(tt.args)...), &out, &out)
			if code != tt.code || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, want %d, with %q:\n%s", code, tt.code, tt.want, out.String())
			}
		})
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--data-path", data}, &out, &out); code != exitUsage || !strings.Contains(out.String(), "--matchbox") {
		t.Errorf("matchbox's flag without --matchbox: %d %s", code, out.String())
	}
}
