package web_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/web"
)

// sick is a listener that takes nobody in, as a process without file descriptors.
type sick struct{ failed chan struct{} }

type noFiles struct{}

func (noFiles) Error() string   { return "accept: too many open files" }
func (noFiles) Timeout() bool   { return false }
func (noFiles) Temporary() bool { return true }

func (l *sick) Accept() (net.Conn, error) {
	select {
	case <-l.failed:
		return nil, net.ErrClosed
	default:
		return nil, noFiles{}
	}
}
func (l *sick) Close() error   { return nil }
func (l *sick) Addr() net.Addr { return &net.TCPAddr{} }

// closesAfter ends a listener's trouble when its line is in the log.
type closesAfter struct {
	bytes.Buffer
	once   sync.Once
	failed chan struct{}
}

func (c *closesAfter) Write(p []byte) (int, error) {
	c.once.Do(func() { close(c.failed) })
	return c.Buffer.Write(p)
}

func TestListenerThatFailsIsLoud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &sick{make(chan struct{})}
		log := &closesAfter{failed: l.failed}
		h := newHarness(t, func(o *web.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		srv, err := web.New(h.options)
		if err != nil {
			t.Fatal(err)
		}
		_ = srv.Serve(t.Context(), l) // fails, as its listener
		if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "too many open files") {
			t.Errorf("the log says %q", got)
		}
	})
}

// TestWhoSpeaksNoTLSIsNoAlarm: who looks what a port is has no trouble, and a timeline no event of it.
func TestWhoSpeaksNoTLSIsNoAlarm(t *testing.T) {
	told := make(chan event.Event, 10)
	h := newSecure(t, newBooth())
	h.options.Recorder = recordFunc(func(e event.Event) { told <- e })
	addr := h.serveTLS(t, newCA(t))
	h.options.Machines.Observe(machine.Machine{MAC: node})
	h.options.Machines.Claim(node, remoteAddr(t, addr))
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-OpenSSH\r\n"} {
		c, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, http.DefaultMaxHeaderBytes)) // it is done with us when this returns
		_ = c.Close()
	}
	if len(told) > 0 {
		t.Errorf("told %+v", <-told)
	}
}
