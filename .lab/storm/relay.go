// Package storm plays crowds of DHCP clients behind a relay, and remembers every promise
// that the server made them.
package storm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/wire"
)

// ErrSilence is returned when the server did not answer in time.
var ErrSilence = errors.New("no answer")

// Relay is a relay agent's socket: requests of any number of clients go out of it with
// its address as giaddr, and answers come back to it.
type Relay struct {
	conn   *net.UDPConn
	addr   netip.Addr
	server netip.AddrPort
	xid    atomic.Uint32

	mu      sync.Mutex
	waiting map[uint32]chan *wire.Message
	strays  func(*wire.Message)
	done    chan struct{}
}

// NewRelay opens a relay at addr, which must be an address of the namespace. Answers that
// nobody waits for any more are given to strays.
func NewRelay(ns *netns.Namespace, addr, server netip.Addr, strays func(*wire.Message)) (*Relay, error) {
	r := &Relay{
		addr: addr, server: netip.AddrPortFrom(server, wire.Port), waiting: map[uint32]chan *wire.Message{},
		strays: strays, done: make(chan struct{}),
	}
	err := ns.Do(func() (err error) {
		r.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, wire.Port)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a relay at %s: %w", addr, err)
	}
	r.conn.SetReadBuffer(4 << 20)
	go r.read()
	return r, nil
}

func (r *Relay) read() {
	defer close(r.done)
	buffer := make([]byte, 2048)
	for {
		n, err := r.conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a port that was closed for a moment: the server is being restarted
		}
		m, err := wire.Parse(buffer[:n])
		if err != nil || !m.Reply {
			continue
		}
		r.mu.Lock()
		waiter := r.waiting[m.XID]
		delete(r.waiting, m.XID)
		r.mu.Unlock()
		if waiter != nil {
			waiter <- m
		} else {
			r.strays(m)
		}
	}
}

// Send sends a message and expects nothing.
func (r *Relay) Send(m *wire.Message) error {
	m.Gateway = r.addr
	_, err := r.conn.WriteToUDPAddrPort(m.Marshal(), r.server)
	return err
}

// Exchange sends a message under a fresh transaction id and waits for its answer.
func (r *Relay) Exchange(ctx context.Context, m *wire.Message, patience time.Duration) (*wire.Message, error) {
	m.XID = r.xid.Add(1)
	answer := make(chan *wire.Message, 1)
	r.mu.Lock()
	r.waiting[m.XID] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, m.XID)
		r.mu.Unlock()
	}()
	if err := r.Send(m); err != nil {
		return nil, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case got := <-answer:
		return got, nil
	case <-timer.C:
		return nil, ErrSilence
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close closes the socket.
func (r *Relay) Close() {
	r.conn.Close()
	<-r.done
}
