package matchd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/web"
	"github.com/matchd/matchd/rpc"
)

// maxPlayed bounds what is read of one file when a boot is played, bytes: network boot programs have a few million. Kernels and initrds are
// not read.
const maxPlayed = 16 << 20

// Actors of a simulation's steps besides those of the pretend firmware.
const (
	actorServer    = "matchd"
	actorNeighbour = "another DHCP server"
)

// readParts is what the API tells about machines from.
func (s *Server) readParts() rpc.ReadParts {
	parts := rpc.ReadParts{Inspector: s.inspector(), Simulator: simulator{s}, Events: s.events, Leases: noLeases{}}
	if s.pool != nil {
		parts.Leases = s.pool
	}
	if s.assets != nil {
		parts.Assets = s.assets
	}
	return parts
}

// inspector answers people's questions about machines.
func (s *Server) inspector() *inspect.Inspector {
	return inspect.New(inspect.Options{
		Catalog: s.catalog, Planner: s.planner, Machines: s.machines,
		Named: func(name string) (machine.Machine, bool) {
			found, ok := s.events.Timeline(name)
			return machine.Machine{MAC: found.MAC, UUID: found.UUID, Hostname: found.Hostname}, ok
		},
		BaseURL: func(m machine.Machine) string { return s.planner.BaseURL(s.place(m).address()) },
	})
}

// simulator plays boots against what the server serves now. All that a boot would leave behind, it leaves in copies that nobody keeps: what is learned
// of the machine, its lease, its timeline, the log and the metrics. No socket is opened.
type simulator struct{ server *Server }

// Simulate implements [rpc.Simulator].
func (s simulator) Simulate(ctx context.Context, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
	known, ok := s.server.machines.ByMAC(m.MAC)
	if !ok {
		known = machine.Machine{MAC: m.MAC}
	}
	return s.server.playAt(ctx, s.server.place(known), m, emit)
}

// playAt plays a boot at a place of the network.
func (s *Server) playAt(ctx context.Context, at place, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
	p, err := s.pretend(at, m, emit)
	if err != nil {
		return rpc.Outcome{Text: "this server could not play the boot: " + err.Error()}
	}
	if at.assumed != "" {
		p.tell(actorServer, "%s", at.assumed)
	}
	wires := firmware.Wires{DHCP: p, TFTP: pretendTFTP{p}, HTTP: firmware.Handlers{
		Find: p.find, Client: func() netip.Addr { return p.address }, MaxBody: maxPlayed,
	}}
	trace := firmware.Play(ctx, m, wires, firmware.Options{Emit: emit, Sizes: true, Config: true})
	p.showEmbedded(ctx, &trace)
	return p.outcome(&trace)
}

// place is where a machine is in the network.
type place struct {
	link    *dhcp.Link
	relay   netip.Addr // zero: it is on the link itself
	assumed string     // for people: why the place is made up; empty: it is real
}

func (p place) address() netip.Addr { return p.link.Addrs[0].Addr() }

// place returns where a machine was heard of last, else where it would be: on the link with its address, on the first one that DHCP is answered on, and
// where it is not, on one that is made up.
func (s *Server) place(m machine.Machine) place {
	var links []*dhcp.Link
	if s.dhcp != nil {
		for _, link := range s.dhcp.Links() {
			if link.Mode != dhcp.Off && len(link.Addrs) > 0 {
				links = append(links, link)
			}
		}
	}
	if len(links) == 0 {
		own := netip.PrefixFrom(s.ownAddress(), 24)
		return place{
			link:    &dhcp.Link{Name: "none", MTU: 1500, Mode: dhcp.Proxy, Addrs: []netip.Prefix{own}},
			assumed: "answers no DHCP here: this is played as if another server gave the address and named the boot file that matchd's proxy would name",
		}
	}
	if m.MAC != "" {
		if heard, ok := s.lastPlace(m.MAC, links); ok {
			return heard
		}
	}
	for _, link := range links {
		for _, network := range link.Addrs {
			if network.Contains(m.Address) {
				return place{link: link}
			}
		}
	}
	return place{link: links[0]}
}

// lastPlace returns where a machine last asked for a boot, as its timeline has it.
func (s *Server) lastPlace(mac machine.MAC, links []*dhcp.Link) (place, bool) {
	timeline, _ := s.events.Timeline(mac.String())
	for i := len(timeline.Events) - 1; i >= 0; i-- {
		attrs := timeline.Events[i].Attrs
		for _, link := range links {
			if timeline.Events[i].Stage == event.Seen && attrs[dhcp.AttrInterface] == link.Name {
				relay, _ := netip.ParseAddr(attrs[dhcp.AttrRelay]) // none: on the link
				return place{link: link, relay: relay}, true
			}
		}
	}
	return place{}, false
}

// ownAddress is an address of ours where no interface tells: the one that HTTP is bound to, the one that machines are told, or one for documentation
// (RFC 5737).
func (s *Server) ownAddress() netip.Addr {
	host := s.cfg.Advertise
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	advertised, _ := netip.ParseAddr(host)
	bound, _ := s.bootListener.Addr().(*net.TCPAddr)
	for _, address := range []netip.Addr{bound.AddrPort().Addr().Unmap(), advertised} {
		if address.Is4() && !address.IsUnspecified() {
			return address
		}
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 1})
}

// played is one boot being played.
type played struct {
	server *Server
	at     place
	mac    machine.MAC
	emit   func(firmware.Step)

	planner      *boot.Planner
	space        *bootfile.Space
	http, secure http.Handler
	handler      *dhcp.Handler
	neighbour    *firmware.Neighbour // nil: we give the address
	address      netip.Addr          // that the machine has

	plan    event.Event // the last that told the machine what to do
	trouble event.Event // the last that tells why something went wrong
}

// pretend puts together what answers the machine: the server's own parts, with copies of all that they would change.
func (s *Server) pretend(at place, m firmware.Machine, emit func(firmware.Step)) (*played, error) {
	machines := machine.NewRegistry(0)
	known, ok := s.machines.ByMAC(m.MAC)
	switch {
	case ok && known.Labels != nil:
		machines.Pin(known)
	case ok:
		machines.Observe(known)
	}
	p := &played{server: s, at: at, mac: m.MAC, emit: emit, planner: s.planner.With(machines)}
	roles := bootfile.NewRoles()
	p.space = &bootfile.Space{Loaders: s.loaders, Planner: p.planner, Assets: s.assets, Machines: machines, Roles: roles}
	silent := slog.New(slog.DiscardHandler)
	variant, err := s.web.Variant(func(o *web.Options) {
		o.Planner, o.Configurer, o.Files, o.Pointed, o.Machines, o.Roles = p.planner, p.planner, p.space, p.planner, machines, roles
		o.Recorder, o.Logger, o.Metrics = p, silent, nil
	})
	if err != nil {
		return nil, err
	}
	p.http, p.secure = variant.Handler(), variant.SecureHandler()
	options := s.dhcpOptions
	options.Booter, options.Registry, options.Recorder, options.Log, options.Metrics = p.planner, machines, p, silent, nil
	if s.pool != nil {
		options.Addresser = &previewed{pool: s.pool}
	}
	if p.handler, err = dhcp.NewHandler(options); err != nil {
		return nil, err
	}
	if !p.handler.Serves(at.link, at.relay) {
		p.neighbour = at.neighbour(known.Address)
	}
	return p, nil
}

// neighbour is the server that gives addresses beside a proxy. It gives the address that the machine is known to have, if that is of this network.
func (p place) neighbour(known netip.Addr) *firmware.Neighbour {
	network := p.link.Addrs[0]
	if p.relay.IsValid() {
		network = netip.PrefixFrom(p.relay, 24)
	}
	taken := []netip.Addr{p.address(), p.relay}
	free := func() netip.Addr {
		address := network.Masked().Addr().Next()
		for address == taken[0] || address == taken[1] || len(taken) > 2 && address == taken[2] {
			address = address.Next()
		}
		return address
	}
	if !known.Is4() || !network.Contains(known) || known == p.address() {
		known = free()
	}
	taken = append(taken, known)
	return &firmware.Neighbour{Server: free(), Client: netip.PrefixFrom(known, network.Bits())}
}

func (p *played) tell(actor, format string, args ...any) {
	p.emit(firmware.Step{Actor: actor, Text: fmt.Sprintf(format, args...)})
}

// Record implements the recorder of all edges: what would be on the timeline is a step.
func (p *played) Record(e event.Event) {
	text := string(e.Stage) + ": " + e.Message
	if e.Error != "" {
		text += ": " + e.Error
	}
	p.emit(firmware.Step{Actor: actorServer, Text: text, Bytes: e.Bytes})
	switch e.Stage {
	case event.ScriptSent, event.ToDisk, event.Held:
		p.plan = e
	case event.NotMatched, event.Ignored, event.Refused, event.ConfigRefused, event.Error:
		p.trouble = e
	}
}

// relayHeader is where a relay writes its address into a packet (giaddr, RFC 2131 figure 1).
const relayHeader = 24

// Exchange implements [firmware.DHCP].
func (p *played) Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	p.tell(actorServer, "receives %s, to %v", dhcp.Describe(packet), to)
	via := dhcp.Arrival{
		Link: p.at.link, Dest: to.Addr(), Source: netip.AddrPortFrom(netip.IPv4Unspecified(), dhcp.ClientPort), BootPort: to.Port() == dhcp.BootPort,
	}
	if p.at.relay.IsValid() && !via.BootPort && len(packet) > relayHeader+4 {
		relay := p.at.relay.As4()
		packet = append([]byte(nil), packet...)
		copy(packet[relayHeader:], relay[:])
		via.Dest, via.Source = p.at.address(), netip.AddrPortFrom(p.at.relay, dhcp.ServerPort)
	}
	var answers [][]byte
	if p.neighbour != nil && !via.BootPort {
		if reply := p.neighbour.Answer(packet); reply != nil {
			p.tell(actorNeighbour, "answers %s", dhcp.Describe(reply))
			answers = append(answers, reply)
		}
	}
	if via.BootPort && to.Addr() != p.at.address() {
		return nil, nil // it is not us who is asked
	}
	out, ok := p.handler.Handle(ctx, &via, packet)
	if !ok {
		p.tell(actorServer, "does not answer")
	} else {
		p.tell(actorServer, "answers %s, to %v", dhcp.Describe(out.Packet), out.To.To)
		answers = append(answers, out.Packet)
	}
	for _, answer := range answers {
		if given := netip.AddrFrom4([4]byte(answer[16:20])); !given.IsUnspecified() { // yiaddr
			p.address = given
		}
	}
	return answers, nil
}

// pretendTFTP reads files as the TFTP server would send them.
type pretendTFTP struct{ *played }

// Read implements [firmware.TFTP].
func (p pretendTFTP) Read(ctx context.Context, r firmware.TFTPRequest) ([]byte, int64, error) {
	switch {
	case r.Server != p.at.address():
		return nil, 0, firmware.ErrElsewhere
	case p.server.tftpConn == nil:
		return nil, 0, errors.New("TFTP is off here")
	}
	file, err := p.space.Open(ctx, bootfile.Request{
		Name: r.File, Peer: netip.AddrPortFrom(r.Client, dhcp.ClientPort), BaseURL: p.planner.BaseURL(p.at.address()), Fold: true,
	})
	if err != nil {
		if !r.SizeOnly || fault.Is(err, fault.NotFound) {
			p.trouble = event.Event{Stage: event.Refused, Message: "asked by TFTP for " + r.File, Error: err.Error()}
		}
		return nil, 0, err
	}
	defer file.Body.Close()
	if r.SizeOnly {
		return nil, file.Size, nil
	}
	data, err := io.ReadAll(io.LimitReader(file.Body, maxPlayed+1))
	if err == nil && len(data) > maxPlayed {
		err = fmt.Errorf("it is longer than %d bytes", maxPlayed)
	}
	if err != nil {
		return nil, 0, err
	}
	file.Event.Bytes = file.Size
	p.Record(file.Event)
	return data, file.Size, nil
}

// find returns the handler of ours that a URL leads to.
func (p *played) find(r *http.Request) (http.Handler, netip.AddrPort) {
	own := p.at.address()
	local := func(listener net.Listener) netip.AddrPort { return netip.AddrPortFrom(own, httpPort(listener.Addr())) }
	base, err := url.Parse(p.planner.BaseURL(own))
	if err != nil {
		return nil, netip.AddrPort{}
	}
	at := local(p.server.bootListener)
	if r.URL.Scheme == base.Scheme && (r.URL.Host == base.Host || r.URL.Host == at.String()) {
		return p.http, at
	}
	if p.server.secureListener == nil || r.URL.Scheme != "https" || r.URL.Hostname() != base.Hostname() {
		return nil, netip.AddrPort{}
	}
	if at := local(p.server.secureListener); r.URL.Port() == fmt.Sprint(at.Port()) {
		return p.secure, at
	}
	return nil, netip.AddrPort{}
}

// showEmbedded shows the config that came in an initrd, of which only the size was asked.
func (p *played) showEmbedded(ctx context.Context, trace *firmware.Trace) {
	if !trace.Booted {
		return
	}
	for _, initrd := range trace.Initrd {
		u, err := url.Parse(initrd)
		if err != nil || path.Base(u.Path) != boot.ConfigImageName {
			continue
		}
		values := u.Query()
		if !values.Has("mac") {
			values.Set("mac", p.mac.Hyphens())
		}
		labels, _ := groups.LabelsFromQuery(values)
		config, err := p.planner.Own(ctx, boot.Ask{Labels: labels, RawQuery: values.Encode(), BaseURL: p.planner.BaseURL(p.at.address())})
		if err == nil {
			p.emit(firmware.Step{Actor: "Ignition", Text: "has its config in the initrd " + boot.ConfigImageName, Bytes: int64(len(config.JSON)), Content: string(config.JSON)})
		}
	}
}

// outcome says how the boot ended, and why.
func (p *played) outcome(trace *firmware.Trace) rpc.Outcome {
	group, profile := p.plan.Attrs[event.AttrGroup], p.plan.Attrs[event.AttrProfile]
	switch {
	case trace.Booted && trace.Kernel != "":
		return rpc.Outcome{WouldBoot: true, Text: fmt.Sprintf("%s: group %q, profile %q", trace.Reason, group, profile)}
	case trace.Booted && group != "":
		return rpc.Outcome{WouldBoot: true, Text: "would boot from its disk: " + decision(p.plan)}
	case trace.Booted:
		return rpc.Outcome{Text: "would go to its disk: " + decision(p.plan)}
	}
	reasons := []string{trace.Reason}
	for _, missing := range trace.Missing {
		reasons = append(reasons, "it could not load "+missing)
	}
	if p.plan.Stage == event.Held {
		reasons = append(reasons, decision(p.plan))
	}
	if p.trouble.Stage != "" {
		reasons = append(reasons, strings.TrimSuffix(p.trouble.Message+": "+p.trouble.Error, ": "))
	}
	return rpc.Outcome{Text: "would not boot: " + strings.Join(reasons, "; ")}
}

// decision returns what a plan's event says about the why: "sent an iPXE script: no group matches" without its beginning.
func decision(e event.Event) string {
	if _, why, found := strings.Cut(e.Message, ": "); found {
		return why
	}
	return e.Message
}
