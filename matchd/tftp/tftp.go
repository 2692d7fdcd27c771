// Package tftp serves files by the Trivial File Transfer Protocol (RFC 1350) to firmware and network boot programs.
//
// It reads only: a write is refused. It negotiates the options blksize (RFC 2348), tsize (RFC 2349) and windowsize (RFC 7440) where they
// are asked for and ignores all others. What a name stands for is the [Source]'s affair; an answer always comes, and at once: a file, or an
// ERROR that says why not, since firmware waits for minutes on silence.
//
// The protocol machine is the library pin/tftp's. Around it stands a wire of ours (wire.go), because version 3.2.0 of the library
// does not do some of what firmware needs (each found in its source):
//   - it clamps blksize to the MTU less 28 bytes and forgets TFTP's own 4, so a full block leaves in fragments, which boot ROMs cannot take;
//   - the clamp cannot differ by machine, and names of options must be in lower case (RFC 2347 says that case does not matter);
//   - it never acknowledges windowsize; its "anticipate" mode sends windows to clients that did not agree to any;
//   - its only error code is 1, and it answers a client's ERROR with an ERROR;
//   - every request starts a goroutine and a socket before anybody can refuse it, and a request sent again starts a second transfer;
//   - in single-port mode, a packet that comes while its transfer ends can bring the process down (send on a closed channel).
//
// So we read the listening socket, decide, and give each transfer a library server of its own over a connection that is ours. That
// connection carries a request whose options are already what they shall be, turns the library's lock-step into windows, and retransmits.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
)

// Bounds and times of a [Server].
const (
	// DefaultMaxTransfers is the number of transfers at once; a request beyond it gets an ERROR.
	DefaultMaxTransfers = 256
	// MaxWindow is the largest window that is granted, in blocks.
	MaxWindow = 64
	// minPerPeer is the number of transfers that one address may always have; with many transfers allowed it may have a quarter of them.
	minPerPeer = 16
	// maxRequest is the size of the longest request that is looked at, in bytes. RFC 2347 ends requests at 512.
	maxRequest = 1024
	// openTimeout is how long the source may take to open a file: firmware asks again after a few seconds.
	openTimeout = 10 * time.Second
	// drainTime is how long transfers may go on after Serve was told to end.
	drainTime = 3 * time.Second
	// firstTimeout is how long an acknowledgement is waited for at first; it doubles up to lastTimeout. EDK2 and iPXE ask again after 1 to 4 s.
	firstTimeout = time.Second
	lastTimeout  = 5 * time.Second
	// maxRetransmits is how often a block is sent again before the client is given up: after 27 s.
	maxRetransmits = 6
)

// Source opens files. [bootfile.Space] is one.
type Source interface {
	// Open returns the file with the given name, to be closed by the caller. An error of kind fault.NotFound becomes ERROR 1, fault.Denied
	// ERROR 2, any other ERROR 0; its text stays here.
	Open(ctx context.Context, r bootfile.Request) (*bootfile.File, error)
	// Whose returns the machine that asks, as far as name and address tell; empty if they do not.
	Whose(name string, peer netip.Addr) machine.MAC
}

// Recorder takes the timeline's events. It never blocks.
type Recorder interface{ Record(event.Event) }

// Options configure a [Server]. Source, Recorder and Logger are required.
type Options struct {
	Source   Source
	Recorder Recorder
	Logger   *slog.Logger
	// Metrics is where the server's metrics are registered; nil for none.
	Metrics prometheus.Registerer
	// BaseURL returns how a machine that reached us at the given address reaches our HTTP. It is handed on to the source; nil gives "".
	BaseURL func(local netip.Addr) string
	// BlockSize returns the largest block of a machine in bytes, 0 for what the MTU allows. Some firmware fails above 1024 (OVMF, crowbar
	// PR#1078). Nil means 0 for all.
	BlockSize func(machine.MAC) int
	// MaxTransfers is the number of transfers at once; 0 means DefaultMaxTransfers.
	MaxTransfers int
	// SinglePort answers from the listening port instead of a port per transfer. That passes through NAT, but picky ROMs refuse it.
	SinglePort bool
}

// Server serves files. Its methods are safe for concurrent use.
type Server struct {
	o       Options
	perPeer int
	metrics *metrics
	mtu     func(index int) int
}

// New returns a server that does nothing yet.
func New(o Options) (*Server, error) {
	if o.Source == nil || o.Recorder == nil || o.Logger == nil {
		return nil, errors.New("tftp: Source, Recorder and Logger are required")
	}
	if o.MaxTransfers < 0 {
		return nil, fmt.Errorf("tftp: MaxTransfers is %d, want 0 or more", o.MaxTransfers)
	}
	if o.MaxTransfers == 0 {
		o.MaxTransfers = DefaultMaxTransfers
	}
	if o.BaseURL == nil {
		o.BaseURL = func(netip.Addr) string { return "" }
	}
	if o.BlockSize == nil {
		o.BlockSize = func(machine.MAC) int { return 0 }
	}
	return &Server{o: o, perPeer: max(minPerPeer, o.MaxTransfers/4), metrics: newMetrics(o.Metrics), mtu: interfaceMTU}, nil
}

// Listen binds a UDP socket of both address families for [Server.Serve], port 0 for any.
func Listen(ctx context.Context, address string) (*net.UDPConn, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for TFTP: %w", err)
	}
	return conn.(*net.UDPConn), nil
}

// interfaceMTU returns the MTU of an interface in bytes, that of Ethernet where it cannot be had.
func interfaceMTU(index int) int {
	if ifi, err := net.InterfaceByIndex(index); err == nil && ifi.MTU > 0 {
		return ifi.MTU
	}
	return 1500
}
