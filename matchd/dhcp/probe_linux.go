package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of the conflict probe.
const (
	ProbeTime     = 300 * time.Millisecond // how long an owner has to answer; firmware waits 3 to 4 s for the offer
	ProbeRequests = 2                      // spread over ProbeTime, since one may be lost
	MaxProbes     = 32                     // under way; further addresses are offered unprobed, so that probing never starves the workers
)

// ProberOptions makes a [Prober].
type ProberOptions struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: not counted anywhere
}

// Prober finds out by ARP whether an address is in use, as RFC 5227 has it. It can tell only of networks that this host is attached
// to by Ethernet; of all others it says that they are free.
type Prober struct {
	log     *slog.Logger
	slots   chan struct{}
	results *prometheus.CounterVec
	blind   sync.Once
}

// NewProber returns a prober, which opens its sockets when it is asked.
func NewProber(opts ProberOptions) *Prober {
	p := &Prober{log: opts.Log, slots: make(chan struct{}, MaxProbes), results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "matchd_dhcp_probes_total", Help: "ARP probes before offering an address, by result.",
	}, []string{"result"})}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if opts.Metrics != nil {
		opts.Metrics.MustRegister(p.results)
	}
	return p
}

// InUse reports whether somebody answers for addr. Without CAP_NET_RAW nothing can be found out, which is logged once.
func (p *Prober) InUse(ctx context.Context, addr netip.Addr) bool {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		p.results.WithLabelValues("skipped").Inc()
		return false
	}
	iface, own := attachedTo(addr)
	if own { // nobody answers ARP for it on our side
		p.results.WithLabelValues("own").Inc()
		return true
	}
	if iface == nil {
		p.results.WithLabelValues("unreachable").Inc()
		return false
	}
	used, err := askOwner(ctx, iface, addr)
	switch {
	case err != nil:
		p.results.WithLabelValues("failed").Inc()
		p.blind.Do(func() {
			p.log.Warn("cannot probe addresses before offering them", "interface", iface.Name, "error", err)
		})
	case used:
		p.results.WithLabelValues("used").Inc()
		p.log.Warn("address is in use by a machine that has no lease", "address", addr, "interface", iface.Name)
	default:
		p.results.WithLabelValues("free").Inc()
	}
	return used
}

// attachedTo returns the Ethernet interface whose network holds addr, nil if there is none, and whether addr is our own.
func attachedTo(addr netip.Addr) (found *net.Interface, own bool) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, false
	}
	for i := range interfaces {
		link, err := lookup(Interface{Name: interfaces[i].Name})
		if err != nil {
			continue
		}
		own = own || link.owns(addr)
		if found == nil && len(link.Hardware) == len(etherBroadcast) && link.onLink(addr) {
			found = &interfaces[i]
		}
	}
	return found, own
}

func askOwner(ctx context.Context, iface *net.Interface, addr netip.Addr) (bool, error) {
	conn, err := packet.Listen(iface, packet.Raw, etherARP, nil)
	if err != nil {
		return false, fmt.Errorf("opening a raw socket: %w", err)
	}
	defer conn.Close()
	probe := arpProbe(iface.HardwareAddr, addr)
	answered := func(frame []byte) bool { return arpFrom(frame, addr, iface.HardwareAddr) }
	for range ProbeRequests {
		if _, err := conn.WriteTo(probe, &packet.Addr{HardwareAddr: etherBroadcast}); err != nil {
			return false, fmt.Errorf("sending ARP: %w", err)
		}
		found, err := listen(ctx, conn, ProbeTime/ProbeRequests, answered)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// listen reads frames until done says so (true), the time is over or ctx ends (false).
func listen(ctx context.Context, conn *packet.Conn, wait time.Duration, done func(frame []byte) bool) (bool, error) {
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return false, fmt.Errorf("setting a deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, maxPacketSize)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading frames: %w", err)
		}
		if done(buffer[:n]) {
			return true, nil
		}
	}
}
