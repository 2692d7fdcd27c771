package web_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/web"
	"github.com/matchd/matchd/profiles"
)

const (
	node   machine.MAC = "52:54:00:00:00:01"
	hyphen string      = "52-54-00-00-00-01"
)

// loaderDigest is the SHA-256 of "MZ", the network boot program of these tests.
const loaderDigest = "9b8db510ef42b8ed54a3712636fda55a4f8cfcd5493e20b74ab00cd4f3979f2d"

// brain is a planner and configurer of functions.
type brain struct {
	plan     func(boot.Ask) (*boot.Plan, error)
	ignition func(boot.Ask) (*render.Config, error)
	text     func(what string, ask boot.Ask) ([]byte, error)
	pointer  bool // ignition returns one
}

func (b *brain) BootScript(_ context.Context, ask boot.Ask, mac machine.MAC) ([]byte, error) {
	return b.text("script for "+string(mac), ask)
}
func (b *brain) Plan(_ context.Context, ask boot.Ask) (*boot.Plan, error) { return b.plan(ask) }
func (b *brain) Ignition(_ context.Context, ask boot.Ask) (*boot.Config, error) {
	config, err := b.ignition(ask)
	if err != nil {
		return nil, err
	}
	return &boot.Config{Config: config, Pointer: b.pointer}, nil
}
func (b *brain) ConfigImage(_ context.Context, ask boot.Ask) (*boot.ConfigImage, error) {
	config, err := b.Ignition(context.Background(), ask)
	if err != nil {
		return nil, err
	}
	return &boot.ConfigImage{Image: []byte("070701 " + string(config.JSON)), Digest: "i1", Config: config}, nil
}
func (b *brain) Generic(_ context.Context, ask boot.Ask) ([]byte, error) {
	return b.text("generic", ask)
}
func (b *brain) Cloud(_ context.Context, ask boot.Ask) ([]byte, error) { return b.text("cloud", ask) }
func (b *brain) Metadata(_ context.Context, ask boot.Ask) ([]byte, error) {
	return b.text("METADATA", ask)
}

func newBrain() *brain {
	return &brain{
		plan: func(ask boot.Ask) (*boot.Plan, error) {
			return &boot.Plan{
				Reason: "because", Kernel: "/assets/fcos/vmlinuz", Initrds: []boot.Initrd{{Name: "main", URL: "/assets/fcos/initrd.img"}}, BaseURL: ask.BaseURL,
				Group: &groups.Group{ID: "g"}, Profile: &profiles.Profile{ID: "p"}, Labels: ask.Labels,
			}, nil
		},
		ignition: func(boot.Ask) (*render.Config, error) {
			return &render.Config{JSON: []byte(`{"ignition":{"version":"3.4.0"}}`), Version: "3.4.0", Digest: "d1"}, nil
		},
		text: func(what string, ask boot.Ask) ([]byte, error) {
			return []byte(what + " " + ask.Labels["mac"] + " by " + ask.BaseURL + "\n"), nil
		},
	}
}

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
}

func (r *recorder) Record(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.DurationMS = 0
	r.events = append(r.events, e)
}

// take returns the events so far and forgets them.
func (r *recorder) take() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

type harness struct {
	*brain
	options web.Options
	events  *recorder
	dir     string // of assets
	handler http.Handler
}

func newHarness(t testing.TB, change ...func(*web.Options)) *harness {
	t.Helper()
	h := &harness{brain: newBrain(), events: &recorder{}, dir: t.TempDir()}
	for name, content := range map[string]string{"fcos/vmlinuz": "kernel", "fcos/initrd.img": "initrd", "web/index.html": "<p>index", "x.efi": "MZ", "a b/c&d": "odd", "empty": ""} {
		h.file(t, name, content)
	}
	tree, err := assets.OpenTree(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	loaders, err := assets.NewLoaders(assets.LoaderOptions{SystemDirs: []string{}, Embedded: fstest.MapFS{
		"x.efi":        {Data: []byte("MZ")},
		"loaders.json": {Data: []byte(`[{"file": "x.efi", "size": 2, "sha256": "` + loaderDigest + `"}]`)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	machines, roles := machine.NewRegistry(0), bootfile.NewRoles()
	h.options = web.Options{
		Planner: h.brain, Configurer: h.brain, Assets: tree, Machines: machines, Roles: roles, Recorder: h.events,
		Files:   &bootfile.Space{Loaders: loaders, Planner: h.brain, Assets: tree, Machines: machines, Roles: roles},
		Logger:  slog.New(slog.DiscardHandler),
		BaseURL: func(netip.AddrPort) string { return "http://10.0.0.254:8080" },
	}
	for _, f := range change {
		f(&h.options)
	}
	srv, err := web.New(h.options)
	if err != nil {
		t.Fatal(err)
	}
	h.handler = srv.Handler()
	return h
}

func (h *harness) file(t testing.TB, name, content string) {
	t.Helper()
	name = filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// get asks as a machine at 10.0.0.7; headers are pairs.
func (h *harness) get(method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "10.0.0.7:3333"
	r.Host = "evil.example"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
