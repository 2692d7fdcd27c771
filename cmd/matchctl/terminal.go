package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Colours, as parameters of the escape sequence SGR.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// terminal writes lines for people, in colour where that is wanted.
type terminal struct {
	io.Writer
	live    bool // a person looks at it: it may be overwritten
	colours bool
}

func terminalOf(w io.Writer) terminal {
	live := isTerminal(w)
	return terminal{w, live, live && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && understandsColour()}
}

// isTerminal reports whether a person is likely to read or type there.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}

// understandsColour leaves Windows' old console alone, which prints escape sequences as they are.
func understandsColour() bool {
	return runtime.GOOS != "windows" || os.Getenv("WT_SESSION") != "" || os.Getenv("TERM") != "" || os.Getenv("ConEmuANSI") == "ON"
}

// colour sets what --color asks for.
func (a *app) colour() error {
	switch a.flags.color {
	case "auto":
	case "always":
		a.out.colours, a.err.colours = true, true
	case "never":
		a.out.colours, a.err.colours = false, false
	default:
		return usagef("--color %q is none of auto, always, never", a.flags.color)
	}
	return nil
}

// paint returns text in a colour, or as it is.
func (t terminal) paint(colour, text string) string {
	if !t.colours || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line writes one line. Errors of a terminal have nowhere to go.
func (t terminal) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func (t terminal) painted(colour, format string, args ...any) {
	t.line("%s", t.paint(colour, fmt.Sprintf(format, args...)))
}

// indented writes a text with two spaces before each line.
func (t terminal) indented(text string) {
	for line := range strings.Lines(text) {
		t.line("  %s", printable(strings.TrimRight(line, "\r\n")))
	}
}

// printable replaces control characters, which could make a terminal do things: texts of machines go through here.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// progressDelay is how long something takes before progress is shown.
const progressDelay = 300 * time.Millisecond

// progress shows on a terminal that something goes on, until the returned function is called.
func (a *app) progress(format string, args ...any) (done func()) {
	if !a.err.live {
		return func() {}
	}
	text := fmt.Sprintf(format, args...)
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { a.tick(text, stop) })
	return sync.OnceFunc(func() {
		close(stop)
		running.Wait()
	})
}

// tick rewrites one line until stop is closed, and then takes it back.
func (a *app) tick(text string, stop <-chan struct{}) {
	start := a.now()
	ticker := time.NewTicker(progressDelay)
	defer ticker.Stop()
	defer fmt.Fprint(a.err, "\r\x1b[K")
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			fmt.Fprintf(a.err, "\r\x1b[K%s … %s", text, a.now().Sub(start).Round(time.Second))
		}
	}
}

// count writes a number of things: "1 group", "2 groups".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
