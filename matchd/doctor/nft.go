package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// nftList is the JSON of `nft -j list ruleset` (libnftables-json(5)), as far as it is looked at.
type nftList struct {
	Nftables []struct {
		Chain *struct {
			Family, Table, Name, Type, Hook, Policy string
		}
		Rule *struct {
			Family, Table, Chain string
			Expr                 []map[string]json.RawMessage
		}
		Set *struct {
			Family, Table, Name string
			Elem                json.RawMessage
		}
	}
}

func readNFT(ctx context.Context, sys *System) (ruleset, error) {
	out, err := sys.Command(ctx, "nft", "-j", "list", "ruleset")
	if err != nil {
		return ruleset{}, err
	}
	return parseNFT(out)
}

// parseNFT reads the chains that see incoming IPv4 packets and those that they call.
func parseNFT(text []byte) (ruleset, error) {
	var list nftList
	if err := json.Unmarshal(text, &list); err != nil {
		return ruleset{}, fmt.Errorf("reading nft's answer: %w", err)
	}
	rs := ruleset{tool: "nft", chains: make(map[string]*chain)}
	p := nftParser{sets: make(map[string]json.RawMessage)}
	for _, item := range list.Nftables {
		if s := item.Set; s != nil {
			p.sets[s.Family+" "+s.Table+" @"+s.Name] = s.Elem
		}
	}
	for _, item := range list.Nftables {
		if c := item.Chain; c != nil && c.Family != "ip6" {
			name := c.Family + " " + c.Table + " " + c.Name
			policy := accept
			if c.Policy == "drop" {
				policy = drop
			}
			rs.chains[name] = &chain{name: name, policy: policy}
			if c.Hook == "input" && (c.Family == "inet" || c.Family == "ip") {
				rs.hooked = append(rs.hooked, name)
			}
		}
		if r := item.Rule; r != nil {
			p.table = r.Family + " " + r.Table
			if c := rs.chains[p.table+" "+r.Chain]; c != nil {
				c.rules = append(c.rules, p.rules(r.Expr)...)
			}
		}
	}
	return rs, nil
}

// nftParser turns rule expressions into rules.
type nftParser struct {
	table string // family and name of the table at hand
	sets  map[string]json.RawMessage
}

// rules translates one rule. A verdict map becomes several.
func (p *nftParser) rules(expr []map[string]json.RawMessage) []rule {
	var base rule
	for _, statement := range expr {
		for key, value := range statement {
			switch key {
			case "match":
				p.match(&base, value)
			case "vmap":
				return p.verdictMap(base, value)
			case "counter", "log", "comment", "limit":
				// A limit is passed by the first packet; the others only look.
			case "xt":
				base.maybe = true // an iptables extension, shown without its arguments
			default:
				p.verdict(&base, key, value)
			}
		}
	}
	return []rule{base}
}

func (p *nftParser) verdict(r *rule, key string, value json.RawMessage) {
	switch key {
	case "accept":
		r.do = accept
	case "drop", "reject":
		r.do = drop
	case "return":
		r.do = back
	case "jump", "goto":
		var to struct{ Target string }
		if json.Unmarshal(value, &to) == nil {
			r.do, r.target = jump, p.table+" "+to.Target
		}
		if key == "goto" {
			r.do = leave
		}
	}
}

type nftMatch struct {
	Op   string
	Left struct {
		Payload struct{ Protocol, Field string }
		Meta    struct{ Key string }
		CT      struct{ Key string }
	}
	Right json.RawMessage
}

func (p *nftParser) match(r *rule, text json.RawMessage) {
	var m nftMatch
	if json.Unmarshal(text, &m) != nil {
		r.maybe = true
		return
	}
	p.condition(r, m)
}

// condition adds a match to r; what is not understood makes it a maybe.
func (p *nftParser) condition(r *rule, m nftMatch) {
	values := p.values(m.Right)
	left := m.Left
	negated := m.Op == "!="
	switch {
	case left.CT.Key == "state":
		// The first packet of a machine is new, or untracked where tracking is off.
		fresh := slices.ContainsFunc(values, func(v string) bool { return v == "new" || v == "untracked" })
		r.never = r.never || fresh == negated
	case negated || len(values) == 0:
		r.maybe = true
	case left.Payload.Field == "dport":
		if left.Payload.Protocol != "th" {
			r.protocols = []string{left.Payload.Protocol}
		}
		r.ports = parsePorts(values)
		r.maybe = r.maybe || len(r.ports) == 0
	case left.Meta.Key == "l4proto" || left.Payload.Field == "protocol":
		r.protocols = values
	case left.Meta.Key == "nfproto" || left.Meta.Key == "protocol":
		r.never = r.never || !slices.Contains(values, "ipv4") && !slices.Contains(values, "ip")
	case left.Meta.Key == "iifname" || left.Meta.Key == "iif":
		r.ifaces = values
	default:
		r.maybe = true
	}
}

// values flattens a right-hand side: a word, a number, a list, a set, a range or the name of a set.
func (p *nftParser) values(raw json.RawMessage) []string {
	var any any
	if json.Unmarshal(raw, &any) != nil {
		return nil
	}
	return p.flatten(any, 0)
}

func (p *nftParser) flatten(v any, depth int) []string {
	if depth > maxJumps {
		return nil
	}
	var out []string
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "@") {
			var elements any
			if json.Unmarshal(p.sets[p.table+" "+v], &elements) != nil {
				return nil
			}
			return p.flatten(elements, depth+1)
		}
		return []string{v}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	case []any:
		for _, e := range v {
			out = append(out, p.flatten(e, depth+1)...)
		}
	case map[string]any:
		if ends, ok := v["range"].([]any); ok && len(ends) == 2 {
			return []string{fmt.Sprintf("%v-%v", ends[0], ends[1])}
		}
		out = p.flatten(v["set"], depth+1)
	}
	return out
}

// verdictMap translates "KEY vmap { VALUE : VERDICT, … }" into one rule per entry.
func (p *nftParser) verdictMap(base rule, text json.RawMessage) []rule {
	var vm struct {
		Key  json.RawMessage
		Data json.RawMessage
	}
	if json.Unmarshal(text, &vm) != nil {
		return []rule{{maybe: true, do: accept}}
	}
	var inline struct{ Set [][2]json.RawMessage }
	if json.Unmarshal(vm.Data, &inline) != nil {
		return []rule{{maybe: true, do: accept}} // a named map
	}
	var rules []rule
	for _, entry := range inline.Set {
		r := base
		m := nftMatch{Op: "==", Right: entry[0]}
		if json.Unmarshal(vm.Key, &m.Left) != nil {
			r.maybe = true
		} else {
			p.condition(&r, m)
		}
		var verdict map[string]json.RawMessage
		if json.Unmarshal(entry[1], &verdict) == nil {
			for key, value := range verdict {
				p.verdict(&r, key, value)
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// serviceNames are the names that nft shows for some of our ports when it resolves them.
var serviceNames = map[string]uint16{"bootps": 67, "tftp": 69, "http-alt": 8080, "https": 443, "http": 80}

// parsePorts reads "67", "tftp" or "67-69"; what is none of these is left out.
func parsePorts(values []string) []portRange {
	var ports []portRange
	for _, v := range values {
		from, to, isRange := strings.Cut(v, "-")
		if number, named := serviceNames[v]; named {
			ports = append(ports, portRange{number, number})
			continue
		}
		if !isRange {
			to = from
		}
		low, err1 := strconv.ParseUint(from, 10, 16)
		high, err2 := strconv.ParseUint(to, 10, 16)
		if err1 == nil && err2 == nil {
			ports = append(ports, portRange{uint16(low), uint16(high)})
		}
	}
	return ports
}
