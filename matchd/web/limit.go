package web

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// limit bounds connections, in all and by address. It accepts connections as they are, unwrapped: a wrapper would hide sendfile from net/http.
type limit struct {
	net.Listener
	metrics    *metrics
	perAddress int
	slots      chan struct{}
	closed     chan struct{}
	closeOnce  sync.Once

	mu     sync.Mutex
	byAddr map[netip.Addr]int
}

func newLimit(l net.Listener, most int, m *metrics) *limit {
	return &limit{
		Listener: l, metrics: m, perAddress: max(minConnsPerAddress, most/connShare),
		slots: make(chan struct{}, most), closed: make(chan struct{}), byAddr: map[netip.Addr]int{},
	}
}

// Accept waits for a slot and for a connection. A connection of an address that has too many is closed and the next one is waited for.
func (l *limit) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		if l.enter(conn) {
			return conn, nil
		}
		l.metrics.refused.Inc()
		_ = conn.Close() // nothing was written
	}
}

// Close ends Accept, also one that waits for a slot.
func (l *limit) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *limit) enter(conn net.Conn) bool {
	addr := remote(conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byAddr[addr] >= l.perAddress {
		return false
	}
	l.byAddr[addr]++
	l.metrics.conns.Inc()
	return true
}

// state is the http.Server's hook that says when a connection is gone.
func (l *limit) state(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	addr := remote(conn)
	l.mu.Lock()
	if l.byAddr[addr]--; l.byAddr[addr] <= 0 {
		delete(l.byAddr, addr)
	}
	l.mu.Unlock()
	l.metrics.conns.Dec()
	<-l.slots
}

func remote(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
