package process_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
)

func TestOutput(t *testing.T) {
	o := process.NewOutput()
	found := make(chan string, 1)
	go func() {
		line, _ := o.Wait(t.Context(), "marker")
		found <- line
	}()
	o.Write([]byte("first\r\n\x1b[2Jsec"))
	o.Write([]byte("ond \x1b[1;37mmarker"))
	if got := <-found; got != "second marker" {
		t.Errorf("got line %q, want %q", got, "second marker")
	}
	if got := strings.Join(o.Lines(), "|"); got != "first" {
		t.Errorf("got complete lines %q, want only the first", got)
	}
	o.Close()
	if got := o.Tail(1, "> "); got != "> second marker\n" {
		t.Errorf("got tail %q", got)
	}
	if _, err := o.Wait(t.Context(), "never"); err == nil {
		t.Error("waiting for a line that cannot come any more did not fail")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := process.NewOutput().Wait(ctx, "never"); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got error %v, want the context's cause", err)
	}
}

// TestNothingRemains starts programs of the kinds that get away, and closes the
// namespace under them.
func TestNothingRemains(t *testing.T) {
	for name, opts := range map[string]process.Options{"plain": {}, "guarded": {Guard: true}, "private": {Private: []string{"/run"}}} {
		t.Run(name, func(t *testing.T) {
			ns, err := netns.New(name)
			if err != nil {
				t.Fatalf("%v (the lab needs root)", err)
			}
			opts.Name = name
			sleep := "sleep 1000"
			if name == "plain" {
				sleep = "exec " + sleep // has no children; those that have need a guard
			}
			p, err := process.Start(ns, opts, "sh", "-c", "echo ready; "+sleep)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Output.Wait(t.Context(), "ready"); err != nil {
				t.Fatal(err)
			}
			ns.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := p.WaitEnd(ctx); err == nil || ctx.Err() != nil {
				t.Errorf("the program ended with %v, want killed", err)
			}
			if _, err := os.Stat("/proc/" + strconv.Itoa(p.PID())); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("process %d is still there: %v", p.PID(), err)
			}
		})
	}
}

func TestStop(t *testing.T) {
	ns, err := netns.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for script, wantErr := range map[string]bool{
		"echo ready; exec sleep 1000":                                false,
		"trap 'exit 0' TERM; echo ready; while :; do sleep .1; done": false,
		"trap 'exit 3' TERM; echo ready; while :; do sleep .1; done": true,
	} {
		for _, guard := range []bool{false, true} {
			p, err := process.Start(ns, process.Options{Guard: guard}, "sh", "-c", script)
			if err != nil {
				t.Fatal(err)
			}
			p.Output.Wait(t.Context(), "ready")
			if err := p.Stop(); (err != nil) != wantErr {
				t.Errorf("stopping %q, guard %v: got %v, want an error: %v", script, guard, err, wantErr)
			}
		}
	}
}
