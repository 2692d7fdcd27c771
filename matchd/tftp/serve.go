package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/fault"
)

// Serve answers on conn until ctx ends, then lets transfers go on for a moment, closes conn and returns nil. It fails when the socket does.
func (s *Server) Serve(ctx context.Context, conn *net.UDPConn) error {
	if err := wantArrival(conn); err != nil {
		return errors.Join(fmt.Errorf("asking for arrival addresses: %w", err), conn.Close())
	}
	transfers, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	f := &front{server: s, conn: conn, ctx: transfers, byPeer: map[netip.AddrPort]*transfer{}, byAddr: map[netip.Addr]int{}}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) }) // wakes the loop
	defer stop()
	err := f.loop(ctx)
	f.drain(abort)
	return errors.Join(err, conn.Close())
}

// front is one listening socket with its transfers.
type front struct {
	server *Server
	conn   *net.UDPConn
	ctx    context.Context // of the transfers; it ends when they have to
	wg     sync.WaitGroup

	mu     sync.Mutex
	byPeer map[netip.AddrPort]*transfer
	byAddr map[netip.Addr]int // transfers of one address
	active int                // transfers of all
}

func (f *front) loop(ctx context.Context) error {
	packet, control := make([]byte, maxRequest), make([]byte, 256)
	for {
		n, nc, _, peer, err := f.conn.ReadMsgUDPAddrPort(packet, control)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("reading TFTP socket: %w", err)
		}
		if err != nil {
			// A packet that was too long, or an ICMP message about a packet of ours: the next one may be fine.
			f.server.metrics.requests.WithLabelValues(outcomeMalformed).Inc()
			continue
		}
		local, index := arrival(f.conn, control[:nc])
		if !local.IsValid() {
			local = routed(peer)
		}
		f.handle(packet[:n], arrived{peer: netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), local: local, index: index})
	}
}

// drain waits for transfers, and ends those that take too long.
func (f *front) drain(abort context.CancelFunc) {
	timer := time.AfterFunc(drainTime, abort)
	defer timer.Stop()
	if f.server.o.SinglePort {
		abort() // nobody reads acknowledgements any more
	}
	f.wg.Wait()
}

// arrived says between whom a request went.
type arrived struct {
	peer  netip.AddrPort
	local netip.Addr // that the client asked; invalid if unknown
	index int        // of the interface
}

// handle takes one packet of the listening socket.
func (f *front) handle(packet []byte, a arrived) {
	f.mu.Lock()
	running := f.byPeer[a.peer]
	f.mu.Unlock()
	if running != nil && running.shared != nil && !isRequest(packet) {
		running.shared.deliver(packet)
		return
	}
	r, silent, err := parseRequest(packet)
	if silent {
		return
	}
	if err != nil {
		f.refuse(packet, a, err)
		return
	}
	if running != nil {
		if bytes.Equal(running.packet, packet) && !running.answered.Load() {
			return // sent again because our first answer is late or lost; it is under way, and sent again too
		}
		running.stop(errSuperseded)
	}
	t := f.server.newTransfer(f, r, a, packet)
	if !f.admit(t) {
		f.server.metrics.requests.WithLabelValues(outcomeBusy).Inc()
		f.server.o.Logger.Warn("refusing a TFTP transfer: too many at once", "peer", a.peer, "file", r.name, "limit", f.server.o.MaxTransfers)
		f.reply(a, errorPacket(codeUndefined, "too many transfers, try again"))
		return
	}
	f.wg.Go(func() {
		defer f.leave(t)
		t.run(f.ctx)
	})
}

func isRequest(packet []byte) bool {
	return len(packet) >= 2 && packet[0] == 0 && (packet[1] == opRead || packet[1] == opWrite)
}

func (f *front) refuse(packet []byte, a arrived, err error) {
	f.server.metrics.requests.WithLabelValues(outcomeMalformed).Inc()
	f.server.o.Logger.Info("refusing a TFTP request", "peer", a.peer, "reason", err, "bytes", len(packet))
	var protocol *protocolError
	if errors.As(err, &protocol) {
		f.reply(a, errorPacket(protocol.code, protocol.text))
	}
}

// reply sends one packet from the listening port. What is lost, the client asks for again.
func (f *front) reply(a arrived, p []byte) {
	_, _, _ = f.conn.WriteMsgUDPAddrPort(p, sourceControl(f.conn, a.local), peerOn(f.conn, a.peer))
}

// admit counts a transfer in, unless there are too many.
func (f *front) admit(t *transfer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	addr := t.arrived.peer.Addr()
	if f.byAddr[addr] >= f.server.perPeer || f.active >= f.server.o.MaxTransfers && !f.makeRoomLocked() {
		return false
	}
	f.active++
	f.byAddr[addr]++
	f.byPeer[t.arrived.peer] = t
	f.server.metrics.active.Inc()
	return true
}

// makeRoomLocked ends the transfer that has been without any answer for longest: requests with made-up senders must not keep machines out,
// which answer within a moment.
func (f *front) makeRoomLocked() bool {
	var silent *transfer
	for _, t := range f.byPeer {
		if !t.answered.Load() && (silent == nil || t.started.Before(silent.started)) {
			silent = t
		}
	}
	if silent == nil {
		return false
	}
	f.leaveLocked(silent)
	silent.stop(errCrowdedOut)
	return true
}

// leave counts a transfer out.
func (f *front) leave(t *transfer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveLocked(t)
}

// leaveLocked counts a transfer out, once. Its peer may have a newer one by now.
func (f *front) leaveLocked(t *transfer) {
	if t.left {
		return
	}
	t.left = true
	f.active--
	addr := t.arrived.peer.Addr()
	if f.byAddr[addr]--; f.byAddr[addr] == 0 {
		delete(f.byAddr, addr)
	}
	if f.byPeer[t.arrived.peer] == t {
		delete(f.byPeer, t.arrived.peer)
	}
	f.server.metrics.active.Dec()
}

// errorCode translates a source's error for the client.
func errorCode(err error) (code uint16, text string) {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return codeNotFound, "file not found"
	case fault.Denied:
		return codeDenied, "access denied"
	case fault.Unavailable:
		return codeUndefined, "not ready, try again"
	}
	return codeUndefined, "server failure"
}
