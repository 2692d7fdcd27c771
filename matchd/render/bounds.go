package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	if r.err() != nil {
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

// checkJSON checks the bounds of a JSON document and that it is one value with no key twice.
func checkJSON(r *reporter) bool {
	if len(r.text.out) > MaxDocument {
		r.add(0, 0, "has %d bytes, at most %d are allowed", len(r.text.out), MaxDocument)
		return false
	}
	j := jsonWalker{Decoder: json.NewDecoder(bytes.NewReader(r.text.out)), reporter: r}
	err := j.value(0)
	if err == nil {
		_, err = j.Token()
		switch {
		case errors.Is(err, io.EOF):
			return r.err() == nil
		case err == nil:
			err = errors.New("more text follows the JSON value")
		}
	}
	offset := j.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
		if offset >= int64(len(r.text.out)) || !strings.Contains(syntax.Error(), strconv.QuoteRune(rune(r.text.out[offset]))) {
			offset = max(offset-1, 0) // the scanner counts the byte that it stumbled over, the tokenizer does not
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the text ends within a JSON value")
	}
	line, column := lineColumn(string(r.text.out), int(offset))
	r.add(line, column, "is not valid JSON: %v", err)
	return false
}

// maxDepth is the nesting of JSON values that is read; encoding/json itself stops at 10,000.
const maxDepth = 100

type jsonWalker struct {
	*json.Decoder
	*reporter
	nodes, entries int
}

// value reads one value.
func (j *jsonWalker) value(depth int) error {
	token, err := j.Token()
	if err != nil {
		return err
	}
	if j.nodes++; j.nodes > MaxNodes {
		return fmt.Errorf("it holds more than %d values", MaxNodes)
	}
	delim, nested := token.(json.Delim)
	switch {
	case !nested:
		return nil
	case depth == maxDepth:
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	case delim == '{':
		err = j.object(depth + 1)
	default:
		err = j.array(depth + 1)
	}
	if err != nil {
		return err
	}
	_, err = j.Token()
	return err
}

func (j *jsonWalker) object(depth int) error {
	seen := make(map[string]bool)
	for j.More() {
		token, err := j.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		if seen[key] {
			line, column := lineColumn(string(j.text.out), int(j.InputOffset())-len(key)-2)
			j.add(line, column, "key %q is set already", key)
		}
		seen[key] = true
		if err := j.value(depth); err != nil {
			return err
		}
	}
	return nil
}

func (j *jsonWalker) array(depth int) error {
	for j.More() {
		if j.entries++; j.entries > MaxEntries {
			return fmt.Errorf("it holds more than %d list entries", MaxEntries)
		}
		if err := j.value(depth); err != nil {
			return err
		}
	}
	return nil
}
