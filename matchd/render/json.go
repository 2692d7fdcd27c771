package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// decodeJSON reads r's text, checks its bounds and that it is one value with no key twice, and returns it as a tree with positions,
// like a YAML document's. It returns nil with problems in r.
func decodeJSON(r *reporter) *yaml.Node {
	if len(r.text.out) > MaxDocument {
		r.add(0, 0, "has %d bytes, at most %d are allowed", len(r.text.out), MaxDocument)
		return nil
	}
	earlier := len(r.report.Problems)
	j := jsonWalker{Decoder: json.NewDecoder(bytes.NewReader(r.text.out)), reporter: r, starts: r.text.lines()}
	root, err := j.value(0)
	if err == nil {
		_, err = j.Token()
		switch {
		case errors.Is(err, io.EOF) && len(r.report.Problems) == earlier:
			return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}, Line: 1, Column: 1}
		case errors.Is(err, io.EOF):
			return nil
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
	return nil
}

// maxDepth is the nesting of JSON values that is read; encoding/json itself stops at 10,000.
const maxDepth = 100

type jsonWalker struct {
	*json.Decoder
	*reporter
	starts         []int // where lines start
	nodes, entries int
}

// node returns a node for the token that starts behind offset.
func (j *jsonWalker) node(kind yaml.Kind, offset int64) *yaml.Node {
	at := int(offset)
	for at < len(j.text.out) && strings.IndexByte(" \t\r\n,:", j.text.out[at]) >= 0 {
		at++
	}
	line := sort.SearchInts(j.starts, at+1)
	return &yaml.Node{Kind: kind, Line: line, Column: 1 + utf8.RuneCount(j.text.out[j.starts[line-1]:at])}
}

// value reads one value.
func (j *jsonWalker) value(depth int) (*yaml.Node, error) {
	start := j.InputOffset()
	token, err := j.Token()
	if err != nil {
		return nil, err
	}
	if j.nodes++; j.nodes > MaxNodes {
		return nil, fmt.Errorf("it holds more than %d values", MaxNodes)
	}
	delim, nested := token.(json.Delim)
	var n *yaml.Node
	switch {
	case !nested:
		n = j.node(yaml.ScalarNode, start)
		n.Value, _ = token.(string) // no other kind of value is looked at
		return n, nil
	case depth == maxDepth:
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	case delim == '{':
		n = j.node(yaml.MappingNode, start)
		err = j.object(n, depth+1)
	default:
		n = j.node(yaml.SequenceNode, start)
		err = j.array(n, depth+1)
	}
	if err != nil {
		return nil, err
	}
	_, err = j.Token()
	return n, err
}

func (j *jsonWalker) object(into *yaml.Node, depth int) error {
	seen := make(map[string]bool)
	for j.More() {
		start := j.InputOffset()
		token, err := j.Token()
		if err != nil {
			return err
		}
		name := j.node(yaml.ScalarNode, start)
		name.Value, _ = token.(string)
		if seen[name.Value] {
			j.add(name.Line, name.Column, "key %q is set already", name.Value)
		}
		seen[name.Value] = true
		value, err := j.value(depth)
		if err != nil {
			return err
		}
		into.Content = append(into.Content, name, value)
	}
	return nil
}

func (j *jsonWalker) array(into *yaml.Node, depth int) error {
	for j.More() {
		if j.entries++; j.entries > MaxEntries {
			return fmt.Errorf("it holds more than %d list entries", MaxEntries)
		}
		value, err := j.value(depth)
		if err != nil {
			return err
		}
		into.Content = append(into.Content, value)
	}
	return nil
}
