package rpc

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Bounds of connections. An idle connection costs about 60 KiB.
const (
	// maxConnections bounds all connections, those within their handshake included.
	maxConnections = 4096
	// maxPerHost bounds those of one address, so that one host leaves room for others.
	maxPerHost = 2048
)

// bounded is a listener that closes connections beyond its bounds at once, rather than have them wait unseen.
type bounded struct {
	net.Listener
	refused *refusals
	metrics *metrics

	mu    sync.Mutex
	hosts map[netip.Addr]int
	total int
}

func newBounded(listener net.Listener, refused *refusals, m *metrics) *bounded {
	return &bounded{Listener: listener, refused: refused, metrics: m, hosts: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(conn.RemoteAddr())
		why, ok := b.enter(host)
		if ok {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { b.leave(host) })}, nil
		}
		b.refused.tell(conn.RemoteAddr(), why)
		conn.Close()
	}
}

func (b *bounded) enter(host netip.Addr) (refusal, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.total >= maxConnections:
		return refusal{reason: "full", text: "too many connections are open"}, false
	case b.hosts[host] >= maxPerHost:
		return refusal{reason: "host-full", text: "this host has too many connections open"}, false
	}
	b.total++
	b.hosts[host]++
	b.metrics.connections.Inc()
	return refusal{}, true
}

func (b *bounded) leave(host netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.hosts[host]--; b.hosts[host] == 0 {
		delete(b.hosts, host)
	}
	b.metrics.connections.Dec()
}

func hostOf(addr net.Addr) netip.Addr {
	if tcp, is := addr.(*net.TCPAddr); is {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// counted is a connection that tells when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite ends what is sent, where the connection can do that.
func (c *counted) CloseWrite() error {
	half, can := c.Conn.(interface{ CloseWrite() error })
	if !can {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
