package matchd_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/matchd/pki"
)

const pointedMAC = "52:54:00:00:00:01"

func pointedSite() map[string]string {
	return map[string]string{
		"groups/live.yaml":      "profile: live\nselector: {mac: '" + pointedMAC + "'}\nmetadata: {secret: hunter2}\n",
		"groups/installed.yaml": "profile: live\nselector: {mac: '" + pointedMAC + "', os: installed}\nmetadata: {secret: correct horse}\n",
		"profiles/live.yaml":    "boot: {kernel: /assets/vmlinuz, args: [quiet]}\nconfig: pointer\nignition_id: live.bu\n",
		"ignition/live.bu":      "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/secret, mode: 0600, contents: {inline: '{{.secret}}'}}]}\n",
		"assets/vmlinuz":        "kernel",
	}
}

// pointed is a pointer config as a machine reads it.
type pointed struct{ source, token, ca string }

func readPointer(t *testing.T, text string) pointed {
	t.Helper()
	var config struct {
		Ignition struct {
			Version string
			Config  struct {
				Replace struct {
					Source      string
					HTTPHeaders []struct{ Name, Value string } `json:"httpHeaders"`
				}
			}
			Security struct {
				TLS struct {
					CertificateAuthorities []struct{ Source string } `json:"certificateAuthorities"`
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	replace, authorities := config.Ignition.Config.Replace, config.Ignition.Security.TLS.CertificateAuthorities
	if config.Ignition.Version != "3.1.0" || len(replace.HTTPHeaders) != 1 || replace.HTTPHeaders[0].Name != "Authorization" || len(authorities) > 1 {
		t.Fatalf("no pointer: %s", text)
	}
	p := pointed{source: replace.Source, token: replace.HTTPHeaders[0].Value}
	for _, authority := range authorities {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(authority.Source, "data:;base64,"))
		if err != nil {
			t.Fatal(err)
		}
		p.ca = string(decoded)
	}
	return p
}

// fetch asks as Ignition would, but follows no redirect.
func (p pointed) fetch(t *testing.T) (*http.Response, string, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.ca))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") }}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.source, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", p.token)
	request.Header.Set("Accept", "application/vnd.coreos.ignition+json;version=3.4.0, */*;q=0.1")
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body), nil
}

func TestPointerIsFollowed(t *testing.T) {
	var log strings.Builder
	d := matchdtest.Start(t, matchdtest.Options{Files: pointedSite(), Log: &log})
	status, text := d.Get(t, "/ignition?mac=52-54-00-00-00-01&os=installed")
	if status != http.StatusOK || strings.Contains(text, "horse") {
		t.Fatalf("plain HTTP gives %d %s", status, text)
	}
	p := readPointer(t, text)
	response, config, err := p.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(config, "correct%20horse") || response.ContentLength != int64(len(config)) {
		t.Errorf("HTTPS gives %d %s", response.StatusCode, config)
	}
	if got := response.Header.Get("Content-Type"); got != "application/vnd.coreos.ignition+json" {
		t.Errorf("Content-Type %q", got)
	}
	if e := d.Await(t, pointedMAC, event.PointerSent); strings.Contains(e.Message, "initrd") {
		t.Errorf("%+v", e)
	}
	if e := d.Await(t, pointedMAC, event.ConfigSent); !strings.Contains(e.Message, "by HTTPS") || e.Peer != "127.0.0.1" {
		t.Errorf("%+v", e)
	}

	// The same pointer comes in the initrd, under both names, for the group that goes by the address alone.
	for _, path := range []string{"/v1/config.img?mac=52-54-00-00-00-01", "/m/52-54-00-00-00-01/config.img"} {
		status, image := d.Get(t, path)
		_, inside, _ := strings.Cut(image, `{"ignition"`)
		inside, _, _ = strings.Cut(inside, "\x00")
		if status != http.StatusOK || inside == "" {
			t.Fatalf("%s is %d %q", path, status, image)
		}
		if _, config, err := readPointer(t, `{"ignition"`+inside).fetch(t); err != nil || !strings.Contains(config, "hunter2") {
			t.Errorf("%s leads to %s, %v", path, config, err)
		}
	}
	if _, again := d.Get(t, "/ignition?mac=52-54-00-00-00-01&os=installed"); again != text {
		t.Log("the hour has changed") // the one time when a pointer may
	}
	refusals(t, d, p)

	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimPrefix(p.token, "Bearer ")
	if strings.Contains(log.String(), secret[strings.LastIndexByte(secret, '.'):]) {
		t.Errorf("the log has a token:\n%s", log.String())
	}
	timeline, _ := d.Server.Timeline(pointedMAC)
	if text, _ := json.Marshal(timeline); strings.Contains(string(text), secret[strings.LastIndexByte(secret, '.'):]) {
		t.Errorf("the timeline has a token: %s", text)
	}
}

// refusals asks for the config in ways that are not the pointer's.
func refusals(t *testing.T, d *matchdtest.Daemon, p pointed) {
	t.Helper()
	stranger, err := pki.NewCA("somebody else", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wrong := p
	wrong.ca = string(stranger.CertPEM())
	if _, _, err := wrong.fetch(t); err == nil {
		t.Error("a machine with another CA believed it")
	}
	wrong = p
	wrong.token = p.token[:len(p.token)-1] + "!"
	if response, body, err := wrong.fetch(t); err != nil || response.StatusCode != http.StatusForbidden || body == "" {
		t.Errorf("a tampered ticket: %v, %q, %v", response, body, err)
	}
	wrong = p
	wrong.source = strings.Replace(p.source, "/v1/ignition", "/ignition?mac=52-54-00-00-00-01", 1)
	if response, _, err := wrong.fetch(t); err != nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("the plain path by HTTPS: %v, %v", response, err)
	}
	if status, _ := d.Get(t, "/v1/ignition"); status != http.StatusNotFound {
		t.Errorf("the ticket's path by plain HTTP is %d", status)
	}
}

// TestPointersOutliveARestart: authority and secret are kept, and for their owner alone.
func TestPointersOutliveARestart(t *testing.T) {
	state, address := t.TempDir(), ""
	start := func() *matchdtest.Daemon {
		return matchdtest.Start(t, matchdtest.Options{Files: pointedSite(), Config: func(c *matchd.Config) {
			c.StateDir = state
			if address != "" {
				c.MachineHTTPS = address
			}
		}})
	}
	first := start()
	_, text := first.Get(t, "/ignition?mac=52-54-00-00-00-01")
	address = first.Server.Addrs().MachineHTTPS.String()
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{matchd.SecretsKey, matchd.MachineCAKey} {
		if info, err := os.Stat(filepath.Join(state, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	start()
	if _, config, err := readPointer(t, text).fetch(t); err != nil || !strings.Contains(config, "hunter2") {
		t.Errorf("after a restart: %s, %v", config, err)
	}
}

func TestOperatorsCertificate(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.NewCA("the operator's", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueServer(pki.Names{DNS: []string{"localhost"}}, 24*time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		name = filepath.Join(dir, name)
		if err := keyfile.Write(name, content, keyfile.Secret); err != nil {
			t.Fatal(err)
		}
		return name
	}
	d := matchdtest.Start(t, matchdtest.Options{Files: pointedSite(), Config: func(c *matchd.Config) {
		c.Advertise = "localhost"
		c.MachineTLSCert, c.MachineTLSCA = write("tls.crt", pki.EncodeCert(cert.Certificate[0])), write("ca.crt", ca.CertPEM())
		c.MachineTLSKey = write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	}})
	_, text := d.Get(t, "/ignition?mac=52-54-00-00-00-01")
	p := readPointer(t, text)
	if p.ca != string(ca.CertPEM()) || !strings.HasPrefix(p.source, "https://localhost:") {
		t.Errorf("the pointer is %+v", p)
	}
	if _, config, err := p.fetch(t); err != nil || !strings.Contains(config, "hunter2") {
		t.Errorf("%s, %v", config, err)
	}
	if _, health := d.GetAdmin(t, "/v1/health"); !strings.Contains(health, "machine_https.expiry") || strings.Contains(health, "machine_https.name") {
		t.Errorf("a certificate that ends tomorrow, for the right host: %s", health)
	}
}

// TestCertificateOfAnotherHost: it is told by the daemon and by the doctor, and once.
func TestCertificateOfAnotherHost(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.NewCA("the operator's", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueServer(pki.Names{DNS: []string{"old.example"}}, 365*24*time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.EncodeKey(cert.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	cfg := loopback(t)
	cfg.MachineHTTPS, cfg.Advertise = "127.0.0.1:0", "localhost"
	cfg.MachineTLSCert, cfg.MachineTLSKey = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, content := range map[string][]byte{cfg.MachineTLSCert: pki.EncodeCert(cert.Certificate[0]), cfg.MachineTLSKey: key} {
		if err := keyfile.Write(name, content, keyfile.Secret); err != nil {
			t.Fatal(err)
		}
	}
	const want = "is for old.example, machines are told localhost"
	d := matchdtest.Start(t, matchdtest.Options{Files: pointedSite(), Config: func(c *matchd.Config) {
		c.Advertise, c.MachineTLSCert, c.MachineTLSKey = cfg.Advertise, cfg.MachineTLSCert, cfg.MachineTLSKey
	}})
	if _, health := d.GetAdmin(t, "/v1/health"); strings.Count(health, want) != 1 {
		t.Errorf("health does not tell it once: %s", health)
	}
	told := func() (list []string) {
		for _, finding := range matchd.Examine(t.Context(), cfg, time.Time{}) {
			if finding.ID == doctor.NameID {
				list = append(list, finding.What)
			}
		}
		return list
	}
	if list := told(); len(list) != 1 || !strings.Contains(list[0], want) {
		t.Errorf("the doctor tells %q", list)
	}
	if err := os.Remove(cfg.MachineTLSKey); err != nil {
		t.Fatal(err)
	}
	if list := told(); len(list) != 1 || !strings.Contains(list[0], "tls.key") {
		t.Errorf("without the key the doctor tells %q", list)
	}
}

func TestPointerWithoutHTTPS(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{Files: pointedSite(), Config: func(c *matchd.Config) { c.MachineHTTPS = "" }})
	for _, path := range []string{"/ignition", "/v1/config.img", "/ipxe"} {
		if status, body := d.Get(t, path+"?mac=52-54-00-00-00-01"); status != http.StatusServiceUnavailable || body == "" {
			t.Errorf("%s is %d %q, want 503", path, status, body)
		}
	}
	if e := d.Await(t, pointedMAC, event.Error); !strings.Contains(e.Error, "set machine_https") {
		t.Errorf("%+v", e)
	}
	if _, health := d.GetAdmin(t, "/v1/health"); strings.Count(health, `"site.pointer"`) != 1 {
		t.Errorf("health does not tell it once: %s", health)
	}
	for _, finding := range matchd.Examine(t.Context(), examined(t, d.Site), time.Time{}) {
		if finding.ID == "site.pointer" {
			return
		}
	}
	t.Error("the doctor does not tell it")
}

// examined is a configuration without HTTPS, for the doctor.
func examined(t *testing.T, site string) matchd.Config {
	cfg := loopback(t)
	cfg.Site, cfg.MachineHTTPS = site, ""
	return cfg
}
