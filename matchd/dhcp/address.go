package dhcp

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
)

// serve answers on port 67 as the DHCP server of the client's subnet.
func (x *exchange) serve(ctx context.Context) (*Reply, string) {
	if len(x.scope.subnets) == 0 {
		return nil, dropNoSubnet
	}
	switch x.q.Type {
	case dhcpv4.MessageTypeDiscover:
		return x.discover(ctx)
	case dhcpv4.MessageTypeRequest:
		return x.request(ctx)
	case dhcpv4.MessageTypeInform:
		return x.inform(ctx)
	case dhcpv4.MessageTypeDecline:
		return nil, x.decline(ctx)
	case dhcpv4.MessageTypeRelease:
		return nil, x.release(ctx)
	}
	return nil, dropType
}

// discover offers an address, and in the same packet what to boot.
func (x *exchange) discover(ctx context.Context) (*Reply, string) {
	if x.q.IsBoot {
		x.seen(ctx)
	}
	grant, reason := x.offer(ctx)
	if grant == nil {
		return nil, reason
	}
	reply := x.granted(dhcpv4.MessageTypeOffer, grant)
	if x.q.IsBoot {
		if reply.Decision, _ = x.decide(ctx); reply.Decision != nil {
			x.offered(reply.Decision, grant, Whole)
		}
	}
	return reply, ""
}

// offer tries the subnets of the client's link in order.
func (x *exchange) offer(ctx context.Context) (*lease.Grant, string) {
	var failure error
	for _, subnet := range x.scope.subnets {
		grant, err := x.addresser.Offer(ctx, x.leaseRequest(subnet, lease.Selecting, x.q.Requested))
		if err == nil {
			return &grant, ""
		}
		if !fault.Is(err, fault.NotFound) {
			failure = err
		}
	}
	if failure == nil {
		return nil, dropUnknown
	}
	x.failed(ctx, "no address to offer", failure)
	if fault.Is(failure, fault.Unavailable) {
		return nil, dropExhausted
	}
	return nil, dropFailed
}

// request commits a lease in each of the states of RFC 2131 section 4.3.2.
func (x *exchange) request(ctx context.Context) (*Reply, string) {
	kind, address := x.kindOf()
	switch {
	case x.q.ServerID.IsValid() && !x.ours(x.q.ServerID):
		for _, subnet := range x.scope.subnets {
			x.addresser.Withdraw(x.leaseRequest(subnet, lease.Selecting, x.q.Requested))
		}
		return nil, dropOtherServer
	case !address.IsValid():
		return nil, dropIncomplete
	}
	grant, err := x.addresser.Commit(ctx, x.leaseRequest(x.subnetFor(address), kind, address))
	switch {
	case fault.Is(err, fault.Conflict):
		x.denied(ctx, address, err)
		reply := x.reply(dhcpv4.MessageTypeNak)
		reply.Message = "address not available"
		return reply, ""
	case fault.Is(err, fault.NotFound):
		return nil, dropUnknown
	case err != nil:
		x.failed(ctx, "lease not kept", err)
		return nil, dropFailed
	}
	reply := x.granted(dhcpv4.MessageTypeAck, &grant)
	if x.q.IsBoot {
		x.again = kind == lease.Selecting
		reply.Decision, _ = x.decide(ctx)
	}
	x.leased(&grant, reply.Decision)
	return reply, ""
}

// kindOf tells the state of a client that sends a REQUEST, and the address that it wants.
func (x *exchange) kindOf() (lease.Kind, netip.Addr) {
	switch {
	case x.q.Client.IsValid() && !x.q.Relay.IsValid() && x.via.Link.owns(x.via.Dest):
		return lease.Renewing, x.q.Client
	case x.q.Client.IsValid():
		return lease.Rebinding, x.q.Client
	case x.q.ServerID.IsValid():
		return lease.Selecting, x.q.Requested
	}
	return lease.InitReboot, x.q.Requested
}

// ours reports whether a server identifier means us.
func (x *exchange) ours(id netip.Addr) bool {
	return id == x.scope.id || id == x.q.Override || x.via.Link.owns(id)
}

// subnetFor returns the subnet of the client's link that holds address, else the first.
func (x *exchange) subnetFor(address netip.Addr) *Subnet {
	for _, subnet := range x.scope.subnets {
		if subnet.Prefix.Contains(address) {
			return subnet
		}
	}
	return x.scope.subnets[0]
}

// inform tells a client that has its address everything else (RFC 2131 section 3.4).
func (x *exchange) inform(ctx context.Context) (*Reply, string) {
	if !x.q.Client.IsValid() {
		return nil, dropIncomplete
	}
	subnet := x.subnetFor(x.q.Client)
	if !subnet.Prefix.Contains(x.q.Client) {
		return nil, dropNoSubnet
	}
	x.observe(x.q.Client)
	reply := x.reply(dhcpv4.MessageTypeAck)
	reply.Subnet, reply.Settings = subnet.Prefix, x.settings(subnet, x.q.Client)
	if x.q.IsBoot {
		reply.Decision, _ = x.decide(ctx)
	}
	return reply, ""
}

func (x *exchange) decline(ctx context.Context) string {
	if x.q.ServerID.IsValid() && !x.ours(x.q.ServerID) {
		return dropOtherServer
	}
	address := x.q.Requested
	err := x.addresser.Decline(ctx, x.leaseRequest(x.subnetFor(address), lease.Selecting, address))
	if err != nil {
		return x.unmoved(ctx, "decline not kept", err)
	}
	x.record(event.Event{
		Stage: event.Declined, Level: event.Warn, Message: "found " + address.String() + " in use by somebody else",
		Attrs: map[string]string{event.AttrAddress: address.String()},
	})
	return dropNoReply
}

func (x *exchange) release(ctx context.Context) string {
	if x.q.ServerID.IsValid() && !x.ours(x.q.ServerID) {
		return dropOtherServer
	}
	address := x.q.Client
	err := x.addresser.Release(ctx, x.leaseRequest(x.subnetFor(address), lease.Renewing, address))
	if err != nil {
		return x.unmoved(ctx, "release not kept", err)
	}
	x.record(event.Event{
		Stage: event.Released, Message: "gave " + address.String() + " back",
		Attrs: map[string]string{event.AttrAddress: address.String()},
	})
	return dropNoReply
}

// unmoved says why a release or decline changed nothing: not theirs to give, or our failure.
func (x *exchange) unmoved(ctx context.Context, what string, err error) string {
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict) {
		return dropUnknown
	}
	x.failed(ctx, what, err)
	return dropFailed
}

// granted is a reply with an address and what belongs to it.
func (x *exchange) granted(kind dhcpv4.MessageType, grant *lease.Grant) *Reply {
	reply := x.reply(kind)
	reply.Grant = grant
	subnet := x.subnetFor(grant.Lease.Address)
	reply.Subnet, reply.Settings = subnet.Prefix, x.settings(subnet, grant.Lease.Address)
	return reply
}

// settings returns what the client at address is told. Behind a relay it is given a router, or it could not reach us
// (FIRMWARE fact 43).
func (x *exchange) settings(subnet *Subnet, address netip.Addr) *Settings {
	settings := &subnet.Settings
	if reserved, ok := subnet.Reserved[address]; ok {
		settings = &reserved
	}
	if len(settings.Router) == 0 && x.q.Relay.IsValid() && subnet.Prefix.Contains(x.q.Relay) {
		routed := *settings
		routed.Router = []netip.Addr{x.q.Relay}
		settings = &routed
	}
	return settings
}

func (x *exchange) leased(grant *lease.Grant, decision *boot.Decision) {
	x.observe(grant.Lease.Address)
	attrs := map[string]string{event.AttrAddress: grant.Lease.Address.String()}
	if grant.Lease.Hostname != "" {
		attrs[event.AttrHostname] = grant.Lease.Hostname
	}
	if decision != nil {
		attrs[event.AttrFile] = decision.File
	}
	x.record(event.Event{
		Stage: event.Leased, Attrs: attrs,
		Message: "has " + grant.Lease.Address.String() + " for " + grant.Time.String(),
	})
}

// denied is a NAK for the timeline.
func (x *exchange) denied(ctx context.Context, address netip.Addr, err error) {
	x.record(event.Event{
		Stage: event.Refused, Level: event.Warn, Error: err.Error(),
		Message: "may not use " + address.String() + ", told to ask again",
		Attrs:   map[string]string{event.AttrAddress: address.String()},
	})
	x.log.LogAttrs(ctx, slog.LevelInfo, "address refused", slog.String("mac", x.q.Boot.Machine.MAC.String()),
		slog.Any("address", address), slog.Any("error", err))
}
