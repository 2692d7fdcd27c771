package dhcp_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
)

// loopback runs a proxy on lo with free ports, and returns a socket that asks its port 4011. The proxy is down when the test ends.
func loopback(t *testing.T, opts dhcp.Options) *net.UDPConn {
	t.Helper()
	opts.Interfaces, opts.AnyPort = []dhcp.Interface{{Name: "lo"}}, true
	server, err := dhcp.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	select {
	case <-server.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	addrs := server.Addrs()
	if len(addrs) != 2 || addrs[1].Port() == dhcp.BootPort {
		t.Fatalf("Addrs = %v", addrs)
	}
	if links := server.Links(); len(links) != 1 || links[0].Name != "lo" || len(links[0].Addrs) == 0 || links[0].Mode != dhcp.Proxy {
		t.Fatalf("Links = %v", links)
	}
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(addrs[1].Port())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func secondQuestion(arch byte) []byte {
	p := pxeDiscover()
	p.Options[53] = []byte{byte(dhcpv4.MessageTypeRequest)}
	p.Options[93] = []byte{0, arch}
	p.ClientIPAddr = net.IPv4(127, 0, 0, 1)
	return p.ToBytes()
}

func TestOnePacketDoesNoHarm(t *testing.T) {
	var log lockedBuffer
	conn := loopback(t, dhcp.Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Booter: booter(func(r boot.Request) boot.Decision {
			if r.Arches[0] == 0 {
				panic("a bug of ours")
			}
			return decide(r)
		}),
	})
	for _, packet := range [][]byte{{}, {1}, bytes.Repeat([]byte{1}, 5000), secondQuestion(0), secondQuestion(7)} {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, 2048)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := dhcpv4.FromBytes(buffer[:n]); err != nil || reply.BootFileName == "" {
		t.Errorf("%v, %v", reply, err)
	}
	for !strings.Contains(log.String(), "a bug of ours") { // the other worker may be behind
		runtime.Gosched()
	}
}

// lockedBuffer takes a log from many goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestQueueIsBounded blocks every worker: what does not fit into the queue is dropped and counted, what fits is answered, also while
// the server is going down.
func TestQueueIsBounded(t *testing.T) {
	registry := prometheus.NewRegistry()
	gate := make(chan struct{})
	conn := loopback(t, dhcp.Options{Metrics: registry, Booter: booter(func(r boot.Request) boot.Decision { <-gate; return decide(r) })})
	packet := secondQuestion(7)
	for metric(t, registry, "matchd_dhcp_dropped_total") == 0 {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	if length := metric(t, registry, "matchd_dhcp_queue_length"); length != dhcp.QueueLength {
		t.Errorf("%v packets are queued", length)
	}
	before := metric(t, registry, "matchd_dhcp_dropped_total")
	if _, err := conn.Write(pxeDiscover().ToBytes()); err != nil {
		t.Fatal(err)
	}
	for metric(t, registry, "matchd_dhcp_dropped_total") == before { // whoever begins waits for those who began
		runtime.Gosched()
	}
	close(gate)
	if _, err := conn.Read(make([]byte, 2048)); err != nil {
		t.Error(err)
	}
	for metric(t, registry, "matchd_dhcp_replies_total") < dhcp.Workers+dhcp.QueueLength {
		runtime.Gosched()
	}
}

// metric adds the series of a counter or gauge.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total
}

func TestServeRefuses(t *testing.T) {
	server, err := dhcp.New(dhcp.Options{Booter: booter(decide), Interfaces: []dhcp.Interface{{Name: "nonesuch0"}}, AnyPort: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), "nonesuch0") || !strings.Contains(err.Error(), "lo") {
		t.Errorf("Serve = %v, want what is missing and what there is", err)
	}
	if len(server.Addrs()) != 0 || len(server.Others()) != 0 || len(server.Links()) != 0 {
		t.Error("a server that never served has addresses")
	}
}

func TestEveryReplyIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	handler := newHandler(t, dhcp.Options{Metrics: registry})
	via := dhcp.Arrival{Link: link(dhcp.Proxy), Dest: netip.MustParseAddr("255.255.255.255")}
	handler.Handle(context.Background(), &via, pxeDiscover().ToBytes())
	handler.Handle(context.Background(), &via, plain(dhcpv4.MessageTypeDiscover, nil))
	handler.Handle(context.Background(), &via, plain(dhcpv4.MessageType(77), nil))
	handler.Handle(context.Background(), &via, []byte("noise"))
	for name, want := range map[string]float64{
		"matchd_dhcp_packets_total": 3, "matchd_dhcp_replies_total": 1, "matchd_dhcp_dropped_total": 3,
	} {
		if got := metric(t, registry, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

// TestLogIsBounded: the timeline has every refusal, the log only some of a flood.
func TestLogIsBounded(t *testing.T) {
	const flood, lines = 400, 150 // 50 a second, and the flood takes no three seconds
	var log lockedBuffer
	timeline := &timeline{}
	handler := newHandler(t, dhcp.Options{Recorder: timeline, Log: slog.New(slog.NewTextHandler(&log, nil))})
	via := dhcp.Arrival{Link: link(dhcp.Proxy)}
	p := pxeDiscover()
	p.Options[93] = []byte{0, 2}
	for range flood {
		handler.Handle(context.Background(), &via, p.ToBytes())
	}
	if got := strings.Count(log.String(), "boot refused"); got == 0 || got > lines {
		t.Errorf("%d refusals logged", got)
	}
	if got := len(timeline.stages()); got != 2*flood {
		t.Errorf("%d events, want all %d", got, 2*flood)
	}
}
