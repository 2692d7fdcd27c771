// Package matchdtest runs a whole daemon on loopback and boots pretend machines from it, for tests.
//
// The daemon is the real one: its stores, catalog, planner, TFTP and HTTP, on ports that were free. Only DHCP's sockets are replaced by
// calls, because its ports are fixed and its packets broadcast; the handler behind them is the daemon's.
package matchdtest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/firmware"
)

// startTimeout bounds the wait for a daemon to be ready.
const startTimeout = 30 * time.Second

// Options of a daemon. The zero value is an empty site without an own pool of addresses.
type Options struct {
	// Files is the content of the site directory, by path, such as "groups/all.yaml".
	Files map[string]string
	// Dir is used as the site directory instead, and may be changed by the test.
	Dir string
	// Config changes the configuration before the daemon starts.
	Config func(*matchd.Config)
	// Unready returns without waiting for the daemon to be ready, for a site with problems.
	Unready bool
	// API serves the gRPC API too, with certificates of its own: see [Daemon.ClientTLS].
	API bool
	// Log gets the daemon's log; nil discards it.
	Log io.Writer
}

// Daemon is a running daemon. It stops with its test.
type Daemon struct {
	Site   string // the site directory
	Boot   string // base URL of the machines' HTTP
	Admin  string // base URL of the admin listener
	TFTP   netip.AddrPort
	RPC    string // host and port of the gRPC API; empty without [Options.API]
	PKI    string // directory with the API's certificates, as "matchd pki init" makes it
	Server *matchd.Server

	stop func() error
}

// Start runs a daemon until the test ends, and returns when it is ready to serve.
func Start(t testing.TB, options Options) *Daemon {
	t.Helper()
	d := &Daemon{Site: options.Dir}
	if d.Site == "" {
		d.Site = t.TempDir()
		WriteFiles(t, d.Site, options.Files)
	}
	cfg := matchd.DefaultConfig()
	cfg.Site, cfg.StateDir = d.Site, t.TempDir()
	cfg.BootHTTP, cfg.Admin, cfg.TFTP, cfg.MachineHTTPS = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.DHCP.Interfaces = []matchd.InterfaceConfig{{Name: "lo", Mode: matchd.ModeOff}}
	cfg.DHCP.ConflictProbe = false
	cfg.RPC = ""
	if options.API {
		d.makePKI(t, &cfg)
	}
	if options.Config != nil {
		options.Config(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	d.run(t, cfg, options.Log)
	if !options.Unready {
		d.awaitReady(t)
	}
	return d
}

func (d *Daemon) run(t testing.TB, cfg matchd.Config, log io.Writer) {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	ctx, cancel := context.WithCancel(context.Background())
	server, err := matchd.New(ctx, cfg, matchd.Options{Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "test"})
	if err != nil {
		cancel()
		t.Fatalf("making the daemon: %v", err)
	}
	var running sync.WaitGroup
	var result error
	running.Go(func() { result = server.Run(ctx) })
	d.stop = sync.OnceValue(func() error {
		cancel()
		running.Wait()
		return result
	})
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("running the daemon: %v", err)
		}
	})
	addrs := server.Addrs()
	d.Server, d.TFTP = server, addrs.TFTP
	if addrs.RPC.IsValid() {
		d.RPC = addrs.RPC.String()
	}
	d.Boot, d.Admin = "http://"+addrs.BootHTTP.String(), "http://"+addrs.Admin.String()
}

// awaitReady asks until the daemon serves its site or says what is wrong with it.
func (d *Daemon) awaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for last := ""; ; {
		status, body := d.get(ctx, d.Admin+"/readyz")
		if status == http.StatusOK {
			return
		}
		last = body
		if strings.Contains(body, "problems") {
			t.Fatalf("the site is refused: %s", body)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the daemon is not ready: %s", last)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (d *Daemon) get(ctx context.Context, url string) (int, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// Get fetches a path of the machines' HTTP, such as "/ipxe?mac=…".
func (d *Daemon) Get(t testing.TB, path string) (status int, body string) {
	t.Helper()
	return d.get(t.Context(), d.Boot+path)
}

// GetAdmin fetches a path of the admin listener.
func (d *Daemon) GetAdmin(t testing.TB, path string) (status int, body string) {
	t.Helper()
	return d.get(t.Context(), d.Admin+path)
}

// Stop ends the daemon before its test ends, and returns what it died of.
func (d *Daemon) Stop() error { return d.stop() }

// Await waits until the timeline of a machine holds a stage, and returns that event. It fails the test after a generous time.
func (d *Daemon) Await(t testing.TB, name string, stage event.Stage) event.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		timeline, _ := d.Server.Timeline(name)
		for _, e := range timeline.Events {
			if e.Stage == stage {
				return e
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("machine %s has no event %q, its timeline is %+v", name, stage, timeline.Events)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Boots plays the boot of a machine against the daemon, whose link is in the given mode.
func (d *Daemon) Boots(t testing.TB, m firmware.Machine, mode dhcp.Mode) firmware.Trace {
	t.Helper()
	handler, err := d.Server.DHCPHandler()
	if err != nil {
		t.Fatal(err)
	}
	link := &dhcp.Link{Name: "test0", Index: 1, MTU: 1500, Mode: mode, Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	return firmware.Boot(t.Context(), m, firmware.Wires{
		DHCP: &wire{handler: handler, link: link, foreign: mode == dhcp.Proxy}, TFTP: tftpWire{d.TFTP}, HTTP: http.DefaultTransport,
	})
}

// WriteFiles writes files below a directory; their directories are made.
func WriteFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
