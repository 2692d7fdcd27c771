package site

import (
	"bytes"
	"errors"
	"io"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/trial"
)

// Bounds of one decoded file.
const (
	MaxNodes = 100_000 // values and keys, those behind YAML aliases counted each time
	MaxDepth = 100     // nesting
)

// Decode reads one YAML document, or JSON if name ends in .json, into the value that into points to, strictly: an unknown field, a
// key set twice and a value of the wrong type are problems, each with its line and column, and all are reported at once.
//
// Fields go by their yaml tag, else their json tag. A type with UnmarshalText reads a string; one with UnmarshalYAML reads the node.
// Fields that the document does not mention keep their value; lists and maps that it does mention are replaced. A null list, map or
// pointer is an empty one. A document without content changes nothing. The error is of kind Invalid with *[Problems] in its
// chain; what into points to is then undefined.
func Decode(name string, data []byte, into any) error {
	d := &decoder{file: name, source: data}
	if root := d.parse(); root != nil {
		d.value(root, reflect.ValueOf(into).Elem(), "", 0)
	}
	return d.err()
}

// decoder decodes one file and collects what is wrong with it.
type decoder struct {
	file     string
	source   []byte
	problems Problems
	nodes    int
	places   []place
}

// place says where the value of a field stands.
type place struct {
	path         string // such as "boot.args[1]"; "" is the document
	line, column int32
}

func (d *decoder) err() error {
	if len(d.problems.Problems) == 0 {
		return nil
	}
	d.problems.Problems = trial.Sort(d.problems.Problems)
	return fault.Wrap(fault.Invalid, &d.problems)
}

// add notes a problem at a node; nil stands for the file as a whole.
func (d *decoder) add(n *yaml.Node, what string) {
	if n == nil {
		d.problems.add(Problem{File: d.file, What: what})
		return
	}
	d.addAt(n.Line, n.Column, what)
}

func (d *decoder) addAt(line, column int, what string) {
	d.problems.add(Problem{File: d.file, Line: line, Column: column, What: what, Source: shownLine(d.source, line)})
}

// parse returns the root value of the file, nil if it is empty or there are problems.
func (d *decoder) parse() *yaml.Node {
	if i := firstInvalid(d.source); i >= 0 {
		line, column := position(d.source, i)
		d.addAt(line, column, "is not UTF-8 text")
		return nil
	}
	if strings.EqualFold(path.Ext(d.file), ".json") {
		return d.parseJSON()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(d.source))
	var root, second yaml.Node
	err := decoder.Decode(&root)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = decoder.Decode(&second)
		if err == nil {
			d.addAt(second.Line, 0, "a second YAML document starts here: a file holds one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return nil
	}
	if len(root.Content) == 0 || root.Content[0].ShortTag() == "!!null" && root.Content[0].Value == "" {
		return nil
	}
	return root.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

func (d *decoder) syntax(err error) {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		d.addAt(line, 0, "is not valid YAML: "+m[2])
		return
	}
	d.add(nil, "is not valid YAML: "+strings.TrimPrefix(err.Error(), "yaml: "))
}

// firstInvalid returns the offset of the first byte that is not UTF-8, -1 if all is.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// position returns the line and column of a byte offset, both from 1, the column in characters.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}
