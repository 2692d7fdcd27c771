package site_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/profiles"
)

// short can be written as "name=mode" or as a map.
type short struct {
	Name string `yaml:"name"`
	Mode string `yaml:"mode"`
}

func (s *short) UnmarshalText(text []byte) error {
	name, mode, found := strings.Cut(string(text), "=")
	if !found {
		return errors.New("want name=mode")
	}
	*s = short{name, mode}
	return nil
}

type node struct{ kind yaml.Kind }

func (n *node) UnmarshalYAML(value *yaml.Node) error {
	n.kind = value.Kind
	if value.Value == "bad" {
		return errors.New("is bad")
	}
	return nil
}

type inner struct {
	Text string `yaml:"text"`
}

// everything has a field of every sort that a file may fill.
type everything struct {
	inner    `yaml:",inline"`
	Name     string            `yaml:"name" json:"other"`
	JSON     string            `json:"from_json,omitempty"`
	Untagged string            //
	Hidden   string            `yaml:"-"`
	On       bool              `yaml:"on"`
	Int      int               `yaml:"int"`
	Small    uint8             `yaml:"small"`
	Signed   int8              `yaml:"signed"`
	Float    float64           `yaml:"float"`
	List     []string          `yaml:"list"`
	Map      map[string]string `yaml:"map"`
	Any      any               `yaml:"any"`
	Pointer  *inner            `yaml:"pointer"`
	Addr     netip.Addr        `yaml:"addr"`
	Prefixes []netip.Prefix    `yaml:"prefixes"`
	Shorts   []short           `yaml:"shorts"`
	Node     node              `yaml:"node"`
}

func TestDecode(t *testing.T) {
	const text = `
text: from the embedded struct
name: n
from_json: j
untagged: u
on: true
int: -1_000
small: 255
signed: -128
float: 1
list: [a, "2"]
map: {a: b, 1: c}
any: {x: [1, 0x10, 1.5, true, null, text, 2026-01-01]}
pointer: {text: p}
addr: 10.0.0.1
prefixes: [10.0.0.0/24]
shorts: [eth0=proxy, {name: eth1, mode: "off"}]
node: [x]
`
	got := everything{Hidden: "stays", Map: map[string]string{"old": "goes"}}
	if err := site.Decode("a.yaml", []byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := everything{
		inner: inner{"from the embedded struct"}, Name: "n", JSON: "j", Untagged: "u", Hidden: "stays", On: true, Int: -1000, Small: 255, Signed: -128, Float: 1,
		List: []string{"a", "2"}, Map: map[string]string{"a": "b", "1": "c"}, Any: map[string]any{"x": []any{1.0, 16.0, 1.5, true, nil, "text", "2026-01-01"}},
		Pointer: &inner{"p"}, Addr: netip.MustParseAddr("10.0.0.1"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
		Shorts: []short{{"eth0", "proxy"}, {"eth1", "off"}}, Node: node{yaml.SequenceNode},
	}
	options := cmp.Options{cmp.AllowUnexported(everything{}, node{}), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeKeepsWhatIsNotMentioned(t *testing.T) {
	for _, tt := range []struct{ name, text string }{{"a.yaml", ""}, {"a.yaml", "# only a comment\n"}, {"a.yaml", "---\n"}, {"a.json", " \n"}, {"a.yaml", "list:\n"}, {"a.json", `{"list":null,"pointer":null}`}} {
		got := everything{Name: "kept"}
		if err := site.Decode(tt.name, []byte(tt.text), &got); err != nil || got.Name != "kept" || got.List != nil {
			t.Errorf("%q: got %+v, %v", tt.text, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"unknown field", "a.yaml", "nmae: x\n", []string{`a.yaml:1:1: unknown field "nmae": did you mean "name"?: nmae: x`}},
		{"swapped and case", "a.yaml", "Adrd: x\n", []string{`a.yaml:1:1: unknown field "Adrd": did you mean "addr"?: Adrd: x`}},
		{"nothing like it", "a.yaml", "pointer: {completely: 1}\n", []string{`a.yaml:1:11: unknown field "completely"; known are text: pointer: {completely: 1}`}},
		{"ignored field", "a.yaml", "hidden: x\n", []string{`a.yaml:1:1: unknown field "hidden"`}},
		{"duplicate", "a.yaml", "name: a\nint: 1\nname: b\n", []string{`a.yaml:3:1: "name" is set already in line 1: name: b`}},
		{"duplicate in JSON", "a.json", "{\"name\": \"a\",\n \"name\": \"b\"}", []string{`a.json:2:2: "name" is set already in line 1`}},
		{"number for a string", "a.yaml", "name: 017\n", []string{`a.yaml:1:7: want a string, got the number 017: write "017": name: 017`}},
		{"boolean for a string", "a.yaml", "name: true\n", []string{`a.yaml:1:7: want a string, got true: write "true"`}},
		{"nothing for a string", "a.yaml", "name:\n", []string{`a.yaml:1:6: want a string, got nothing: write ""`}},
		{"list for a string", "a.yaml", "name: [a]\n", []string{`a.yaml:1:7: want a string, got a list: name: [a]`}},
		{"string for a list", "a.yaml", "list: a\n", []string{`a.yaml:1:7: want a list, got the string "a"`}},
		{"string for a map", "a.yaml", "map: a\npointer: b\n", []string{`a.yaml:1:6: want a map, got the string "a"`, `a.yaml:2:10: want a map, got the string "b"`}},
		{"yes for a boolean", "a.yaml", "on: yes\n", []string{`a.yaml:1:5: want true or false, got the string "yes"`}},
		{"numbers", "a.yaml", "int: 1.5\nsmall: 256\nsigned: -129\nfloat: x\n", []string{
			"a.yaml:1:6: want a whole number, got the number 1.5: int: 1.5", "a.yaml:2:8: want a whole number from 0 to 255, got the number 256",
			"a.yaml:3:9: want a whole number from -128 to 127, got the number -129", `a.yaml:4:8: want a number, got the string "x"`,
		}},
		{"infinity", "a.yaml", "any: .inf\n", []string{"a.yaml:1:6: want a number, got the number .inf"}},
		{"text of a type", "a.yaml", "addr: 10.0.0.256\nprefixes: [10.0.0.0]\nshorts: [eth0]\n", []string{"a.yaml:1:7: ParseAddr", "a.yaml:2:12: netip.ParsePrefix", "a.yaml:3:10: want name=mode"}},
		{"map for a text", "a.yaml", "addr: {a: b}\n", []string{"a.yaml:1:7: want a string, got a map"}},
		{"long form is strict", "a.yaml", "shorts: [{name: a, mod: b}]\n", []string{`a.yaml:1:20: unknown field "mod": did you mean "mode"?`}},
		{"node", "a.yaml", "node: bad\n", []string{"a.yaml:1:7: is bad"}},
		{"list elements", "a.yaml", "list:\n  - a\n  - 2\n  - [b]\n", []string{"a.yaml:3:5: want a string, got the number 2", "a.yaml:4:5: want a string, got a list"}},
		{"root", "a.yaml", "- a\n", []string{"a.yaml:1:1: want a map, got a list"}},
		{"two documents", "a.yaml", "name: a\n---\nname: b\n", []string{"a.yaml:2: a second YAML document starts here: a file holds one: ---"}},
		{"syntax", "a.yaml", "name: [\n", []string{"a.yaml:1: is not valid YAML: did not find expected node content: name: ["}},
		{"tab", "a.yaml", "map:\n\ta: b\n", []string{"a.yaml:2: is not valid YAML: found character that cannot start any token: a: b"}},
		{"not text", "a.yaml", "name: a\nint: \xff\n", []string{"a.yaml:2:6: is not UTF-8 text"}},
		{"merge key", "a.yaml", "map: &m {a: b}\nany: {<<: *m}\n", []string{"a.yaml:2:7: merge keys (<<) are not read"}},
		{"odd keys", "a.yaml", "any: {? [a] : b, null: c}\n", []string{"a.yaml:1:9: a key must be a string, not a list", "a.yaml:1:18: a key must be a string, not nothing"}},
		{"alias of itself", "a.yaml", "any: &a [*a]\n", []string{"a.yaml:1:10: is nested more than 100 deep"}},
		{"aliases of itself", "a.yaml", "any: &a [*a, *a]\n", nil},
		{"alias bomb", "a.yaml", "any:\n  - &a [x,x,x,x,x,x,x,x,x,x]\n" + bomb(8), []string{"the file holds more than 100000 values"}},
		{"JSON: trailing comma", "a.json", "{\"list\": [\"a\",]}", []string{"a.json:1:15: is not valid JSON: invalid character ']'"}},
		{"JSON: comment", "a.json", "{\n // no\n}", []string{"a.json:2:2: is not valid JSON: invalid character '/'"}},
		{"JSON: two values", "a.json", "{} {}", []string{"a.json:1:4: is not valid JSON: more text follows the value"}},
		{"JSON: cut short", "a.json", "{\"name\": \"x\"", []string{"a.json:1:13: is not valid JSON: the text ends within a value"}},
		{"JSON: deep", "a.json", strings.Repeat("[", 200) + strings.Repeat("]", 200), []string{"is not valid JSON: it is nested too deep"}},
		{"JSON: large number", "a.json", `{"any": 1e999}`, []string{"a.json:1:9: want a number, got the number 1e999"}},
		{"JSON: column in characters", "a.json", `{"name": "äöü", "int": "x"}`, []string{`a.json:1:24: want a whole number, got the string "x"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := site.Decode(tt.file, []byte(tt.text), new(everything))
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, want an error of kind Invalid", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if tt.want != nil && len(lines) != len(tt.want) {
				t.Fatalf("got %d problems, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("got  %s\nwant %s", lines[i], want)
				}
			}
		})
	}
}

func bomb(levels int) string {
	var b strings.Builder
	for i := range levels {
		name, inner := string(rune('b'+i)), "*"+string(rune('a'+i))
		b.WriteString("  - &" + name + " [" + strings.Repeat(inner+",", 9) + inner + "]\n")
	}
	return b.String()
}

// FuzzDecode reads whatever may lie in a site: no panic, and an error is always a list of problems with the file's name.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"id: a\nprofile: p\nselector: {mac: 52-54-00-00-00-01}\nmetadata: {a: [1, {b: null}]}\n", `{"id":"a","profile":"p","metadata":{"x":[1,2.5,true,null,"\ud83d\ude00"]}}`,
		"a: &a [*a]", "<<: {}", "? [x]\n: y", "id: 1\nid: 2", "[", "{\"a\": ", "\xff", "id: !!binary aGVsbG8=", "boot: {args: [a, 1]}", "--- a\n--- b", "metadata: 2026-01-01",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"f.yaml", "f.json"} {
			for _, into := range []any{new(groups.Group), new(profiles.Profile), new(everything)} {
				err := site.Decode(name, []byte(text), into)
				var problems *site.Problems
				if err == nil {
					continue
				}
				if !errors.As(err, &problems) || len(problems.Problems) == 0 || !strings.HasPrefix(err.Error(), name) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
}
