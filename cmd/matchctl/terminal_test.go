package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress shows on a terminal what takes long, and takes it back; elsewhere nothing.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := &app{err: terminal{Writer: &out, live: true}, now: time.Now}
		a.progress("at once")()
		if strings.Contains(out.String(), "at once") {
			t.Errorf("what is over at once is shown: %q", out.String())
		}
		done := a.progress("applying %s", count(2, "object"))
		time.Sleep(3 * time.Second)
		done()
		done()
		if got := out.String(); !strings.Contains(got, "applying 2 objects … 2s") || !strings.HasSuffix(got, "\r\x1b[K") {
			t.Errorf("got %q", got)
		}
		out.Reset()
		a.err.live = false
		done = a.progress("unseen")
		time.Sleep(time.Second)
		done()
		if out.Len() > 0 {
			t.Errorf("where nobody looks: %q", out.String())
		}
	})
}

func TestColour(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: terminal{Writer: &out}}
	a.flags.color = "always"
	if err := a.colour(); err != nil {
		t.Fatal(err)
	}
	a.out.painted(red, "x")
	a.flags.color = "never"
	if err := a.colour(); err != nil {
		t.Fatal(err)
	}
	a.out.painted(red, "x")
	if got, want := out.String(), "\x1b[31mx\x1b[0m\nx\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
