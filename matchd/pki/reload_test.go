package pki_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
)

var loopback = pki.Names{DNS: []string{"localhost"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}

// reloading is a reloader of files that pki.Init made, with a clock that only moves when it is told to.
type reloading struct {
	*pki.Reloader
	dir   string
	files pki.Files
	now   time.Time
	log   bytes.Buffer
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{dir: t.TempDir(), now: time.Now()}
	if _, err := pki.Init(r.dir, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	r.files = pki.Files{Cert: filepath.Join(r.dir, pki.ServerCert), Key: filepath.Join(r.dir, pki.ServerKey), CA: filepath.Join(r.dir, pki.CACert)}
	var err error
	r.Reloader, err = pki.NewReloader(r.files, slog.New(slog.NewTextHandler(&r.log, nil)), func() time.Time { return r.now })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// after looks again after a time.
func (r *reloading) after(d time.Duration) *pki.Keys {
	r.now = r.now.Add(d)
	return r.Keys()
}

func TestReloadTakesUpARenewal(t *testing.T) {
	r := newReloading(t)
	first := r.Keys()
	renewed, err := pki.RenewServer(r.dir, loopback, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.after(time.Second/2) != first {
		t.Error("the files were looked at again within a second")
	}
	second := r.after(time.Second)
	if !second.Certificate.Leaf.Equal(renewed) || second.Generation != first.Generation+1 {
		t.Error("the new certificate is not in use")
	}
	if r.after(time.Hour) != second {
		t.Error("files that did not change were read again")
	}
	if cert, err := r.GetCertificate(nil); err != nil || cert != second.Certificate {
		t.Error("GetCertificate gives another one")
	}
	if !strings.Contains(r.log.String(), "have changed and are in use") || r.Broken() != nil {
		t.Errorf("the log: %s, %v", r.log.String(), r.Broken())
	}
}

func TestReloadKeepsTheLastGoodOne(t *testing.T) {
	for name, breakIt := range map[string]func(t *testing.T, f pki.Files){
		"no certificate":       func(t *testing.T, f pki.Files) { replace(t, f.Cert, []byte("nothing")) },
		"no key":               func(t *testing.T, f pki.Files) { replace(t, f.Key, nil) },
		"an empty CA":          func(t *testing.T, f pki.Files) { replace(t, f.CA, nil) },
		"the certificate gone": func(t *testing.T, f pki.Files) { remove(t, f.Cert) },
		"the CA gone":          func(t *testing.T, f pki.Files) { remove(t, f.CA) },
		"another key": func(t *testing.T, f pki.Files) {
			key, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			text, err := pki.EncodeKey(key)
			if err != nil {
				t.Fatal(err)
			}
			replace(t, f.Key, text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReloading(t)
			first := r.Keys()
			breakIt(t, r.files)
			for range 10 {
				if r.after(2*time.Second) != first {
					t.Fatal("a broken file was taken up")
				}
			}
			if told := strings.Count(r.log.String(), "cannot be used"); told != 1 || r.Broken() == nil {
				t.Errorf("told %d times, %v:\n%s", told, r.Broken(), r.log.String())
			}
			if _, err := pki.RenewServer(r.dir, loopback, time.Now()); err == nil { // with the CA gone it cannot
				if name == "an empty CA" {
					t.Error("renewed without an authority")
				}
				if keys := r.after(2 * time.Second); keys == first || r.Broken() != nil {
					t.Errorf("mended files were not taken up: %v", r.Broken())
				}
			}
		})
	}
}

// TestReloadWaitsForBothFiles replaces them one after the other, slowly: nobody is told of what is between.
func TestReloadWaitsForBothFiles(t *testing.T) {
	r := newReloading(t)
	other := t.TempDir()
	if _, err := pki.Init(other, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	move(t, filepath.Join(other, pki.ServerKey), r.files.Key)
	first := r.after(time.Second)
	if r.after(time.Second) != first {
		t.Error("half a renewal was taken up")
	}
	move(t, filepath.Join(other, pki.ServerCert), r.files.Cert)
	if r.after(time.Second) == first {
		t.Error("the renewal was not taken up")
	}
	if strings.Contains(r.log.String(), "cannot be used") {
		t.Errorf("the log tells of half a renewal: %s", r.log.String())
	}
}

func TestReloaderErrors(t *testing.T) {
	r := newReloading(t)
	if _, err := pki.NewReloader(pki.Files{Cert: "none", Key: r.files.Key}, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := pki.NewReloader(pki.Files{Cert: r.files.Key, Key: r.files.Key}, nil, nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), r.files.Key) {
		t.Errorf("a key for a certificate: %v", err)
	}
	if _, err := pki.NewReloader(pki.Files{Cert: r.files.Cert, Key: r.files.Key, CA: r.files.Key}, nil, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key for an authority: %v", err)
	}
	plain, err := pki.NewReloader(pki.Files{Cert: r.files.Cert, Key: r.files.Key}, nil, nil)
	if err != nil || plain.Keys().ClientCAs != nil || len(plain.Expiries("x")) != 1 {
		t.Errorf("without an authority: %v", err)
	}
	if err := os.Chmod(r.files.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := pki.NewReloader(r.files, slog.New(slog.NewTextHandler(&log, nil)), nil); err != nil || !strings.Contains(log.String(), "can be read by every user") {
		t.Errorf("a key that all can read: %v, %s", err, log.String())
	}
}

func TestFilesExist(t *testing.T) {
	r := newReloading(t)
	if all, none, err := r.files.Exist(); !all || none || err != nil {
		t.Errorf("all: %v %v %v", all, none, err)
	}
	remove(t, r.files.Key)
	if all, none, err := r.files.Exist(); all || none || err != nil {
		t.Errorf("some: %v %v %v", all, none, err)
	}
	if all, none, err := (pki.Files{Cert: "no/a", Key: "no/b"}).Exist(); all || !none || err != nil {
		t.Errorf("none: %v %v %v", all, none, err)
	}
}

func TestReloadIsSafeForConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, loopback, time.Now()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	now := time.Now()
	r, err := pki.NewReloader(pki.Files{Cert: filepath.Join(dir, pki.ServerCert), Key: filepath.Join(dir, pki.ServerKey)}, slog.New(slog.DiscardHandler), func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	})
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 500 {
				if keys := r.Keys(); keys.Certificate.Leaf == nil {
					t.Error("keys without a certificate")
				}
			}
		})
	}
	for range 20 {
		if _, err := pki.RenewServer(dir, loopback, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	readers.Wait()
}

func TestExpiries(t *testing.T) {
	r := newReloading(t)
	expiries := r.Expiries("rpc")
	if len(expiries) != 2 || expiries[0].Name != "rpc-server" || expiries[1].Name != "rpc-ca" || !expiries[0].End.Before(expiries[1].End) {
		t.Fatalf("got %+v", expiries)
	}
	end := expiries[0].End
	for before, want := range map[time.Duration]string{31 * 24 * time.Hour: "", 10*24*time.Hour + time.Minute: "expires in 10 days", time.Hour: "expires in 0 days", -time.Second: "expired on"} {
		if got := expiries[0].Warning(end.Add(-before)); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%v before the end: %q, want %q", before, got, want)
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Collector("rpc"), r.Collector("machine"))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 4 {
		t.Errorf("metrics: %v, %v", families, err)
	}
	for _, metric := range families[0].GetMetric() {
		if labels := metric.GetLabel(); labels[0].GetValue() == "rpc-server" && metric.GetGauge().GetValue() != float64(end.Unix()) {
			t.Errorf("got %v, want %d", metric, end.Unix())
		}
	}
}

func replace(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := keyfile.Write(name, content, keyfile.Secret); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
