// Package e2e boots real machines against the real matchd: firmware in QEMU, Debian's
// kernels, the real Ignition. Every test asserts what Ignition wrote inside the machine.
//
// Tests whose names begin with TestSmoke are the set that `make test` runs; `make e2e`
// runs all. Nothing is ever skipped: what is missing is an error that says what to run.
package e2e_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/server"
)

const (
	mac1  = "52:54:00:77:00:01"
	mac2  = "52:54:00:77:00:02"
	uuid1 = "11223344-5566-7788-99aa-bbccddeeff01"
	uuid2 = "11223344-5566-7788-99aa-bbccddeeff02"
)

// slots bounds how many labs are busy at once: firmware under TCG needs a core each.
var slots = make(chan struct{}, parallel())

func parallel() int {
	if n, err := strconv.Atoi(os.Getenv("LAB_PARALLEL")); err == nil && n > 0 {
		return n
	}
	return 2
}

func TestMain(m *testing.M) {
	if err := cache.Check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := server.Binary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Processes and namespaces end with this process; being asked to end needs no more.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() { <-interrupted; os.Exit(130) }()
	os.Exit(m.Run())
}

// lab is one test's network with its matchd.
type lab struct {
	*testing.T
	ctx      context.Context
	dir      string
	seg      *netns.Segment
	server   *server.Server
	machines []*machine.Machine
}

// newLab makes a network, waiting for a free slot; the test runs in parallel to others.
func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	ctx, cancel := context.WithTimeout(t.Context(), 2*machine.Bound)
	t.Cleanup(cancel)
	seg, err := netns.NewSegment(t.Name(), netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(seg.Close)
	if err := seg.Router(); err != nil {
		t.Fatal(err)
	}
	return &lab{T: t, ctx: ctx, dir: t.ArtifactDir(), seg: seg}
}

// start starts matchd; when the test ends, matchd must stop in order.
func (l *lab) start(opts server.Options) *server.Server {
	l.Helper()
	if opts.Dir == "" {
		opts.Dir = l.dir
	}
	s, err := server.Start(l.ctx, l.seg.Namespace, opts)
	if err != nil {
		l.Fatal(err)
	}
	l.server = s
	l.Cleanup(func() {
		if l.Failed() {
			l.explain()
		}
		if err := s.Stop(); err != nil {
			l.Errorf("stopping matchd: %v\n%s", err, s.Tail(60, "  matchd: "))
		}
	})
	return s
}

// explain prints what a person needs who was not there.
func (l *lab) explain() {
	for _, m := range l.machines {
		l.Logf("serial console of %s, %v after power-on:\n%s", m.MAC, m.Age(), m.Tail(40, "  serial: "))
		if timeline, err := l.server.Timeline(context.Background(), m.MAC); err != nil {
			l.Logf("no timeline of %s: %v", m.MAC, err)
		} else {
			l.Logf("timeline of %s:\n%s", m.MAC, timeline)
		}
	}
	l.Logf("log:\n%s", l.server.Tail(80, "  matchd: "))
}

// powerOn switches a machine on; it is switched off when the test ends.
func (l *lab) powerOn(spec machine.Spec) *machine.Machine {
	l.Helper()
	spec.Dir = filepath.Join(l.dir, "machine-"+strconv.Itoa(len(l.machines)))
	m, err := machine.PowerOn(l.seg, spec)
	if err != nil {
		l.Fatal(err)
	}
	l.machines = append(l.machines, m)
	l.Cleanup(m.Kill)
	return m
}

// result waits for a machine's end and returns what it said of itself.
func (l *lab) result(m *machine.Machine) *machine.Result {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, machine.Bound)
	defer cancel()
	r, err := m.Result(ctx)
	if err != nil {
		l.Fatal(err)
	}
	l.Logf("%s: %s, %s after %.1f s", m.Firmware, m.MAC, r.Fact("state"), m.Age().Seconds())
	return r
}

// configured asserts that Ignition wrote, inside the machine, what the group with this
// role says, and that matchd has the machine's whole story.
func (l *lab) configured(m *machine.Machine, r *machine.Result, role string) *server.Timeline {
	l.Helper()
	if r.Fact("state") != "booted" {
		l.Fatalf("the machine says %q: %s\n%s", r.Fact("state"), r.Fact("error"), r.Fact("ignition.log"))
	}
	want := map[string]string{
		"/etc/hostname": "node-" + role + ".lab.test\n", "/etc/lab/role": role,
	}
	for name, content := range want {
		if got, _ := r.Root(name); got.Content != content {
			l.Errorf("Ignition wrote %q to %s, want %q", got.Content, name, content)
		}
	}
	if got, _ := r.Root("/etc/lab/role"); got.Mode.Perm() != 0o640 {
		l.Errorf("mode of /etc/lab/role is %o, want 640", got.Mode.Perm())
	}
	if _, ok := r.Root("/etc/systemd/system/lab.service"); !ok {
		l.Errorf("Ignition wrote no lab.service, only %q", r.Names())
	}
	if r.Fact("mac") != m.MAC {
		l.Errorf("the guest's NIC is %s, want %s", r.Fact("mac"), m.MAC)
	}
	timeline, err := l.server.Timeline(l.ctx, m.MAC)
	if err != nil {
		l.Fatal(err)
	}
	for _, stage := range []string{"kernel-sent", "initrd-sent", "script-sent", "config-sent", "booted"} {
		if !timeline.Has(stage) {
			l.Errorf("the timeline has no %s:\n%s", stage, timeline)
		}
	}
	return timeline
}
