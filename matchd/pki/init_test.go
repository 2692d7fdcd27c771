package pki_test

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/pki"
)

func read(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(text)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestInitMakesWhatTheAPINeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "pki")
	names := pki.Names{DNS: []string{"localhost", "boot.example.com"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::1")}}
	steps, err := pki.Init(dir, names, time.Now())
	if err != nil || len(steps) != 3 {
		t.Fatalf("%+v, %v", steps, err)
	}
	ca := read(t, filepath.Join(dir, pki.CACert))
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	server := read(t, filepath.Join(dir, pki.ServerCert))
	for _, name := range []string{"localhost", "boot.example.com", "192.0.2.10", "2001:db8::1"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	admin := read(t, filepath.Join(dir, "admin.crt"))
	if _, err := admin.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if id, err := auth.FromCertificate(admin, ""); err != nil || id.Role != auth.Admin || id.Name != "admin" {
		t.Errorf("%+v, %v", id, err)
	}
	for _, name := range []string{pki.CAKey, pki.ServerKey, "admin.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestInitKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	content := func() string {
		var all strings.Builder
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(entry.Name() + "\n" + string(text))
		}
		return all.String()
	}
	before := content()
	more := loopback
	more.DNS = append(slices.Clone(more.DNS), "new.example.com")
	steps, err := pki.Init(dir, more, time.Now())
	if err != nil || content() != before {
		t.Fatalf("something was changed: %v", err)
	}
	for _, step := range steps {
		if step.Made {
			t.Errorf("%v claims to be made", step.Files)
		}
	}
	if !strings.Contains(steps[1].Note, `lacks ["new.example.com"]: "matchd pki server --name new.example.com" makes`) {
		t.Errorf("got %q", steps[1].Note)
	}
	steps, err = pki.Init(dir, loopback, time.Now().Add(pki.ServerLifetime-10*24*time.Hour))
	if err != nil || !strings.Contains(steps[1].Note, "ends soon") || !strings.Contains(steps[2].Note, "expired") {
		t.Errorf("two years later: %+v, %v", steps, err)
	}

	// What a crash between the files leaves is mended.
	for _, name := range []string{pki.ServerCert, "admin.crt"} {
		remove(t, filepath.Join(dir, name))
	}
	steps, err = pki.Init(dir, loopback, time.Now())
	if err != nil || !steps[1].Made || !steps[2].Made || steps[0].Made {
		t.Errorf("%+v, %v", steps, err)
	}
}

func TestInitRefusesWhatDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		want   string
		kind   fault.Kind
	}{
		"no authority's key":   {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, pki.CAKey)) }, "put it back", fault.Invalid},
		"no server's key":      {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, pki.ServerKey)) }, "server.crt is there and its key is not", fault.Conflict},
		"a broken certificate": {func(t *testing.T, dir string) { replace(t, filepath.Join(dir, pki.ServerCert), []byte("x")) }, "server.crt", fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := pki.Init(dir, loopback, time.Now()); err != nil {
				t.Fatal(err)
			}
			test.change(t, dir)
			if _, err := pki.Init(dir, loopback, time.Now()); !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	// Certificates of another authority are told of.
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if _, err := pki.Init(d, loopback, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{pki.ServerCert, pki.ServerKey, "admin.crt", "admin.key"} {
		move(t, filepath.Join(other, name), filepath.Join(dir, name))
	}
	steps, err := pki.Init(dir, loopback, time.Now())
	if err != nil || !strings.Contains(steps[1].Note, "not signed by this authority") || !strings.Contains(steps[2].Note, "not signed by this authority") {
		t.Errorf("%+v, %v", steps, err)
	}
}

func TestRenewServerKeepsNames(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.RenewServer(dir, loopback, time.Now()); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "matchd pki init") {
		t.Errorf("without an authority: %v", err)
	}
	first := loopback
	first.DNS = append(slices.Clone(first.DNS), "boot.example.com")
	if _, err := pki.Init(dir, first, time.Now()); err != nil {
		t.Fatal(err)
	}
	cert, err := pki.RenewServer(dir, pki.Names{DNS: []string{"new.example.com"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"boot.example.com", "new.example.com", "localhost", "127.0.0.1"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestClients(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	id := auth.Identity{Name: "fra", Role: auth.Operator, Scope: map[string]string{"site": "fra", "rack": "7"}}
	out := filepath.Join(t.TempDir(), "out")
	files, err := pki.NewClient(dir, out, id, 24*time.Hour, time.Now())
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	cert := read(t, files[0])
	got, err := auth.FromCertificate(cert, "")
	if err != nil || got.Name != "fra" || got.Role != auth.Operator || got.Scope["rack"] != "7" || len(got.Scope) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if left := time.Until(cert.NotAfter); left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("good for %v", left)
	}
	if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || cert.IsCA {
		t.Errorf("usage %v", cert.ExtKeyUsage)
	}
	if _, err := pki.NewClient(dir, out, id, time.Hour, time.Now()); !fault.Is(err, fault.Conflict) {
		t.Errorf("once more: %v", err)
	}
	if files, err := pki.NewClient(dir, out, auth.Identity{Name: "jo", Role: auth.Viewer}, time.Hour, time.Now()); err != nil || len(files) != 2 {
		t.Errorf("beside it: %v, %v", files, err)
	}
	other := t.TempDir()
	if _, err := pki.Init(other, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.NewClient(other, out, auth.Identity{Name: "al", Role: auth.Viewer}, time.Hour, time.Now()); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "another authority's") {
		t.Errorf("of another authority: %v", err)
	}
}

func TestClientsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	viewer := auth.Identity{Name: "jo", Role: auth.Viewer}
	for name, test := range map[string]struct {
		change   func(*auth.Identity)
		lifetime time.Duration
	}{
		"no name":               {func(i *auth.Identity) { i.Name = "" }, time.Hour},
		"a path":                {func(i *auth.Identity) { i.Name = "../jo" }, time.Hour},
		"the authority's files": {func(i *auth.Identity) { i.Name = "ca" }, time.Hour},
		"a flag":                {func(i *auth.Identity) { i.Name = "-jo" }, time.Hour},
		"no role":               {func(i *auth.Identity) { i.Role = "" }, time.Hour},
		"an admin with a scope": {func(i *auth.Identity) { i.Role, i.Scope = auth.Admin, map[string]string{"a": "b"} }, time.Hour},
		"a scope of no label":   {func(i *auth.Identity) { i.Scope = map[string]string{"a": "b\n"} }, time.Hour},
		"for ever":              {func(*auth.Identity) {}, 100 * 365 * 24 * time.Hour},
		"for no time":           {func(*auth.Identity) {}, 0},
	} {
		id := viewer
		test.change(&id)
		if _, err := pki.NewClient(dir, t.TempDir(), id, test.lifetime, time.Now()); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	names, err := pki.HostNames()
	if err != nil || !slices.Contains(names.DNS, "localhost") || !slices.Contains(names.IPs, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("%+v, %v", names, err)
	}
	for _, ip := range names.IPs {
		if ip.IsLinkLocalUnicast() || ip.Is4In6() {
			t.Errorf("%v is among the names", ip)
		}
	}
	for name, want := range map[string]bool{
		"boot": true, "boot.example.com": true, "*.example.com": true, "a-b.c": true, "under_score": true, "10.example": true,
		"": false, ".": false, "a..b": false, "-a": false, "a-": false, "a-.b": false, "a b": false, "*": false, "a.*": false, "ä.example": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "ab": false,
	} {
		if got := pki.ValidDNS(name); got != want {
			t.Errorf("ValidDNS(%q) = %v", name, got)
		}
	}
	var n pki.Names
	for _, name := range []string{"192.0.2.1", "192.0.2.1", "boot", "boot"} {
		if err := n.Add(name); err != nil {
			t.Error(err)
		}
	}
	if len(n.DNS) != 1 || len(n.IPs) != 1 || n.Add("a b") == nil {
		t.Errorf("%+v", n)
	}
}
