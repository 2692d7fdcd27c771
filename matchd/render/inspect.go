package render

import (
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// This file holds what is refused although Butane and Ignition let it pass. It looks at the tree that the author wrote, not at what it is
// translated to, because only that has positions; the keys in question are the same in Butane and in Ignition.

// place is a position in a rendered text.
type place struct{ line, column int }

// findings is what an inspection found out.
type findings struct {
	unhashed []Problem        // sources that come over the network and have no hash: a profile may allow them
	places   map[string]place // path of a file, directory, link or file system → where the author wrote it
}

// inspect looks for wrong units, which are problems of r, and for the rest.
func inspect(r *reporter, root *yaml.Node) findings {
	i := inspector{reporter: r, seen: map[*yaml.Node]bool{}}
	i.places = map[string]place{}
	if root == nil || len(root.Content) == 0 {
		return i.findings
	}
	top := root.Content[0]
	i.sources(top, "")
	i.units(top)
	storage := field(top, "storage")
	for _, section := range []string{"files", "directories", "links", "filesystems"} {
		for _, entry := range entries(field(storage, section)) {
			if path := field(entry, "path"); path != nil && path.Kind == yaml.ScalarNode {
				i.places[path.Value] = place{path.Line, path.Column}
			}
		}
	}
	return i.findings
}

type inspector struct {
	*reporter
	findings
	seen map[*yaml.Node]bool // anchored nodes, which many aliases may name
}

// sources collects every source without a hash below n; at is n's path.
func (i *inspector) sources(n *yaml.Node, at string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Anchor != "" {
		if i.seen[n] {
			return
		}
		i.seen[n] = true
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for k, child := range n.Content {
			i.sources(child, fmt.Sprintf("%s.%d", at, k))
		}
	case yaml.MappingNode:
		i.source(n, at)
		for k := 0; k+1 < len(n.Content); k += 2 {
			i.sources(n.Content[k+1], at+"."+n.Content[k].Value)
		}
	}
}

func (i *inspector) source(n *yaml.Node, at string) {
	source := field(n, "source")
	if i.lenient || source == nil || source.Kind != yaml.ScalarNode {
		return
	}
	address, err := url.Parse(source.Value)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" { // of the one Ignition complains; Parse writes a scheme in small letters
		return
	}
	at = strings.TrimPrefix(at+".source", ".")
	if address.Hostname() == "" { // "http:/x": Ignition takes it, and the machine would ask in vain
		i.add(source.Line, source.Column, "%s: names no server: write %s://SERVER/PATH", at, address.Scheme)
	}
	if hash := field(field(n, "verification"), "hash"); hash != nil && hash.Value != "" {
		return
	}
	what := i.problem(source.Line, source.Column, "%s: what comes over %s needs a verification.hash, unless the profile says allow_unhashed_sources", at, address.Scheme)
	i.unhashed = append(i.unhashed, what)
}

// units checks the text of every unit and drop-in.
func (i *inspector) units(top *yaml.Node) {
	for k, unit := range entries(field(field(top, "systemd"), "units")) {
		name := field(unit, "name")
		if name == nil {
			continue // Ignition complains
		}
		at := fmt.Sprintf("systemd.units.%d.", k)
		i.unit(at+"contents", name.Value, field(unit, "contents"))
		for l, dropin := range entries(field(unit, "dropins")) {
			i.unit(fmt.Sprintf("%sdropins.%d.contents", at, l), name.Value, field(dropin, "contents"))
		}
	}
}

func (i *inspector) unit(at, name string, contents *yaml.Node) {
	if contents == nil || contents.Kind != yaml.ScalarNode || i.lenient {
		return
	}
	problems := checkUnit(name, contents.Value)
	if len(problems) > 0 {
		i.drop(at + ": invalid unit content: ") // Ignition's word for the first of them, without its line
	}
	for _, p := range problems {
		line, column, within := contents.Line, contents.Column, ""
		switch {
		case contents.Style&yaml.LiteralStyle != 0:
			line, column = line+p.line, 0
			text := i.text.line(line)
			column = 1 + len(text) - len(strings.TrimLeft(text, " \t"))
		case p.line > 1:
			within = fmt.Sprintf("line %d of the unit: ", p.line)
		}
		i.add(line, column, "%s: %s%s", at, within, p.what)
	}
}

// field returns the value of a key in a map; aliases are followed. It is nil where there is none. Merge keys ("<<") are not looked into:
// Butane calls them unused keys.
func field(m *yaml.Node, key string) *yaml.Node {
	m = target(m)
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for k := 0; k+1 < len(m.Content); k += 2 {
		if m.Content[k].Value == key {
			return target(m.Content[k+1])
		}
	}
	return nil
}

func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// entries returns the elements of a list, none of anything else.
func entries(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}
