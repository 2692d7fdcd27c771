package render

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// Bounds of one Ignition or Butane document, checked before Butane and Ignition see it. Both need about 1.3 ms for each file
// of a config, and 20,000 aliases of one file kept Butane busy for 20 s.
const (
	MaxDocument = 256 * 1024 // bytes after templating
	MaxEntries  = 2000       // list entries, those behind aliases counted each time
	MaxNodes    = 50_000     // values, keys, lists and maps, those behind aliases counted each time
	MaxAliases  = 1000       // YAML aliases
)

// census counts what a document holds. Counts stop growing beyond their bounds, so that no alias bomb overflows them.
type census struct{ nodes, entries int }

func (c *census) add(other census) {
	c.nodes = min(c.nodes+other.nodes, MaxNodes+1)
	c.entries = min(c.entries+other.entries, MaxEntries+1)
}

// decodeYAML parses the only YAML document of r's text and checks its bounds. It returns nil with problems in r, or nil
// without any if the text holds nothing but comments.
func decodeYAML(r *reporter) *yaml.Node {
	if len(r.text.out) > MaxDocument {
		r.add(0, 0, "has %d bytes, at most %d are allowed", len(r.text.out), MaxDocument)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(r.text.out))
	var root, second yaml.Node
	err := decoder.Decode(&root)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		r.add(second.Line, 1, "a second YAML document starts here: only one would be used")
		return nil
	case !errors.Is(err, io.EOF):
		r.yamlError(err, nil)
		return nil
	}
	earlier := len(r.report.Problems)
	w := walker{reporter: r, known: make(map[*yaml.Node]census), open: make(map[*yaml.Node]bool)}
	total := w.count(&root)
	switch {
	case w.aliases > MaxAliases:
		r.add(w.beyond.aliases.Line, w.beyond.aliases.Column, "holds more than %d YAML aliases: this is the first beyond", MaxAliases)
	case total.nodes > MaxNodes:
		r.add(w.beyond.nodes.Line, w.beyond.nodes.Column, "holds more than %d values, counted behind each alias: here begins what is beyond", MaxNodes)
	case total.entries > MaxEntries:
		r.add(w.beyond.entries.Line, w.beyond.entries.Column, "holds more than %d list entries, counted behind each alias: here begins what is beyond", MaxEntries)
	}
	if len(r.report.Problems) > earlier {
		return nil
	}
	return &root
}

// walker counts a YAML tree, each anchor once, and notes duplicate keys.
type walker struct {
	*reporter
	known   map[*yaml.Node]census // of what has an anchor
	open    map[*yaml.Node]bool   // anchors that are being counted
	aliases int
	sofar   census                                      // in the order of the text
	beyond  struct{ aliases, nodes, entries yaml.Node } // the first ones beyond a bound, if there are
}

// pass counts what stands at n, without what is in it, and notes if that is the first beyond a bound.
func (w *walker) pass(n *yaml.Node, c census) {
	before := w.sofar
	w.sofar.add(c)
	if before.nodes <= MaxNodes && w.sofar.nodes > MaxNodes {
		w.beyond.nodes = *n
	}
	if before.entries <= MaxEntries && w.sofar.entries > MaxEntries {
		w.beyond.entries = *n
		if n.Kind == yaml.SequenceNode {
			w.beyond.entries = *n.Content[MaxEntries-before.entries]
		}
	}
}

func (w *walker) count(n *yaml.Node) census {
	if c, done := w.known[n]; done {
		return c
	}
	if n.Anchor != "" {
		w.open[n] = true
	}
	total := census{nodes: 1}
	switch n.Kind {
	case yaml.AliasNode:
		if w.aliases++; w.aliases == MaxAliases+1 {
			w.beyond.aliases = *n
		}
		if w.open[n.Alias] {
			w.add(n.Line, n.Column, "the anchor %q holds itself", n.Value)
			break
		}
		total.add(w.count(n.Alias))
	case yaml.SequenceNode:
		total.add(census{entries: len(n.Content)})
	case yaml.MappingNode:
		w.duplicates(n)
	}
	w.pass(n, total)
	for _, child := range n.Content {
		total.add(w.count(child))
	}
	if n.Anchor != "" {
		delete(w.open, n)
		w.known[n] = total
	}
	return total
}

func (w *walker) duplicates(n *yaml.Node) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			continue
		}
		if first, twice := seen[key.Value]; twice {
			first, _ = w.text.origin(first, 0)
			w.add(key.Line, key.Column, "key %q is set already in line %d", key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
	}
}
