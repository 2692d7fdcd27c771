package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// writeJSON writes indented JSON; HTML's characters stay as they are.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// writeYAML writes a value as one YAML document: what its JSON says, in its order.
func writeYAML(w io.Writer, v any) error {
	var text bytes.Buffer
	if err := writeJSON(&text, v); err != nil {
		return err
	}
	decoder := json.NewDecoder(&text)
	decoder.UseNumber()
	root, err := yamlNode(decoder)
	if err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	return encoder.Close()
}

// yamlNode reads the next JSON value.
func yamlNode(from *json.Decoder) (*yaml.Node, error) {
	token, err := from.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		return yamlCollection(from, token)
	case string:
		return yamlString(token), nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(token.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: token.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(token)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

func yamlCollection(from *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for from.More() {
		element, err := yamlNode(from)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, element)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err := from.Token()
	return n, err
}

// yamlString writes text of several lines as such where it can be read back byte for byte, and else in quotes.
func yamlString(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if strings.Contains(text, "\n") {
		n.Style = yaml.LiteralStyle
	}
	if !readsBack(n, text) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func readsBack(n *yaml.Node, want string) bool {
	// In a map, as it will stand: indentation is what literal text goes wrong by.
	inMap := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "k"}, n}}
	written, err := yaml.Marshal(inMap)
	if err != nil {
		return false
	}
	var root yaml.Node
	if yaml.Unmarshal(written, &root) != nil || len(root.Content) == 0 || len(root.Content[0].Content) != 2 {
		return false
	}
	read := root.Content[0].Content[1]
	return read.ShortTag() == "!!str" && read.Value == want
}
