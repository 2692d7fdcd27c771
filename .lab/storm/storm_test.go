package storm_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/storm"
	"github.com/matchd/matchd/lab/wire"
)

// toy is a DHCP server that keeps its leases in memory, and can be made to break its word.
type toy struct {
	mu     sync.Mutex
	next   byte
	leases map[[6]byte]netip.Addr
}

func (s *toy) serve(conn *net.UDPConn, me netip.Addr) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		if m, err := wire.Parse(buffer[:n]); err == nil {
			answer := s.answer(m, me)
			conn.WriteToUDPAddrPort(answer.Marshal(), from)
		}
	}
}

func (s *toy) answer(m *wire.Message, me netip.Addr) *wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := byte(wire.Offer)
	if m.Type() == wire.Request {
		kind = wire.Ack
		if s.leases[m.MAC] != m.Addr(wire.OptRequestedIP) {
			kind = wire.Nak
		}
	} else if !s.leases[m.MAC].IsValid() {
		s.next++
		s.leases[m.MAC] = netip.AddrFrom4([4]byte{127, 1, 0, s.next})
	}
	m.Reply, m.Your = true, s.leases[m.MAC]
	m.Options = map[byte][]byte{wire.OptType: {kind}}
	m.SetAddr(wire.OptServerID, me)
	return m
}

// TestVerify: a storm must notice each way in which a server can break its word, and be
// content with a server that keeps it.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		breakWord func(*toy)
		want      string
	}{
		"kept":  {func(*toy) {}, ""},
		"lost":  {func(s *toy) { clear(s.leases) }, "gets type 6"},
		"twice": {func(s *toy) { s.next = 0 }, "was given to"},
	} {
		t.Run(name, func(t *testing.T) {
			ns, err := netns.New(name)
			if err != nil {
				t.Fatalf("%v (the lab needs root)", err)
			}
			defer ns.Close()
			me := netip.MustParseAddr("127.0.0.1")
			var conn *net.UDPConn
			if err := ns.Do(func() (err error) {
				conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(me, wire.Port)))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			server := &toy{leases: map[[6]byte]netip.Addr{}}
			go server.serve(conn, me)
			crowd, err := storm.New(ns, netip.MustParseAddr("127.0.0.2"), me)
			if err != nil {
				t.Fatal(err)
			}
			defer crowd.Close()
			some := func() {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(20*time.Millisecond, cancel)
				for before := crowd.Leases(); crowd.Leases() == before; {
					crowd.Run(ctx, 1)
				}
			}
			some()
			server.mu.Lock()
			c.breakWord(server)
			server.mu.Unlock()
			if name == "twice" {
				crowd.Run(once(t), 1)
			}
			err = crowd.Verify(t.Context(), 2)
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// once ends soon after a few exchanges had time to happen.
func once(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
