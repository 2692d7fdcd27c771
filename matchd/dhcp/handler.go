package dhcp

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// Reasons for which a packet gets no answer, as the metric matchd_dhcp_dropped_total has them.
const (
	dropMalformed   = "malformed"
	dropOff         = "off"
	dropNoAddress   = "no-own-address"
	dropNotBoot     = "not-a-boot-client"
	dropType        = "type-not-served"
	dropHTTP        = "http-on-boot-port"
	dropIgnored     = "ignored"
	dropRefused     = "refused"
	dropNoSubnet    = "no-subnet"
	dropExhausted   = "no-free-address"
	dropOtherServer = "other-server"
	dropUnknown     = "unknown-client"
	dropIncomplete  = "incomplete"
	dropFailed      = "failed"
	dropNoReply     = "no-reply-due"
	dropQueue       = "queue-full"
	dropBusy        = "busy"
	dropPanic       = "panic"
	dropSend        = "not-sent"
)

// Handler answers packets, without sockets. It is safe for concurrent use.
type Handler struct {
	subnets    []Subnet
	proxyOffer ProxyOffer
	booter     Booter
	addresser  Addresser
	registry   Registry
	recorder   Recorder
	log        *slog.Logger
	metrics    *metrics
	refusals   limiter
	failures   limiter
}

// Outgoing is a reply on its way.
type Outgoing struct {
	Packet []byte
	To     Destination
	Source netip.Addr // our address to send from
}

// NewHandler checks the options; what it refuses is an error of kind Invalid.
func NewHandler(opts Options) (*Handler, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	h := &Handler{
		subnets: slices.Clone(opts.Subnets), proxyOffer: opts.ProxyOffer, booter: opts.Booter, addresser: opts.Addresser,
		registry: opts.Registry, recorder: opts.Recorder, log: opts.Log, metrics: newMetrics(opts.Metrics),
	}
	for i := range h.subnets {
		subnet := &h.subnets[i]
		subnet.Prefix = subnet.Prefix.Masked()
		subnet.Reserved = maps.Clone(subnet.Reserved)
		for addr, settings := range subnet.Reserved {
			subnet.Reserved[addr] = settings.over(subnet.Settings)
		}
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.registry == nil {
		h.registry = nobody{}
	}
	if h.recorder == nil {
		h.recorder = nobody{}
	}
	return h, nil
}

// nobody is told what nobody wants to know.
type nobody struct{}

func (nobody) Observe(machine.Machine) {}
func (nobody) Record(event.Event)      {}

// Handle answers one packet; ok is false where silence is the answer. It blocks while a lease is made durable or an address is
// probed, so callers need more than one.
func (h *Handler) Handle(ctx context.Context, via *Arrival, packet []byte) (out Outgoing, ok bool) {
	start := time.Now()
	q, err := Parse(packet)
	if err != nil {
		h.metrics.dropped(dropMalformed)
		if h.log.Enabled(ctx, slog.LevelDebug) {
			h.log.LogAttrs(ctx, slog.LevelDebug, "dhcp packet not understood",
				slog.String("interface", via.Link.Name), slog.Any("source", via.Source), slog.Any("error", err))
		}
		return Outgoing{}, false
	}
	h.metrics.received(q.Type)
	x := &exchange{Handler: h, q: q, via: via, scope: h.locate(q, via)}
	reply, reason := x.answer(ctx)
	if reply == nil {
		h.metrics.dropped(reason)
		x.debug(ctx, "dhcp packet not answered", reason)
		return Outgoing{}, false
	}
	out = Outgoing{Packet: reply.Bytes(q), To: reply.route(q, via), Source: x.scope.server}
	h.metrics.answered(reply.Type, time.Since(start))
	x.debug(ctx, "dhcp packet answered", reply.Type.String())
	return out, true
}

// exchange is one question being answered.
type exchange struct {
	*Handler
	q     *Query
	via   *Arrival
	scope scope
	again bool // the timeline has the boot's decision from an earlier packet
}

// answer returns the reply, or why there is none.
func (x *exchange) answer(ctx context.Context) (*Reply, string) {
	switch {
	case x.scope.mode == Off:
		return nil, dropOff
	case !x.scope.server.Is4():
		return nil, dropNoAddress
	case x.via.BootPort:
		return x.bootPort(ctx)
	case x.scope.mode == Proxy:
		return x.proxy(ctx)
	}
	return x.serve(ctx)
}

// proxy answers on port 67 beside somebody else's server: only DISCOVER, and only of boot clients (FIRMWARE fact 50).
func (x *exchange) proxy(ctx context.Context) (*Reply, string) {
	if x.q.Type != dhcpv4.MessageTypeDiscover {
		return nil, dropType
	}
	if !x.q.IsBoot {
		return nil, dropNotBoot
	}
	x.seen(ctx)
	decision, reason := x.decide(ctx)
	if decision == nil {
		return nil, reason
	}
	reply := x.reply(dhcpv4.MessageTypeOffer)
	reply.Decision, reply.Style = decision, x.proxyOffer.style(x.q)
	x.offered(decision, nil, reply.Style)
	return reply, ""
}

// bootPort answers PXE's second question, from a client that has its address. It takes every architecture: some PXE 2.0 ROMs come
// here though they were told the file (FIRMWARE fact 50). UEFI's HTTP client has no business here (fact 16).
func (x *exchange) bootPort(ctx context.Context) (*Reply, string) {
	switch {
	case x.q.Type != dhcpv4.MessageTypeRequest && x.q.Type != dhcpv4.MessageTypeInform:
		return nil, dropType
	case x.q.Boot.HTTPBoot:
		return nil, dropHTTP
	case !x.q.IsBoot:
		return nil, dropNotBoot
	}
	x.observe(x.q.Client)
	decision, reason := x.decide(ctx)
	if decision == nil {
		return nil, reason
	}
	reply := x.reply(dhcpv4.MessageTypeAck)
	reply.Decision = decision
	x.offered(decision, nil, Whole)
	return reply, ""
}

// reply starts a reply with what every one has.
func (x *exchange) reply(kind dhcpv4.MessageType) *Reply {
	return &Reply{Type: kind, Server: x.scope.id, Own: x.scope.server, MTU: x.via.Link.MTU}
}

// decide asks what the machine may boot. Without a boot file to give it returns nil and why; the timeline has it already.
func (x *exchange) decide(ctx context.Context) (*boot.Decision, string) {
	x.q.Boot.Server = x.scope.server
	decision := x.booter.Stage(ctx, x.q.Boot)
	if problem := x.unfit(&decision); problem != "" {
		decision.Action, decision.Reason = boot.Refuse, problem
	}
	switch decision.Action {
	case boot.Load, boot.Script:
		return &decision, ""
	case boot.Refuse:
		if !x.again {
			x.refused(ctx, &decision)
		}
		return nil, dropRefused
	}
	if !x.again {
		x.record(event.Event{Stage: event.Ignored, Message: decision.Reason})
	}
	return nil, dropIgnored
}

// observe hands on what the packet told of its sender.
func (x *exchange) observe(address netip.Addr) {
	m := x.q.Boot.Machine
	m.Address = address
	x.registry.Observe(m)
}

// leaseRequest is the query as the lease policy wants it, for one of the subnets that the client's link has.
func (x *exchange) leaseRequest(subnet *Subnet, kind lease.Kind, address netip.Addr) lease.Request {
	return lease.Request{
		Kind: kind, MAC: x.q.Boot.Machine.MAC, ClientID: x.q.ClientID, CircuitID: x.q.CircuitID,
		Link: subnet.Prefix.Addr(), Address: address, Firmware: x.q.IsBoot, Hostname: x.q.Hostname,
	}
}
