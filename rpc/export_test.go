package rpc

import (
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
)

// Register offers further services before the server serves.
func (s *Server) Register(register func(grpc.ServiceRegistrar)) { register(strict{s.grpc}) }

// Bounded returns a listener with the server's bounds.
func Bounded(listener net.Listener) net.Listener {
	m := newMetrics(nil)
	return newBounded(listener, newRefusals(slog.New(slog.DiscardHandler), m, time.Now), m)
}

// RecheckEvery has streams look at their client's authority that often.
func (o *Options) RecheckEvery(interval time.Duration) { o.recheckInterval = interval }

// Policy returns the rules as "METHOD action scoped|unscoped".
func Policy() map[string][2]string {
	rules := map[string][2]string{}
	for method, rule := range policy {
		scope := ""
		if rule.scoped {
			scope = "scoped"
		}
		rules[method] = [2]string{string(rule.action), scope}
	}
	return rules
}

// Bounds of the server.
const (
	MaxConnections = maxConnections
	MaxPerHost     = maxPerHost
	MaxIdentities  = maxIdentities
)
