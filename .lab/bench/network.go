package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
)

// startTimeout bounds the start of a server. matchd renders the config of every group before it accepts a site.
const startTimeout = 5 * time.Minute

// The network: servers on the segment, load from a host on it. The load's address lies in the served subnet, because perfdhcp acts as
// a relay and is answered only then.
var (
	serverAddr = netip.MustParsePrefix("10.77.0.1/16")
	clientAddr = netip.MustParsePrefix("10.77.255.250/16")
)

// bed is a segment with one host for load.
type bed struct {
	*options
	segment *netns.Segment
	client  *netns.Namespace
}

func newBed(o *options) (*bed, error) {
	segment, err := netns.NewSegment("bench", serverAddr)
	if err != nil {
		return nil, err
	}
	client, err := segment.Host("load")
	if err == nil {
		err = client.IP("addr", "add", clientAddr.String(), "dev", "eth0")
	}
	if err != nil {
		segment.Close()
		return nil, err
	}
	return &bed{options: o, segment: segment, client: client}, nil
}

func (b *bed) Close() { b.segment.Close() }

// state returns an empty directory for one server.
func (b *bed) state(name string) (string, error) {
	dir := filepath.Join(b.scratch, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// libraries is the environment of the unpacked programs.
func (b *bed) libraries() []string {
	return []string{"LD_LIBRARY_PATH=" + filepath.Join(b.tools, "usr/lib/x86_64-linux-gnu")}
}

// start starts a server on the segment and waits until ready holds.
func (b *bed) start(ctx context.Context, opts process.Options, ready func(context.Context, *process.Process) error, path string, args ...string) (*process.Process, error) {
	p, err := process.Start(b.segment.Namespace, opts, path, args...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := ready(ctx, p); err != nil {
		p.Stop()
		return nil, fmt.Errorf("starting %s: %w\n%s", opts.Name, err, p.Tail(20, "  "))
	}
	return p, nil
}

// answers waits until a URL on the segment is answered with 200.
func (b *bed) answers(url string) func(context.Context, *process.Process) error {
	return func(ctx context.Context, p *process.Process) error {
		client := b.segment.Client()
		defer client.CloseIdleConnections()
		for {
			response, err := client.Get(url)
			if err == nil {
				response.Body.Close()
				if response.StatusCode == http.StatusOK {
					return nil
				}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.Done():
				return errors.New("it ended")
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// startMatchd starts the daemon with a configuration of flags.
func (b *bed) startMatchd(ctx context.Context, flags ...string) (*process.Process, error) {
	dir, err := b.state("matchd")
	if err != nil {
		return nil, err
	}
	common := []string{
		"serve", "--state-dir", filepath.Join(dir, "state"), "--log-level", "warn",
		"--boot-http", ":8080", "--admin", "127.0.0.1:8082",
	}
	return b.start(ctx, process.Options{Name: "matchd", LogFile: filepath.Join(dir, "log")}, b.answers("http://127.0.0.1:8082/readyz"),
		b.matchd, append(common, flags...)...)
}

// memory returns a process's own resident memory in MiB: without the pages of mapped files, which the kernel may drop.
func memory(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, errors.New("no RssAnon")
}

// median of an odd number of values is the middle one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
