package tftp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/tftp"
)

const mac machine.MAC = "52:54:00:00:00:01"

// files is a source of files by name.
type files map[string][]byte

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func (f files) Open(_ context.Context, r bootfile.Request) (*bootfile.File, error) {
	switch r.Name {
	case "broken":
		return nil, errors.New("secret text")
	case "busy":
		return nil, fault.New(fault.Unavailable, "secret text")
	}
	content, ok := f[r.Name]
	if !ok {
		return nil, fault.New(fault.NotFound, "no %s", r.Name)
	}
	return &bootfile.File{
		Body: body{bytes.NewReader(content)}, Name: r.Name, Size: int64(len(content)),
		Event: event.Event{MAC: mac, Stage: event.LoaderSent, Message: "sent " + r.BaseURL},
	}, nil
}

func (files) Whose(string, netip.Addr) machine.MAC { return mac }

// recorder keeps events.
type recorder struct{ events chan event.Event }

func (r *recorder) Record(e event.Event) { r.events <- e }

// next returns the next event, without its times.
func (r *recorder) next(t *testing.T) event.Event {
	t.Helper()
	select {
	case e := <-r.events:
		e.DurationMS = 0
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event was recorded")
		return event.Event{}
	}
}

type server struct {
	addr    string
	events  *recorder
	metrics *prometheus.Registry
}

// serve runs a server on loopback for the duration of the test.
func serve(t testing.TB, o tftp.Options) *server {
	t.Helper()
	s := &server{events: &recorder{make(chan event.Event, 1024)}, metrics: prometheus.NewRegistry()}
	o.Recorder, o.Metrics = s.events, s.metrics
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	srv, err := tftp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tftp.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = conn.LocalAddr().String()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, conn); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return s
}

// outcome waits for the counter of requests with the given outcome to reach n.
func (s *server) outcome(t *testing.T, outcome string, n int) {
	t.Helper()
	want := fmt.Sprintf("matchd_tftp_requests_total{outcome=%q} %d\n", outcome, n)
	var got string
	for range 2000 {
		var b strings.Builder
		families, err := s.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.Metric {
				if family.GetName() == "matchd_tftp_requests_total" {
					fmt.Fprintf(&b, "matchd_tftp_requests_total{outcome=%q} %d\n", m.Label[0].GetValue(), int(m.Counter.GetValue()))
				}
			}
		}
		if got = b.String(); strings.Contains(got, want) {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Errorf("counters are\n%swant\n%s", got, want)
}

func random(n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
	return p
}

// client speaks TFTP packet by packet.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	to   *net.UDPAddr // of the transfer
	buf  []byte
}

func dial(t testing.TB, server string) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, to: to, buf: make([]byte, 70000)}
}

func (c *client) send(p []byte) {
	c.t.Helper()
	if _, err := c.conn.WriteToUDP(p, c.to); err != nil {
		c.t.Fatal(err)
	}
}

// recv returns the next packet and remembers where it came from. It fails the test when none comes.
func (c *client) recv() []byte {
	c.t.Helper()
	p := c.poll(10 * time.Second)
	if p == nil {
		c.t.Fatal("no packet from the server")
	}
	return p
}

func (c *client) poll(wait time.Duration) []byte {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		c.t.Fatal(err)
	}
	n, from, err := c.conn.ReadFromUDP(c.buf)
	if err != nil {
		return nil
	}
	c.to = from
	return bytes.Clone(c.buf[:n])
}

func rrq(name string, options ...string) []byte {
	return append([]byte{0, 1}, strings.Join(append([]string{name, "octet"}, options...), "\x00")+"\x00"...)
}

func ack(block int) []byte { return binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(block)) }

// fetch reads a file in windows; drop says which packets of the server's are lost on the way.
func (c *client) fetch(block, window int, drop func() bool) []byte {
	c.t.Helper()
	var got []byte
	last, inWindow := 0, 0
	for {
		p := c.poll(200 * time.Millisecond)
		if p == nil {
			c.send(ack(last)) // what came last; the server may have lost its patience before
			inWindow = 0
			continue
		}
		if drop() {
			continue
		}
		if p[1] != 3 {
			c.t.Fatalf("packet %q instead of data", p)
		}
		number := int(binary.BigEndian.Uint16(p[2:]))
		if number != (last+1)%65536 {
			if inWindow > 0 || number > last+1 {
				c.send(ack(last))
				inWindow = 0
			}
			continue
		}
		last, inWindow = number, inWindow+1
		got = append(got, p[4:]...)
		final := len(p) < block+4
		if inWindow == window || final {
			c.send(ack(last))
			inWindow = 0
		}
		if final {
			return got
		}
	}
}

// BenchmarkServe reads 64 MiB with the block and the windows that clients ask for.
func BenchmarkServe(b *testing.B) {
	content := random(64 << 20)
	s := serve(b, tftp.Options{Source: files{"f": content}})
	for _, tc := range []struct{ block, window int }{{1468, 1}, {1468, 4}, {1468, 16}, {512, 1}} {
		b.Run(fmt.Sprintf("block=%d/window=%d", tc.block, tc.window), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				c := dial(b, s.addr)
				c.send(rrq("f", "blksize", strconv.Itoa(tc.block), "windowsize", strconv.Itoa(tc.window)))
				c.recv()
				c.send(ack(0))
				if n := c.drain(tc.block, tc.window); n != len(content) {
					b.Fatalf("got %d bytes, want %d", n, len(content))
				}
				<-s.events.events
			}
		})
	}
}

// drain is fetch without losses and without keeping anything.
func (c *client) drain(block, window int) (total int) {
	for n := 1; ; n++ {
		size, from, err := c.conn.ReadFromUDPAddrPort(c.buf)
		if err != nil {
			c.t.Fatal(err)
		}
		total += size - 4
		if n%window == 0 || size < block+4 {
			if _, err := c.conn.WriteToUDPAddrPort(ack(n), from); err != nil {
				c.t.Fatal(err)
			}
		}
		if size < block+4 {
			return total
		}
	}
}
