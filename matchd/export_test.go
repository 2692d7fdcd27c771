package matchd

import (
	"context"
	"net/netip"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/rpc"
)

// PlayAt plays a boot on a link of the test's own: tests have no port 67. The relay may be the zero address.
func (s *Server) PlayAt(ctx context.Context, link *dhcp.Link, relay netip.Addr, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
	return s.playAt(ctx, place{link: link, relay: relay}, m, emit)
}

// Leases returns what the pool remembers.
func (s *Server) Leases() int { return len(s.pool.Leases()) }

// Tracked returns how many machines are remembered.
func (s *Server) Tracked() int { return s.machines.Len() }
