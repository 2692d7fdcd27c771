package boot

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

// Unmatched says what happens to a machine that no group wants.
type Unmatched string

// Policies for unmatched machines.
const (
	// UnmatchedLocal sends the machine to its disk, so that a server plugged into a network keeps nobody from booting.
	UnmatchedLocal Unmatched = "local"
	// UnmatchedIgnore stays silent where no group can match, and answers 404 to a script's question.
	UnmatchedIgnore Unmatched = "ignore"
	// UnmatchedHold makes the machine wait and ask again, until a group wants it.
	UnmatchedHold Unmatched = "hold"
)

// Catalog gives the snapshot to answer from; nil while none has been loaded.
type Catalog interface {
	Current() *catalog.Snapshot
}

// Loaders knows which network boot programs there are. For returns the names for an architecture (see
// [machine.Arch.LoaderKey]) and a family (ipxe, shim, grub), best first; an empty family means the architecture's own. None means that the machine cannot be served.
type Loaders interface {
	For(archKey, family string) []string
}

// Override is what an operator set for one machine.
type Override struct {
	Loader     string // a family, or the name of a loader file
	ExitMethod ExitMethod
}

// Options are the parts and settings of a [Planner].
type Options struct {
	Catalog   Catalog
	Machines  *machine.Registry
	Loaders   Loaders
	Loops     *Loops // may be nil: loaders are then never changed after failures
	Unmatched Unmatched
	Exit      ExitMethod
	Overrides map[machine.MAC]Override
	Advertise string        // host, or host and port, to tell machines; empty: the address that they reached
	HTTPS     bool          // the machines' HTTP is HTTPS
	HTTPPort  uint16        // of the machines' HTTP
	Pointing  *Pointing     // nil: there is no HTTPS, and machines of profiles with config: pointer must wait
	Replaced  *Replacements // groups that may come back in a moment; nil: none
	Matchbox  bool          // scripts, GRUB configs and labels are matchbox's
}

// Planner answers every question of a booting machine. It is safe for concurrent use and never waits.
type Planner struct{ opt Options }

// NewPlanner returns a planner.
func NewPlanner(opt Options) *Planner {
	if opt.Unmatched == "" {
		opt.Unmatched = UnmatchedLocal
	}
	if opt.Exit == "" {
		opt.Exit = Exit1
	}
	return &Planner{opt: opt}
}

// BaseURL returns how a machine that reached us at server gets to the machines' HTTP: "http://10.0.0.1:8080".
func (p *Planner) BaseURL(server netip.Addr) string {
	host, port := server.Unmap().String(), strconv.Itoa(int(p.opt.HTTPPort))
	if p.opt.Advertise != "" {
		if h, given, err := net.SplitHostPort(p.opt.Advertise); err == nil {
			host, port = h, given
		} else {
			host = strings.Trim(p.opt.Advertise, "[]")
		}
	}
	scheme, usual := "http://", "80"
	if p.opt.HTTPS {
		scheme, usual = "https://", "443"
	}
	if port == usual {
		if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
			host = "[" + host + "]"
		}
		return scheme + host
	}
	return scheme + net.JoinHostPort(host, port)
}

// labels lays what the server knows of the asking machine over what the query claims.
func (p *Planner) labels(ask Ask) groups.Labels {
	m := p.asking(ask)
	return p.merge(m, ask.Labels)
}

// merge lays what the server knows of a machine over what its query claims.
func (p *Planner) merge(known machine.Machine, query groups.Labels) groups.Labels {
	if p.opt.Matchbox {
		return matchboxLabels(known, query)
	}
	return known.Merge(query)
}

// match is [catalog.Snapshot.Match], but that a machine waits while its group is being replaced.
func (p *Planner) match(snapshot *catalog.Snapshot, labels groups.Labels) (catalog.Selection, error) {
	selection, err := snapshot.Match(labels)
	if waiting := p.opt.Replaced.await(snapshot, labels, selection.Group); waiting != nil {
		return catalog.Selection{}, waiting
	}
	return selection, err
}

// asking finds the machine by the query's MAC or UUID. Without either it is an unknown machine with the query's labels only: an
// address alone identifies nobody, since an operator's curl may come from anywhere.
func (p *Planner) asking(ask Ask) machine.Machine {
	if mac, err := machine.ParseMAC(ask.Labels["mac"]); err == nil {
		if m, known := p.opt.Machines.ByMAC(mac); known {
			return m
		}
		return machine.Machine{}
	}
	if uuid := ask.Labels["uuid"]; uuid != "" {
		if m, known := p.opt.Machines.ByUUID(uuid); known {
			return m
		}
	}
	return machine.Machine{}
}

func (p *Planner) snapshot() (*catalog.Snapshot, error) {
	if snapshot := p.opt.Catalog.Current(); snapshot != nil {
		return snapshot, nil
	}
	return nil, fault.New(fault.Unavailable, "no site has been loaded yet: see the log and /readyz on the admin listener for what is wrong with it")
}

// BootScript returns the script that every machine starts with. mac is empty where the script is not for a particular machine.
// It is NotFound for a machine that nobody wants and whose exit method is [HTTP404]. With that method the script does not ask again: iPXE
// cannot tell a 404, which is final, from an answer that may come later.
func (p *Planner) BootScript(_ context.Context, ask Ask, mac machine.MAC) ([]byte, error) {
	if p.opt.Matchbox && mac == "" { // the machine's own, which our DHCP names, is another file
		return []byte(matchboxBootScript), nil
	}
	final := p.exitMethod(mac) == HTTP404
	if mac != "" && final {
		known, _ := p.opt.Machines.ByMAC(mac)
		known.MAC = mac
		if snapshot := p.opt.Catalog.Current(); snapshot != nil && !p.possible(snapshot, known.Known()) {
			return nil, fault.Wrap(fault.NotFound, &catalog.NoMatch{Groups: snapshot.Groups, Labels: known.Known()})
		}
	}
	return bootScript(ask.BaseURL, mac, p.opt.Unmatched != UnmatchedIgnore && !final), nil
}

// possible reports whether some group may match a machine of which these labels are known, or may in a moment.
func (p *Planner) possible(snapshot *catalog.Snapshot, known groups.Labels) bool {
	return possible(snapshot.Groups, known) || p.opt.Replaced.possible(snapshot, known)
}

// possible reports whether some group of the index may match a machine of which these labels are known. Firmware tells its UUID in either byte order
// (RFC 4578 section 2.3), and only its script shows which one groups go by.
func possible(index *groups.Index, known groups.Labels) bool {
	if index.Possible(known) {
		return true
	}
	swapped := machine.SwapUUID(known["uuid"])
	if swapped == known["uuid"] {
		return false
	}
	other := maps.Clone(known)
	other["uuid"] = swapped
	return index.Possible(other)
}

// Plan decides what the asking machine boots. Without a match the policy for unmatched machines decides: a plan to boot from disk or to
// wait, or an error of kind NotFound. A profile that cannot be booted is Invalid; no catalog, or a pointer without HTTPS, is Unavailable.
func (p *Planner) Plan(_ context.Context, ask Ask) (*Plan, error) {
	snapshot, err := p.snapshot()
	if err != nil {
		return nil, err
	}
	labels := p.labels(ask)
	selection, err := p.match(snapshot, labels)
	if fault.Is(err, fault.NotFound) {
		return p.unmatched(snapshot, ask, labels, err)
	}
	if err != nil {
		return nil, err
	}
	if selection.Profile.Config == profiles.ConfigPointer && p.opt.Pointing == nil {
		return nil, errNoHTTPS(selection.Profile)
	}
	if p.opt.Matchbox {
		return matchboxPlan(ask, labels, selection.Group, selection.Profile), nil
	}
	plan, err := newPlan(ask, labels, selection.Group, selection.Profile)
	if err != nil {
		return nil, err
	}
	if plan.Do == Disk {
		mac, _ := machine.ParseMAC(labels["mac"])
		plan.Exit = p.exitMethod(mac)
	}
	return &plan, nil
}

func (p *Planner) unmatched(snapshot *catalog.Snapshot, ask Ask, labels groups.Labels, err error) (*Plan, error) {
	plan := &Plan{Labels: labels, BaseURL: ask.BaseURL, Query: ask.RawQuery}
	switch p.opt.Unmatched {
	case UnmatchedIgnore:
		return nil, err
	case UnmatchedHold:
		plan.Do = Hold
	default:
		plan.Do = Disk
		mac, _ := machine.ParseMAC(labels["mac"])
		plan.Exit = p.exitMethod(mac)
	}
	plan.Reason = snapshot.Groups.Explain(labels).String()
	return plan, nil
}

func (p *Planner) exitMethod(mac machine.MAC) ExitMethod {
	if o := p.override(mac); o.ExitMethod != "" {
		return o.ExitMethod
	}
	return p.opt.Exit
}

// Ignition returns the config that the asking machine is given: its own or, with config: pointer, one that leads to it. No match is
// NotFound; a config that cannot be rendered is Unavailable, so that the machine waits until somebody mended it.
func (p *Planner) Ignition(ctx context.Context, ask Ask) (*Config, error) {
	chosen, err := p.choose(ask, p.asking(ask))
	if err != nil {
		return nil, err
	}
	return p.given(ctx, ask, chosen)
}

// Generic returns the asking machine's generic template, rendered; errors are those of [Planner.Ignition].
func (p *Planner) Generic(ctx context.Context, ask Ask) ([]byte, error) {
	chosen, err := p.choose(ask, p.asking(ask))
	if err != nil {
		return nil, err
	}
	return chosen.snapshot.Generic(ctx, chosen.selection, chosen.request)
}

// Cloud returns the asking machine's cloud-config or script; errors are those of [Planner.Ignition].
func (p *Planner) Cloud(ctx context.Context, ask Ask) ([]byte, error) {
	chosen, err := p.choose(ask, p.asking(ask))
	if err != nil {
		return nil, err
	}
	return chosen.snapshot.Cloud(ctx, chosen.selection, chosen.request)
}

// Metadata returns the asking machine's metadata as environment lines; errors are those of [Planner.Ignition], but the group's profile need
// not exist (matchbox's rule).
func (p *Planner) Metadata(ctx context.Context, ask Ask) ([]byte, error) {
	chosen, err := p.choose(ask, p.asking(ask))
	if err != nil && chosen.selection.Group == nil {
		return nil, err
	}
	return chosen.snapshot.Metadata(ctx, chosen.selection, chosen.request)
}
