package boot

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// TicketPath is where the machines' HTTPS gives a config for a ticket.
const TicketPath = "/v1/ignition"

// Pointing is what pointer configs are made with.
type Pointing struct {
	Tickets *auth.Tickets
	Port    uint16        // of the machines' HTTPS
	CA      func() []byte // PEM of what signed its certificate; empty: the system's image knows it
}

// Config is an Ignition config as a machine is given it by plain HTTP or in an initrd.
type Config struct {
	*render.Config
	Pointer bool // it only leads to the machine's own, over HTTPS
}

// Event returns the event of a config that was sent; how says in what, such as " in an initrd".
func (c *Config) Event(how string) event.Event {
	e := event.Event{
		Stage: event.ConfigSent, Message: "sent the Ignition config" + how + ", spec " + c.Version,
		Attrs: map[string]string{event.AttrDigest: c.Digest},
	}
	if c.Pointer {
		e.Stage, e.Message = event.PointerSent, "sent the pointer"+how+" that leads to the Ignition config by HTTPS"
	}
	return e
}

// BadAsk is the error of a question that gets no answer as long as it is asked like this, whatever the site has: its labels do not fit into a ticket.
type BadAsk struct{ Err error }

func (e *BadAsk) Error() string { return e.Err.Error() }
func (e *BadAsk) Unwrap() error { return e.Err }

// errNoHTTPS says why a profile's machines must wait.
func errNoHTTPS(profile *profiles.Profile) error {
	return fault.New(fault.Unavailable, "profile %q has config: pointer, which needs the machines' HTTPS: set machine_https, or give the profile another config mode", profile.ID)
}

// fetchesConfig reports whether the kernel arguments name our configs, for whoever fetches them there: Ignition itself, or an installer, whose own
// system must not be given the installed one's config. A pointer then waits there.
func (p *Plan) fetchesConfig() bool {
	for _, arg := range p.Profile.Boot.Args {
		_, location, _ := strings.Cut(strings.ReplaceAll(arg, BaseURL, p.BaseURL), "=")
		if strings.Contains(arg, ConfigURL) || strings.HasPrefix(location, p.BaseURL+"/ignition") {
			return true
		}
	}
	return false
}

// given returns the config that the selected machine is given where anybody can listen: its own, or, if its profile wants that, a pointer.
// A pointer is given only when what it leads to can be rendered: a mistake shows as early as in any other mode.
func (p *Planner) given(ctx context.Context, ask Ask, chosen choice) (*Config, error) {
	own, err := chosen.snapshot.Ignition(ctx, chosen.selection, chosen.request)
	if err != nil {
		return nil, err
	}
	if chosen.selection.Profile.Config != profiles.ConfigPointer {
		return &Config{Config: own}, nil
	}
	if p.opt.Pointing == nil {
		return nil, errNoHTTPS(chosen.selection.Profile)
	}
	pointer, err := p.pointer(ask, chosen.machine)
	if err != nil {
		return nil, fmt.Errorf("pointing to the config of profile %q: %w", chosen.selection.Profile.ID, err)
	}
	return &Config{Config: pointer, Pointer: true}, nil
}

func (p *Planner) pointer(ask Ask, known machine.Machine) (*render.Config, error) {
	source, err := p.ticketURL(ask.BaseURL)
	if err != nil {
		return nil, err
	}
	token, err := p.opt.Pointing.Tickets.Issue(ticketFor(ask.Labels, known))
	if fault.Is(err, fault.Invalid) {
		return nil, &BadAsk{Err: err}
	}
	if err != nil {
		return nil, err
	}
	return render.Pointer{Source: source, Token: token, CA: p.opt.Pointing.CA()}.Config()
}

// ticketURL returns where a machine that reaches us at the base URL gets to our HTTPS.
func (p *Planner) ticketURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Hostname() == "" {
		return "", fault.New(fault.Internal, "how the machine reaches us is not known: %q", base)
	}
	return "https://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(int(p.opt.Pointing.Port))) + TicketPath, nil
}

// ticketFor gathers what finds the asking machine's group again: what it told, and who it is as far as we know. The latter outlives a restart of
// ours, after which nobody remembers what DHCP told.
func ticketFor(labels groups.Labels, known machine.Machine) auth.Ticket {
	ticket := auth.Ticket{MAC: known.MAC, UUID: known.UUID, Labels: make(groups.Labels, len(labels))}
	for name, value := range labels {
		if value != "" {
			ticket.Labels[name] = value
		}
	}
	if mac, err := machine.ParseMAC(labels["mac"]); err == nil && ticket.MAC == "" {
		ticket.MAC = mac
	}
	if ticket.UUID == "" {
		ticket.UUID = labels["uuid"]
	}
	return ticket
}

// Redeem checks a ticket that a machine presents; errors are those of [auth.Tickets.Redeem]. Without HTTPS there are no tickets: that is Denied.
func (p *Planner) Redeem(token string) (auth.Ticket, error) {
	if p.opt.Pointing == nil {
		return auth.Ticket{}, fault.New(fault.Denied, "this server gives out no tickets")
	}
	return p.opt.Pointing.Tickets.Redeem(token)
}

// Ticketed returns the very config of the machine that a ticket is for, with what its labels match now; errors are those of [Planner.Ignition].
// baseURL is how the machine reaches the machines' HTTP.
func (p *Planner) Ticketed(ctx context.Context, ticket auth.Ticket, baseURL string) (*render.Config, error) {
	ask := Ask{Labels: ticket.Labels, BaseURL: baseURL, RawQuery: query(ticket.Labels)}
	known, found := p.opt.Machines.ByMAC(ticket.MAC)
	if !found {
		known, found = p.opt.Machines.ByUUID(ticket.UUID)
	}
	if !found {
		known = machine.Machine{MAC: ticket.MAC, UUID: ticket.UUID}
	}
	return p.own(ctx, ask, known)
}

// Own returns the asking machine's very config, whichever way its profile has it sent; errors are those of [Planner.Ignition]. It is for people, not
// for machines, which get what [Planner.Ignition] gives.
func (p *Planner) Own(ctx context.Context, ask Ask) (*render.Config, error) {
	return p.own(ctx, ask, p.asking(ask))
}

func (p *Planner) own(ctx context.Context, ask Ask, known machine.Machine) (*render.Config, error) {
	chosen, err := p.choose(ask, known)
	if err != nil {
		return nil, err
	}
	return chosen.snapshot.Ignition(ctx, chosen.selection, chosen.request)
}

// choice is what an asking machine's labels lead to.
type choice struct {
	snapshot  *catalog.Snapshot
	machine   machine.Machine // as far as it is known
	selection catalog.Selection
	request   catalog.Request
}

// choose matches a machine; no match is NotFound here whatever the policy, because a config has no "boot from disk". The choice has as
// much as could be found out when it failed.
func (p *Planner) choose(ask Ask, known machine.Machine) (choice, error) {
	snapshot, err := p.snapshot()
	if err != nil {
		return choice{}, err
	}
	request := catalog.Request{Labels: ask.Labels, RawQuery: ask.RawQuery, BaseURL: ask.BaseURL, Machine: p.merge(known, ask.Labels)}
	selection, err := p.match(snapshot, request.Machine)
	return choice{snapshot, known, selection, request}, err
}
