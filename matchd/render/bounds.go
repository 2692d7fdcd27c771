package render

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

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
		r.add(second.Line, 0, "a second YAML document starts here: only one would be used")
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
		r.add(0, 0, "holds more than %d YAML aliases", MaxAliases)
	case total.nodes > MaxNodes:
		r.add(0, 0, "holds more than %d values", MaxNodes)
	case total.entries > MaxEntries:
		r.add(0, 0, "holds more than %d list entries", MaxEntries)
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
		w.aliases++
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

var (
	yamlLine  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlWrong = regexp.MustCompile("^cannot unmarshal (!!\\w+)(?: `(.*?)(?:\\.\\.\\.)?`)? into ")
)

// yamlError adds each line of an error of package yaml; root, where given, tells the column.
func (r *reporter) yamlError(err error, root *yaml.Node) {
	lines := strings.Split(err.Error(), "\n")
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "yaml: unmarshal errors:" || line == "" {
			continue
		}
		m := yamlLine.FindStringSubmatch(line)
		if m == nil {
			r.add(0, 0, "is not YAML: %s", strings.TrimPrefix(line, "yaml: "))
			continue
		}
		number, _ := strconv.Atoi(m[1])
		column := 0
		if what := yamlWrong.FindStringSubmatch(m[2]); what != nil {
			column = columnOf(root, number, what[1], what[2])
		}
		r.add(number, column, "%s", m[2])
	}
}

// columnOf returns the column of the value on that line that has the tag and starts with text, or 0.
func columnOf(n *yaml.Node, line int, tag, text string) int {
	if n == nil {
		return 0
	}
	if n.Line == line && n.Kind != yaml.DocumentNode && n.ShortTag() == tag && strings.HasPrefix(n.Value, text) {
		return n.Column
	}
	for _, child := range n.Content {
		if column := columnOf(child, line, tag, text); column > 0 {
			return column
		}
	}
	return 0
}
