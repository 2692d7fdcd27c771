package change

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Outcome is what one machine gets.
type Outcome struct {
	Group   string // id; empty: none matches
	Profile string // id
	Script  string // iPXE script
	Config  string // Ignition config, indented; empty: none
	Error   string // why it lacks one of them
}

// Compared is a machine that would get something else.
type Compared struct {
	Machine       string // MAC address, else UUID, else the selector that named it
	Before, After Outcome
}

// serverAddress stands for the server where no machine has asked; it is reserved for documentation (RFC 5737).
var serverAddress = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// candidateMachine is a machine that is known by name, and how it would ask.
type candidateMachine struct {
	name   string
	known  machine.Machine // without an operator's labels
	labels groups.Labels   // of its question
	rank   int             // lower is compared first
}

// Ranks of machines: those that a changed object names come first, if there is no room for all.
const (
	rankChanged = iota
	rankStored
	rankSeen
	rankSelected
)

// compare adds to the result what machines would get, where it differs. Machines that the change cannot concern are not rendered and take no room.
func (a *Applier) compare(ctx context.Context, p *plan, r *Result) error {
	if a.opt.Planner == nil {
		return nil
	}
	room := min(p.change.CompareMachines, MaxCompared)
	after := p.candidate()
	before := p.snapshot
	concernedBefore := p.concerned(before.Get).groups
	var affected []candidateMachine
	for _, m := range a.machines(p, after) {
		if a.affects(p, &m, before, after, concernedBefore) {
			affected = append(affected, m)
		}
	}
	slices.SortStableFunc(affected, func(a, b candidateMachine) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.name, b.name))
	})
	if over := len(affected) - room; over > 0 {
		affected, r.Omitted = affected[:room], over
	}
	results := make([]Compared, len(affected))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range affected {
		group.Go(func() error {
			m := &affected[i]
			results[i] = Compared{m.name, a.outcome(ctx, m, before), a.outcome(ctx, m, after)}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return fault.New(fault.Unavailable, "comparing what machines would get: %w", err)
	}
	for _, compared := range results {
		if compared.Before != compared.After {
			r.Machines = append(r.Machines, compared)
		}
	}
	slices.SortFunc(r.Machines, func(a, b Compared) int { return strings.Compare(a.Machine, b.Machine) })
	return nil
}

// machines returns every machine that is known by name before or after the change, each question once.
func (a *Applier) machines(p *plan, after *catalog.Snapshot) []candidateMachine {
	known := map[machine.MAC]machine.Machine{}
	if a.opt.Seen != nil {
		for _, m := range a.opt.Seen() {
			m.Labels = nil
			known[m.MAC] = m
		}
	}
	list := map[string]candidateMachine{}
	add := func(m candidateMachine) {
		key := groups.Selector(m.labels).String()
		if other, there := list[key]; !there || m.rank < other.rank {
			list[key] = m
		}
	}
	byMAC := func(mac machine.MAC, rank int) {
		m := known[mac]
		m.MAC = mac
		add(candidateMachine{mac.String(), m, groups.Labels{"mac": mac.String()}, rank})
	}
	for mac := range known {
		byMAC(mac, rankSeen)
	}
	for _, snapshot := range []*catalog.Snapshot{p.snapshot, after} {
		for _, item := range snapshot.List(catalog.Machine) {
			rank := rankStored
			if p.after[item.Ref()] != nil {
				rank = rankChanged
			}
			byMAC(item.Machine.MAC, rank)
		}
		for _, group := range snapshot.Groups.All() {
			rank := rankSelected
			if p.after[catalog.Ref{Kind: catalog.Group, ID: group.ID}] != nil {
				rank = rankChanged
			}
			if m, named := selected(group, known); named {
				m.rank = rank
				add(m)
			}
		}
	}
	return slices.Collect(maps.Values(list))
}

// selected returns the machine that a group's selector names, with all that the selector wants of it.
func selected(group *groups.Group, known map[machine.MAC]machine.Machine) (candidateMachine, bool) {
	selector, err := group.Selector.Normalized()
	if err != nil {
		return candidateMachine{}, false
	}
	m := candidateMachine{labels: groups.Labels(selector), name: selector.String()}
	if mac, err := machine.ParseMAC(selector["mac"]); err == nil {
		m.known = known[mac]
		m.known.MAC = mac
		if len(selector) == 1 {
			m.name = mac.String()
		}
		return m, true
	}
	if len(selector) == 1 && selector["uuid"] != "" {
		m.name = selector["uuid"]
	}
	return m, selector["uuid"] != ""
}

// affects reports whether the machine may get something else after the change.
func (a *Applier) affects(p *plan, m *candidateMachine, before, after *catalog.Snapshot, concernedBefore map[string]bool) bool {
	if m.known.MAC != "" && p.after[catalog.Ref{Kind: catalog.Machine, ID: m.known.MAC.String()}] != nil {
		return true
	}
	one, _ := before.Match(a.planner(m, before).Labels(m.ask("")))
	other, _ := after.Match(a.planner(m, after).Labels(m.ask("")))
	if one.Group == nil || other.Group == nil {
		return one.Group != other.Group
	}
	return one.Group.ID != other.Group.ID || concernedBefore[one.Group.ID] || p.groups[other.Group.ID]
}

// planner returns one that knows the machine as it is known with a snapshot.
func (a *Applier) planner(m *candidateMachine, snapshot *catalog.Snapshot) *boot.Planner {
	registry := machine.NewRegistry(1)
	if m.known.MAC != "" {
		registry.Observe(m.known)
		if settings := snapshot.Settings(m.known.MAC); settings != nil {
			registry.Pin(machine.Machine{MAC: m.known.MAC, Labels: settings.Labels})
		}
	}
	return a.opt.Planner.On(snapshot, registry)
}

func (m *candidateMachine) ask(base string) boot.Ask {
	query := url.Values{}
	for key, value := range m.labels {
		query.Set(key, value)
	}
	return boot.Ask{Labels: m.labels, RawQuery: query.Encode(), BaseURL: base}
}

// outcome asks for all that a machine gets.
func (a *Applier) outcome(ctx context.Context, m *candidateMachine, snapshot *catalog.Snapshot) Outcome {
	planner := a.planner(m, snapshot)
	ask := m.ask(planner.BaseURL(serverAddress))
	var out Outcome
	var errs []string
	note := func(err error) {
		if err != nil && !slices.Contains(errs, err.Error()) {
			errs = append(errs, err.Error())
		}
	}
	selection, err := snapshot.Match(planner.Labels(ask))
	if selection.Group != nil {
		out.Group, out.Profile = selection.Group.ID, selection.Group.Profile
	}
	plan, planErr := planner.Plan(ctx, ask)
	if planErr == nil {
		out.Script = string(plan.IPXE())
	}
	note(planErr)
	if err == nil && selection.Profile.IgnitionID != "" {
		config, err := planner.Own(ctx, ask)
		if err == nil {
			out.Config = indented(config.JSON)
		}
		note(err)
	}
	out.Error = strings.Join(errs, "\n")
	return out
}

func indented(config []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, config, "", "  ") != nil {
		return string(config)
	}
	return b.String() + "\n"
}
