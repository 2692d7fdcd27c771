package render

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What package yaml's errors look like: lines from 1, no columns.
var (
	yamlLine  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	yamlWrong = regexp.MustCompile("^cannot unmarshal (!!\\w+)(?: `(.*?)(\\.\\.\\.)?`)? into (\\S+)$")
	noAnchor  = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced$`)
)

// yamlError adds each line of an error of package yaml; root, where given, tells the column of a value of the wrong type.
func (r *reporter) yamlError(err error, root *yaml.Node) {
	lines := strings.Split(err.Error(), "\n")
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "yaml: unmarshal errors:" || line == "" {
			continue
		}
		if m := noAnchor.FindStringSubmatch(line); m != nil {
			number, column := r.find("*" + m[1])
			r.add(number, column, "there is no anchor &%s for this alias", m[1])
			continue
		}
		m := yamlLine.FindStringSubmatch(line)
		if m == nil {
			r.add(0, 0, "is not YAML: %s", strings.TrimPrefix(line, "yaml: "))
			continue
		}
		number, _ := strconv.Atoi(m[1])
		what := yamlWrong.FindStringSubmatch(m[2])
		if what == nil {
			r.add(number, syntaxColumn(r.text.line(number), m[2]), "%s", m[2])
			continue
		}
		r.add(number, columnOf(root, number, what[1], what[2]), "%s", plainYAML(what))
	}
}

// syntaxColumn returns the column of the character that a syntax error complains of, or where the line's text starts.
func syntaxColumn(line, message string) int {
	at := len(line) - len(strings.TrimLeft(line, " "))
	if strings.Contains(message, "cannot start any token") && strings.IndexByte("\t@`%", (line + " ")[at]) < 0 {
		if inside := strings.IndexAny(line, "\t@`%"); inside >= 0 {
			at = inside
		}
	}
	_, column := lineColumn(line, at)
	return column
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

// plainYAML says without the words of Go and of YAML's tags that a value has the wrong type; m is what yamlWrong found.
func plainYAML(m []string) string {
	names := map[string]string{
		"!!str": "the text", "!!int": "the number", "!!float": "the number", "!!seq": "a list", "!!map": "a map", "!!bool": "", "!!null": "nothing",
		"!!timestamp": "the date",
	}
	name, known := names[m[1]]
	if !known {
		name = m[1]
	}
	got := []string{name}
	switch {
	case m[2] == "":
	case m[1] == "!!str":
		got = append(got, fmt.Sprintf("%q", m[2]+m[3]))
	default:
		got = append(got, m[2]+m[3])
	}
	return fmt.Sprintf("want %s, got %s", plainType(m[4]), strings.TrimSpace(strings.Join(got, " ")))
}

// plainType names what a Go type takes.
func plainType(name string) string {
	name = strings.TrimLeft(name, "*")
	switch {
	case strings.HasPrefix(name, "[]"):
		return "a list"
	case strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return "a whole number"
	case strings.HasPrefix(name, "float"):
		return "a number"
	case name == "bool":
		return "true or false"
	case name == "string":
		return "text"
	}
	return "a map"
}
