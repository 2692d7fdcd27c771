package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Bounds on following one packet: how deep chains may call each other (the kernel's own bound is 16), and how many rules are looked at.
const (
	maxJumps = 16
	maxSteps = 100_000
)

// action is what a rule does with a packet that it matches.
type action int

const (
	pass action = iota // go on with the next rule
	accept
	drop
	back // return to the calling chain
	jump
	leave // goto: like jump, but the calling chain is done
)

// portRange is an inclusive range of destination ports.
type portRange struct{ from, to uint16 }

// rule is as much of a firewall rule as the question needs: does it let the first packet of a machine in?
type rule struct {
	protocols []string    // "udp", "tcp"; none: all
	ports     []portRange // none: all
	ifaces    []string    // patterns of incoming interfaces; none: all
	never     bool        // matches no first packet: established connections only, another family
	maybe     bool        // has a condition that is not understood, such as a source address
	do        action
	target    string // of a jump
}

// chain is a list of rules; policy counts for chains that the kernel calls.
type chain struct {
	name   string
	policy action
	rules  []rule
}

// ruleset is one firewall. A packet comes in if every hooked chain accepts it.
type ruleset struct {
	tool   string // that it was read with
	chains map[string]*chain
	hooked []string // names of the chains that the kernel calls for incoming packets
}

// flow is the first packet of a machine's request.
type flow struct {
	protocol string
	port     uint16
	iface    string // "": any interface but loopback
}

// fate is what becomes of a flow.
type fate int

const (
	undecided fate = iota
	accepted
	dropped
	unclear // depends on a condition that is not understood
)

// judge follows a flow through all hooked chains. chain names the one that drops it or is unclear about it.
func (rs *ruleset) judge(f flow) (result fate, chain string) {
	result = accepted
	for _, name := range rs.hooked {
		c := rs.chains[name]
		w := walker{chains: rs.chains, flow: f}
		verdict, maybe := w.walk(c, 0)
		if verdict == undecided && c.policy == drop {
			verdict = dropped
		}
		switch {
		case verdict == dropped && !maybe:
			return dropped, c.name
		case verdict == dropped:
			result, chain = unclear, c.name
		}
	}
	return result, chain
}

// walker follows one flow through chains.
type walker struct {
	chains map[string]*chain
	flow   flow
	steps  int
}

// walk follows the flow through one chain. maybe says that an accepting rule was passed whose condition is not understood. A drop
// under such a condition is taken to be meant for somebody else.
func (w *walker) walk(c *chain, depth int) (result fate, maybe bool) {
	if c == nil || depth > maxJumps {
		return undecided, true
	}
	for i := range c.rules {
		r := &c.rules[i]
		if w.steps++; w.steps > maxSteps {
			return undecided, true
		}
		if !r.matches(w.flow) {
			continue
		}
		verdict, unsure := w.apply(r, depth)
		if r.maybe {
			maybe = maybe || verdict == accepted || unsure
			continue
		}
		maybe = maybe || unsure
		if verdict != undecided || r.do == back || r.do == leave {
			return verdict, maybe
		}
	}
	return undecided, maybe
}

func (w *walker) apply(r *rule, depth int) (result fate, maybe bool) {
	switch r.do {
	case accept:
		return accepted, false
	case drop:
		return dropped, false
	case jump, leave:
		return w.walk(w.chains[r.target], depth+1)
	}
	return undecided, false
}

func (r *rule) matches(f flow) bool {
	if r.never || len(r.protocols) > 0 && !slices.Contains(r.protocols, f.protocol) {
		return false
	}
	inPorts := func(p portRange) bool { return p.from <= f.port && f.port <= p.to }
	if len(r.ports) > 0 && !slices.ContainsFunc(r.ports, inPorts) {
		return false
	}
	onIface := func(pattern string) bool {
		if f.iface == "" {
			return pattern != "lo"
		}
		ok, err := path.Match(pattern, f.iface)
		return err == nil && ok
	}
	return len(r.ifaces) == 0 || slices.ContainsFunc(r.ifaces, onIface)
}

// checkFirewall reports listeners whose first packet a firewall of this host drops. Only its own rules are looked at: what a switch
// or a router in between does is not known here.
func checkFirewall(ctx context.Context, o *Options) []Finding {
	flows := o.flows()
	if len(flows) == 0 {
		return nil
	}
	sets, err := readFirewalls(ctx, o.System)
	if err != nil {
		return []Finding{{
			ID: "firewall.unknown", Severity: Info, Subject: "firewall", What: "cannot tell: " + err.Error(),
			Next: "run `matchd doctor` as root with nft or iptables installed, or look for yourself",
		}}
	}
	var findings []Finding
	for i := range sets {
		findings = append(findings, judgeFirewall(&sets[i], flows)...)
	}
	if len(findings) == 0 {
		findings = []Finding{{ID: "firewall.open", Severity: OK, Subject: "firewall", What: "lets " + flowNames(flows) + " in"}}
	}
	return findings
}

// iptablesInput is the chain that the nft flavour of iptables keeps its INPUT rules in.
const iptablesInput = "ip filter INPUT"

// readFirewalls reads the rules by nft, and by iptables where nft does not show them or shows them without their arguments.
// iptables is not asked without need, because its legacy flavour loads kernel modules when asked.
func readFirewalls(ctx context.Context, sys *System) ([]ruleset, error) {
	nft, nftErr := readNFT(ctx, sys)
	legacy, _ := fs.ReadFile(sys.Files, "proc/self/net/ip_tables_names") // absent without the legacy flavour
	if nftErr == nil && nft.chains[iptablesInput] == nil && len(legacy) == 0 {
		return []ruleset{nft}, nil
	}
	ipt, iptErr := readIPTables(ctx, sys)
	switch {
	case nftErr == nil && iptErr == nil:
		if len(ipt.chains["INPUT"].rules) > 0 || ipt.chains["INPUT"].policy == drop {
			nft.hooked = slices.DeleteFunc(nft.hooked, func(name string) bool { return name == iptablesInput })
		}
		return []ruleset{nft, ipt}, nil
	case nftErr == nil:
		return []ruleset{nft}, nil
	case iptErr == nil:
		return []ruleset{ipt}, nil
	case errors.Is(nftErr, exec.ErrNotFound) && errors.Is(iptErr, exec.ErrNotFound):
		return nil, errors.New("neither nft nor iptables is installed")
	case errors.Is(nftErr, exec.ErrNotFound):
		return nil, iptErr
	}
	return nil, nftErr
}

func judgeFirewall(rs *ruleset, flows []flow) []Finding {
	var lost, doubtful []flow
	var where, whereDoubtful string
	for _, f := range flows {
		switch result, chain := rs.judge(f); result {
		case dropped:
			lost, where = append(lost, f), chain
		case unclear:
			doubtful, whereDoubtful = append(doubtful, f), chain
		}
	}
	var findings []Finding
	if len(lost) > 0 {
		findings = append(findings, Finding{
			ID: "firewall.drop", Severity: Warn, Subject: "firewall",
			What: fmt.Sprintf("%s chain %s drops %s", rs.tool, where, flowNames(lost)),
			Next: openCommand(rs.manager(), where, lost),
		})
	}
	if len(doubtful) > 0 {
		findings = append(findings, Finding{
			ID: "firewall.unclear", Severity: Info, Subject: "firewall",
			What: fmt.Sprintf("%s chain %s lets %s in under conditions that were not evaluated", rs.tool, whereDoubtful, flowNames(doubtful)),
			Next: "make sure that the machines' network meets them",
		})
	}
	return findings
}

// manager is the program that wrote the rules, where their chains tell, or the tool that they were read with: rules added behind a
// manager's back are gone at its next start.
func (rs *ruleset) manager() string {
	for name := range rs.chains {
		for _, m := range []string{"firewalld", "ufw"} {
			if strings.Contains(name, m) {
				return m
			}
		}
	}
	return rs.tool
}

// flows are the first packets that machines send to the listeners meant for them.
func (o *Options) flows() []flow {
	var flows []flow
	for _, l := range o.Listeners {
		if !l.Machines || l.Addr.Port() == 0 {
			continue
		}
		serving := o.serving()
		if len(serving) == 0 {
			serving = []Interface{{}}
		}
		for _, i := range serving {
			f := flow{protocol: l.Network, port: l.Addr.Port(), iface: i.Name}
			if !slices.Contains(flows, f) {
				flows = append(flows, f)
			}
		}
	}
	return flows
}

func flowNames(flows []flow) string {
	var names []string
	for _, f := range flows {
		name := fmt.Sprintf("%s %d", f.protocol, f.port)
		if f.iface != "" {
			name += " on " + f.iface
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// openCommand says how to let flows in, in the words of the tool that manages the firewall.
func openCommand(manager, chain string, flows []flow) string {
	byProtocol := map[string][]string{}
	for _, f := range flows {
		port := fmt.Sprint(f.port)
		if !slices.Contains(byProtocol[f.protocol], port) {
			byProtocol[f.protocol] = append(byProtocol[f.protocol], port)
		}
	}
	var commands []string
	for _, protocol := range []string{"udp", "tcp"} {
		ports := byProtocol[protocol]
		if len(ports) == 0 {
			continue
		}
		switch manager {
		case "firewalld":
			for _, p := range ports {
				commands = append(commands, fmt.Sprintf("firewall-cmd --add-port=%s/%s", p, protocol))
			}
		case "ufw":
			commands = append(commands, fmt.Sprintf("ufw allow proto %s to any port %s", protocol, strings.Join(ports, ",")))
		case "iptables":
			commands = append(commands, fmt.Sprintf("iptables -I INPUT -p %s -m multiport --dports %s -j ACCEPT", protocol, strings.Join(ports, ",")))
		default:
			commands = append(commands, fmt.Sprintf("nft insert rule %s %s dport '{ %s }' accept", chain, protocol, strings.Join(ports, ", ")))
		}
	}
	return strings.Join(commands, "; ")
}
