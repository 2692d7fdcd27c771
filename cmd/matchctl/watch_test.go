package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/matchdtest"
)

// lines is a stream that can be waited on.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{}, 1)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the stream holds a text.
func (l *lines) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(l.String(), want) {
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("there is no %q in\n%s", want, l)
		}
	}
}

// following is a command that goes on until it is stopped.
type following struct {
	*lines
	stderr *lines
	stop   func() int // interrupts it and returns its exit code
	code   chan int   // has it when it ends by itself
}

// follow starts a command as an administrator.
func follow(t *testing.T, d *matchdtest.Daemon, args ...string) *following {
	t.Helper()
	who := d.NewClient(t, auth.Identity{Name: "ann", Role: auth.Admin})
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{lines: newLines(), stderr: newLines(), code: make(chan int, 1)}
	connection := []string{"--endpoint", d.RPC, "--ca", who.CA, "--cert", who.Cert, "--key", who.Key, "--config", t.TempDir() + "/none"}
	var running sync.WaitGroup
	running.Go(func() {
		f.code <- run(ctx, append(args, connection...), streams{strings.NewReader(""), f.lines, f.stderr})
	})
	f.stop = func() int {
		cancel()
		running.Wait()
		return <-f.code
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return f
}

// once runs a command to its end.
func once(t *testing.T, d *matchdtest.Daemon, args ...string) {
	t.Helper()
	f := follow(t, d, args...)
	if code := <-f.code; code != exitOK {
		t.Fatalf("%v: exit code %d: %s", args, code, f.stderr)
	}
}

func startDaemon(t *testing.T) *matchdtest.Daemon {
	t.Helper()
	d := newServer(t, "testdata/boot.txtar").Daemon
	t.Setenv("NO_COLOR", "1")
	return d
}

const watched = machine.MAC("52:54:00:00:00:01")

func boot(t *testing.T, d *matchdtest.Daemon) {
	t.Helper()
	if trace := d.Boots(t, firmware.Machine{Kind: firmware.OVMF, MAC: watched}, dhcp.Serve); !trace.Booted {
		t.Fatal(trace.Reason)
	}
}

func TestWatchObjects(t *testing.T) {
	d := startDaemon(t)
	table := follow(t, d, "get", "machines", "-w", "-l", "rack=r1")
	table.await(t, "MAC")
	asJSON := follow(t, d, "get", "machines", "-w", "-o", "json")
	named := follow(t, d, "get", "groups", "-w", "-o", "name")
	named.await(t, "group/worker\n")
	once(t, d, "machine", "label", watched.String(), "rack=r1")
	once(t, d, "machine", "label", "52:54:00:00:00:02", "rack=r2")
	table.await(t, watched.String())
	asJSON.await(t, `{"type":"put","object":{"kind":"Machine","id":"52:54:00:00:00:02"`)
	once(t, d, "machine", "delete", watched.String())
	table.await(t, watched.String()+"  (deleted)")
	asJSON.await(t, `{"type":"deleted","kind":"Machine","id":"52:54:00:00:00:01"`)
	if strings.Contains(table.String(), "00:00:02") {
		t.Errorf("the table has a machine without the label:\n%s", table)
	}
	for _, f := range []*following{table, asJSON, named} {
		if code := f.stop(); code != exitOK {
			t.Errorf("interrupted: exit code %d, %s", code, f.stderr)
		}
	}
}

func TestWatchEventsAndTimelines(t *testing.T) {
	d := startDaemon(t)
	events := follow(t, d, "get", "events", "-w", "-l", "stage=script-sent")
	timelines := follow(t, d, "get", "timelines", "-w", "-o", "name")
	trace := follow(t, d, "trace", watched.String(), "--follow")
	trace.stderr.await(t, "has not been seen yet")
	boot(t, d)
	trace.await(t, "script-sent")
	timelines.await(t, "timeline/"+watched.String())
	boot(t, d) // should the first one have come before the watch
	events.await(t, "script-sent")
	if strings.Contains(events.String(), "leased") {
		t.Errorf("there are other events:\n%s", events)
	}
	// The boot ends when the machine says so.
	response, err := http.Post(d.Boot+"/v1/report?mac="+watched.String()+"&state=booted", "text/plain", strings.NewReader("up"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if code := <-trace.code; code != exitOK {
		t.Errorf("exit code %d: %s", code, trace.stderr)
	}
	trace.code <- exitOK
	if last := strings.TrimSpace(trace.String()); !strings.Contains(last[strings.LastIndexByte(last, '\n')+1:], "booted") {
		t.Errorf("the trace does not end with the diagnosis:\n%s", last)
	}
	if code := events.stop(); code != exitOK {
		t.Errorf("interrupted: exit code %d", code)
	}
}

// TestTraceInterrupted ends with the diagnosis, too.
func TestTraceInterrupted(t *testing.T) {
	d := startDaemon(t)
	boot(t, d)
	trace := follow(t, d, "trace", watched.String(), "--follow")
	trace.await(t, "initrd-sent") // the last of what this boot leaves
	if code := trace.stop(); code != exitError || !strings.Contains(trace.String(), "has its kernel") {
		t.Errorf("exit code %d:\n%s", code, trace)
	}
}
