package doctor

import (
	"bufio"
	"bytes"
	"context"
	"slices"
	"strings"
)

func readIPTables(ctx context.Context, sys *System) (ruleset, error) {
	out, err := sys.Command(ctx, "iptables", "-S")
	if err != nil {
		return ruleset{}, err
	}
	return parseIPTables(out), nil
}

// parseIPTables reads `iptables -S`: "-P CHAIN POLICY", "-N CHAIN", "-A CHAIN conditions -j TARGET".
func parseIPTables(text []byte) ruleset {
	rs := ruleset{tool: "iptables", chains: make(map[string]*chain)}
	get := func(name string) *chain {
		if rs.chains[name] == nil {
			rs.chains[name] = &chain{name: name, policy: accept}
		}
		return rs.chains[name]
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		words := splitQuoted(lines.Text())
		if len(words) < 2 {
			continue
		}
		c := get(words[1])
		switch words[0] {
		case "-P":
			if len(words) > 2 && words[2] == "DROP" {
				c.policy = drop
			}
		case "-A":
			c.rules = append(c.rules, parseIPTablesRule(words[2:]))
		}
	}
	get("INPUT")
	rs.hooked = []string{"INPUT"}
	return rs
}

// splitQuoted splits a line into words; a word in double quotes, a comment's way to hold spaces, is one.
func splitQuoted(line string) []string {
	quoted := false
	words := strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t')
	})
	return words
}

// parseIPTablesRule reads the conditions of one rule; what is not understood makes it a maybe.
func parseIPTablesRule(words []string) rule {
	var r rule
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "!":
			// The condition behind it is inverted, which is beyond this reading.
			r.maybe = true
			i += 2
			continue
		case "-p", "--protocol":
			r.protocols = []string{value}
		case "-i", "--in-interface":
			// A trailing + stands for any rest of the name.
			r.ifaces = []string{strings.TrimSuffix(value, "+") + strings.Repeat("*", strings.Count(value, "+"))}
		case "--dport", "--dports":
			r.ports = parsePorts(strings.Split(strings.ReplaceAll(value, ":", "-"), ","))
		case "--state", "--ctstate":
			states := strings.Split(value, ",")
			r.never = !slices.Contains(states, "NEW") && !slices.Contains(states, "UNTRACKED")
		case "-j", "-g":
			r.setTarget(words[i], value)
		case "-m", "--comment", "--reject-with":
			// Names of extensions, and what changes nothing about the match.
		default:
			r.maybe = true
			continue
		}
		i++
	}
	return r
}

func (r *rule) setTarget(flag, target string) {
	switch target {
	case "ACCEPT":
		r.do = accept
	case "DROP", "REJECT":
		r.do = drop
	case "RETURN":
		r.do = back
	case "LOG", "NFLOG", "MARK", "CONNMARK", "AUDIT":
		r.do = pass
	default:
		r.do, r.target = jump, target
		if flag == "-g" {
			r.do = leave
		}
	}
}
