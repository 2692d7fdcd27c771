package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// jsonReader turns JSON into the nodes that YAML is parsed into, so that one decoder serves both. YAML's own parser is no substitute:
// it takes trailing commas and comments, and stumbles over escaped surrogates.
type jsonReader struct {
	*decoder
	json  *json.Decoder
	line  int // of offset
	start int // offset at which that line starts
	at    int // offset up to which lines are counted
}

func (d *decoder) parseJSON() *yaml.Node {
	if len(bytes.TrimSpace(d.source)) == 0 {
		return nil
	}
	r := &jsonReader{decoder: d, json: json.NewDecoder(bytes.NewReader(d.source)), line: 1}
	r.json.UseNumber()
	root, err := r.node(0)
	if err == nil {
		r.skip()
		if r.at == len(d.source) {
			return root
		}
		err = errors.New("more text follows the value")
	}
	r.fail(err)
	return nil
}

var errTooDeep = errors.New("it is nested too deep")

// node reads one value.
func (r *jsonReader) node(depth int) (*yaml.Node, error) {
	n := r.skip()
	token, err := r.json.Token()
	switch {
	case err != nil:
		return nil, err
	case depth > MaxDepth:
		return nil, errTooDeep
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return r.object(n, depth)
		}
		return r.array(n, depth)
	case string:
		n.Tag, n.Value, n.Style = "!!str", token, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", token.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", "false"
		if token {
			n.Value = "true"
		}
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func (r *jsonReader) object(n *yaml.Node, depth int) (*yaml.Node, error) {
	n.Kind, n.Tag = yaml.MappingNode, "!!map"
	for r.json.More() {
		key, err := r.node(depth + 1)
		if err != nil {
			return nil, err
		}
		value, err := r.node(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, key, value)
	}
	_, err := r.json.Token()
	return n, err
}

func (r *jsonReader) array(n *yaml.Node, depth int) (*yaml.Node, error) {
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	for r.json.More() {
		element, err := r.node(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, element)
	}
	_, err := r.json.Token()
	return n, err
}

// skip goes to where the next value starts and returns an empty scalar there.
func (r *jsonReader) skip() *yaml.Node {
	offset := int(r.json.InputOffset())
	for offset < len(r.source) && strings.IndexByte(" \t\r\n,:", r.source[offset]) >= 0 {
		offset++
	}
	r.countTo(offset)
	return &yaml.Node{Kind: yaml.ScalarNode, Line: r.line, Column: 1 + utf8.RuneCount(r.source[r.start:offset])}
}

// countTo counts the lines up to offset, which never goes back.
func (r *jsonReader) countTo(offset int) {
	passed := r.source[r.at:max(offset, r.at)]
	r.line += bytes.Count(passed, []byte("\n"))
	if last := bytes.LastIndexByte(passed, '\n'); last >= 0 {
		r.start = r.at + last + 1
	}
	r.at += len(passed)
}

func (r *jsonReader) fail(err error) {
	offset := max(int(r.json.InputOffset()), r.at)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = int(syntax.Offset)
		if offset >= len(r.source) || !strings.Contains(syntax.Error(), strconv.QuoteRune(rune(r.source[offset]))) {
			offset-- // the scanner counts the byte that it stumbled over, the tokenizer does not
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		offset, err = len(r.source), errors.New("the text ends within a value")
	}
	line, column := position(r.source, offset)
	r.addAt(line, column, "is not valid JSON: "+err.Error())
}
