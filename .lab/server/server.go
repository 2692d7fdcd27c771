// Package server runs the matchd under test inside a namespace, with a site directory
// and a configuration that the test wrote, and follows its events.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
)

// adminURL is matchd's admin listener, on the loopback of its namespace.
const adminURL = "http://127.0.0.1:8082"

// startBound is how long matchd may take until it says that it is ready.
const startBound = 60 * time.Second

// Options say what matchd is started with.
type Options struct {
	// Dir keeps state, site and log. Starting again with the same Dir finds the old state.
	Dir string
	// Site maps paths in the site directory to contents; nil leaves what is there.
	Site map[string]string
	// Config is YAML that is added to the configuration: dhcp, loaders, machines, …
	Config string
}

// Server is a running matchd.
type Server struct {
	*process.Process
	opts   Options
	ns     *netns.Namespace
	client *http.Client

	mu      sync.Mutex
	events  []Event
	changed chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// Binary returns the matchd under test: $MATCHD, or the checkout's bin/matchd.
func Binary() (string, error) {
	path := os.Getenv("MATCHD")
	if path == "" {
		path = filepath.Join(cache.Root(), "bin", "matchd")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no matchd to test (%w): run make build", err)
	}
	return path, nil
}

// Start writes site and configuration, starts matchd and waits until it is ready.
func Start(ctx context.Context, ns *netns.Namespace, opts Options) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	if err := write(opts); err != nil {
		return nil, err
	}
	p, err := process.Start(ns, process.Options{Name: "matchd", LogFile: filepath.Join(opts.Dir, "matchd.log")},
		binary, "serve", "--config", filepath.Join(opts.Dir, "matchd.yaml"))
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, opts: opts, ns: ns, client: ns.Client(), changed: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("starting matchd: %w\n%s", err, p.Tail(40, "  "))
	}
	follow, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.follow(follow)
	return s, nil
}

// write lays out the site and the configuration.
func write(opts Options) error {
	for name, content := range opts.Site {
		if err := WriteFile(filepath.Join(opts.Dir, "site", name), content); err != nil {
			return err
		}
	}
	config := fmt.Sprintf("site: %s\nstate_dir: %s\nassets_dir: %s\nlog_level: debug\n%s",
		filepath.Join(opts.Dir, "site"), filepath.Join(opts.Dir, "state"), cache.Path("assets"), opts.Config)
	return WriteFile(filepath.Join(opts.Dir, "matchd.yaml"), config)
}

// WriteFile replaces a file by rename, as an editor or git does, and makes its folders.
func WriteFile(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// ready asks until matchd says that it serves. There is nothing to subscribe to before
// the listener exists, so this is the one place that asks again and again.
func (s *Server) ready(ctx context.Context) error {
	reason := errors.New("no answer yet")
	for {
		select {
		case <-s.Process.Done():
			return fmt.Errorf("it ended: %v", s.Process.Err())
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", reason)
		case <-time.After(50 * time.Millisecond):
		}
		body, err := s.Get(ctx, "/readyz")
		if err == nil {
			return nil
		}
		reason = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(body)))
	}
}

// Get reads a path of the admin listener; an answer other than 200 is an error.
func (s *Server) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, adminURL+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, response.Status)
	}
	return body, err
}

// Timeline returns a machine's timeline as matchd tells it.
func (s *Server) Timeline(ctx context.Context, machine string) (*Timeline, error) {
	body, err := s.Get(ctx, "/v1/machines/"+machine+"/timeline")
	if err != nil {
		return nil, err
	}
	var t Timeline
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, fmt.Errorf("reading the timeline of %s: %w", machine, err)
	}
	return &t, nil
}

// CheckStores lets `matchd store check` examine what a matchd that is not running left.
func CheckStores(ns *netns.Namespace, opts Options) error {
	binary, err := Binary()
	if err != nil {
		return err
	}
	return ns.Run(binary, "store", "check", "--config", filepath.Join(opts.Dir, "matchd.yaml"))
}

// Stop ends matchd as a service manager does and returns how it ended.
func (s *Server) Stop() error {
	err := s.Process.Stop()
	s.unfollow()
	return err
}

// Kill ends matchd as a power cut does.
func (s *Server) Kill() {
	s.Process.Kill()
	s.unfollow()
}

func (s *Server) unfollow() {
	s.stop()
	<-s.done
	s.client.CloseIdleConnections()
}

// Events returns what matchd recorded since its start, in order.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}
