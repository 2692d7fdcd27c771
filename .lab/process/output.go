// Package process runs the lab's programs inside a namespace and lets tests wait for
// what they print, never for time to pass.
package process

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
)

// maxLine bounds one line; firmware that never ends its lines is cut, not hoarded.
const maxLine = 64 << 10

// Output collects a program's lines and wakes those who wait for one. It is an
// io.Writer for any number of goroutines.
type Output struct {
	mu      sync.Mutex
	lines   []string
	partial []byte
	closed  bool
	changed chan struct{}
}

// NewOutput returns an empty Output.
func NewOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write adds bytes. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, p...)
	for {
		i := bytes.IndexByte(o.partial, '\n')
		if i < 0 && len(o.partial) > maxLine {
			i = maxLine
		}
		if i < 0 {
			break
		}
		o.lines = append(o.lines, printable(o.partial[:i]))
		o.partial = o.partial[min(i+1, len(o.partial)):]
	}
	o.wakeLocked()
	return len(p), nil
}

// Close says that nothing more will come.
func (o *Output) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partial) > 0 {
		o.lines = append(o.lines, printable(o.partial))
		o.partial = nil
	}
	o.closed = true
	o.wakeLocked()
}

func (o *Output) wakeLocked() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// Wait returns the first line that contains one of the texts, now or in the future. It
// fails when the context ends or the output is closed without such a line.
func (o *Output) Wait(ctx context.Context, texts ...string) (string, error) {
	next := 0
	for {
		o.mu.Lock()
		lines, changed, closed := o.lines[next:], o.changed, o.closed
		partial := printable(o.partial)
		next = len(o.lines)
		o.mu.Unlock()
		for _, line := range append(lines[:len(lines):len(lines)], partial) {
			for _, text := range texts {
				if strings.Contains(line, text) {
					return line, nil
				}
			}
		}
		if closed {
			return "", fmt.Errorf("the output ended without %q", texts)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for %q: %w", texts, context.Cause(ctx))
		}
	}
}

// Lines returns all complete lines so far.
func (o *Output) Lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.lines...)
}

// Tail returns the last n lines, each indented by prefix.
func (o *Output) Tail(n int, prefix string) string {
	lines := o.Lines()
	o.mu.Lock()
	if len(o.partial) > 0 {
		lines = append(lines, printable(o.partial))
	}
	o.mu.Unlock()
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(prefix)
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// printable drops what a serial console sends beside text: carriage returns and escape
// sequences that place the cursor and colour the screen.
func printable(p []byte) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == 0x1b:
			for i+1 < len(p) && !letter(p[i+1]) {
				i++
			}
			i++
		case c == '\t' || c >= 0x20 && c < 0x7f:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
