package netns

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
)

// Bridge is the name of a Segment's bridge inside its namespace.
const Bridge = "lan0"

// Segment is an Ethernet: a namespace with a bridge that carries an address, where
// servers run, taps for virtual machines, and hosts in further namespaces.
type Segment struct {
	*Namespace
	// Addr is the address of the bridge with its prefix length.
	Addr netip.Prefix

	mu    sync.Mutex
	hosts []*Namespace
	ends  []func()
	ports int
}

// NewSegment makes a segment. A port that is always up keeps the bridge's carrier, so
// that servers find a usable interface before the first machine is switched on.
func NewSegment(name string, addr netip.Prefix) (*Segment, error) {
	ns, err := New(name)
	if err != nil {
		return nil, err
	}
	s := &Segment{Namespace: ns, Addr: addr}
	for _, args := range [][]string{
		{"link", "add", Bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"},
		{"link", "add", "carrier0", "type", "veth", "peer", "name", "carrier1"},
		{"link", "set", "carrier0", "master", Bridge, "up"},
		// The other end is in the same namespace and would answer for the bridge's
		// address with a hardware address of its own: GRUB believes the last answer.
		{"link", "set", "carrier1", "arp", "off", "addrgenmode", "none", "up"},
		{"addr", "add", addr.String(), "dev", Bridge},
		{"link", "set", Bridge, "up"},
		{"route", "add", "default", "dev", Bridge},
	} {
		if err := ns.IP(args...); err != nil {
			s.Close()
			return nil, fmt.Errorf("making segment %s: %w", name, err)
		}
	}
	return s, nil
}

// Tap adds a port for a virtual machine and returns the tap's name.
func (s *Segment) Tap() (string, error) {
	name := "tap" + s.port()
	if err := s.IP("tuntap", "add", name, "mode", "tap"); err != nil {
		return "", err
	}
	return name, s.IP("link", "set", name, "master", Bridge, "up")
}

// Host adds a host: a namespace of its own whose eth0 is a port of the bridge. It has
// no address yet.
func (s *Segment) Host(name string) (*Namespace, error) {
	host, err := New(name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.hosts = append(s.hosts, host)
	s.mu.Unlock()
	return host, s.Attach(host, "eth0")
}

// Attach gives a namespace a further interface, a port of this segment's bridge.
func (s *Segment) Attach(host *Namespace, iface string) error {
	port := "port" + s.port()
	if err := s.IP("link", "add", port, "type", "veth", "peer", "name", iface, "netns", host.Path()); err != nil {
		return err
	}
	if err := s.IP("link", "set", port, "master", Bridge, "up"); err != nil {
		return err
	}
	return host.IP("link", "set", iface, "up")
}

func (s *Segment) port() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports++
	return strconv.Itoa(s.ports)
}

func (s *Segment) onClose(end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, end)
}

// Close ends the segment and its hosts.
func (s *Segment) Close() {
	s.mu.Lock()
	hosts, ends := s.hosts, s.ends
	s.hosts, s.ends = nil, nil
	s.mu.Unlock()
	for _, end := range ends {
		end()
	}
	for _, h := range hosts {
		h.Close()
	}
	s.Namespace.Close()
}
