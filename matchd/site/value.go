package site

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/trial"
)

// value decodes node n into v. Every value's place is remembered under its path.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, depth int) {
	d.nodes++
	switch {
	case d.nodes == MaxNodes+1:
		d.add(n, fmt.Sprintf("the file holds more than %d values", MaxNodes))
		return
	case d.nodes > MaxNodes:
		return
	case depth > MaxDepth:
		d.add(n, fmt.Sprintf("is nested more than %d deep", MaxDepth))
		return
	}
	if n.Kind == yaml.AliasNode {
		target := *n.Alias
		target.Line, target.Column = n.Line, n.Column // errors point to where the alias is used
		d.value(&target, v, path, depth+1)
		return
	}
	d.places = append(d.places, place{path, int32(n.Line), int32(n.Column)})
	if v.Kind() == reflect.Pointer {
		if isNull(n) {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), path, depth+1)
		return
	}
	if d.custom(n, v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path, depth)
	case reflect.Map:
		d.mapping(n, v, path, depth)
	case reflect.Slice:
		d.sequence(n, v, path, depth)
	case reflect.Interface:
		if plain, ok := d.plain(n, path, depth); ok && plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
	default:
		d.scalar(n, v)
	}
}

// custom lets a type read itself.
func (d *decoder) custom(n *yaml.Node, v reflect.Value) bool {
	if !v.CanAddr() {
		return false
	}
	var err error
	switch reader := v.Addr().Interface().(type) {
	case yaml.Unmarshaler:
		err = reader.UnmarshalYAML(n)
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			if v.Kind() == reflect.Struct && n.Kind == yaml.MappingNode && v.NumField() > 0 && v.Type().Field(0).IsExported() {
				return false // a type with a short form of text and a long form of fields
			}
			d.add(n, "want a string, got "+got(n))
			return true
		}
		if isNull(n) {
			d.add(n, "want a string, got nothing")
			return true
		}
		err = reader.UnmarshalText([]byte(n.Value))
	default:
		return false
	}
	if err != nil {
		for _, line := range strings.Split(strings.TrimPrefix(err.Error(), "yaml: unmarshal errors:\n"), "\n") {
			d.add(n, strings.TrimSpace(line))
		}
	}
	return true
}

// field is one field of a struct by the name that files use.
type field struct {
	name  string
	index []int
}

// fieldsOf lists the fields of a struct in order; those of embedded structs stand among them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("yaml")
		if !tagged {
			tag, tagged = f.Tag.Lookup("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		embedded := f.Anonymous && f.Type.Kind() == reflect.Struct && name == ""
		switch {
		case embedded || strings.Contains(options, "inline"):
			for _, inner := range fieldsOf(f.Type) {
				fields = append(fields, field{inner.name, append([]int{i}, inner.index...)})
			}
		case !f.IsExported() || name == "-":
		case name == "" && !tagged:
			fields = append(fields, field{strings.ToLower(f.Name), []int{i}})
		case name == "":
			fields = append(fields, field{f.Name, []int{i}})
		default:
			fields = append(fields, field{name, []int{i}})
		}
	}
	return fields
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string, depth int) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.add(n, "want a map, got "+got(n))
		return
	}
	fields := fieldsOf(v.Type())
	d.pairs(n, func(key, value *yaml.Node) {
		for _, f := range fields {
			if f.name == key.Value {
				d.value(value, v.FieldByIndex(f.index), join(path, f.name), depth+1)
				return
			}
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		d.add(key, fmt.Sprintf("unknown field %q%s", key.Value, trial.DidYouMean(key.Value, names, "; known are "+strings.Join(names, ", "))))
	})
}

// pairs calls do for every key of a map; what is no usable key is a problem.
func (d *decoder) pairs(n *yaml.Node, do func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		first, twice := seen[key.Value]
		switch {
		case key.ShortTag() == "!!merge":
			d.add(key, "merge keys (<<) are not read: write the fields out")
		case key.Kind != yaml.ScalarNode || isNull(key):
			d.add(key, "a key must be a string, not "+got(key))
		case twice:
			d.add(key, fmt.Sprintf("%q is set already in line %d", key.Value, first))
		default:
			seen[key.Value] = key.Line
			do(key, value)
		}
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, depth int) {
	switch {
	case isNull(n):
		v.SetZero()
		return
	case n.Kind != yaml.MappingNode:
		d.add(n, "want a map, got "+got(n))
		return
	case v.Type().Key().Kind() != reflect.String:
		panic("site.Decode: a map must have string keys, not " + v.Type().String())
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.pairs(n, func(key, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, join(path, key.Value), depth+1)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
	})
	v.Set(m)
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string, depth int) {
	switch {
	case isNull(n):
		v.SetZero()
		return
	case n.Kind != yaml.SequenceNode:
		d.add(n, "want a list, got "+got(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		d.value(element, list.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1)
	}
	v.Set(list)
}

// plain decodes into what encoding/json would make of the value: nil, bool, float64, string, []any, map[string]any.
func (d *decoder) plain(n *yaml.Node, path string, depth int) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		var m map[string]any
		d.mapping(n, reflect.ValueOf(&m).Elem(), path, depth)
		return m, true
	case yaml.SequenceNode:
		var list []any
		d.sequence(n, reflect.ValueOf(&list).Elem(), path, depth)
		return list, true
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, true
	case "!!bool":
		var b bool
		d.scalar(n, reflect.ValueOf(&b).Elem())
		return b, true
	case "!!int", "!!float":
		var f float64
		d.scalar(n, reflect.ValueOf(&f).Elem())
		return f, true
	}
	return n.Value, true
}

// scalar decodes into a string, a boolean or a number.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	tag := ""
	if n.Kind == yaml.ScalarNode {
		tag = n.ShortTag()
	}
	switch {
	case v.Kind() == reflect.String:
		if !isText(n) {
			d.add(n, "want a string, got "+got(n)+quoteHint(n))
			return
		}
		v.SetString(n.Value)
	case v.Kind() == reflect.Bool:
		if tag != "!!bool" {
			d.add(n, "want true or false, got "+got(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.CanInt():
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
		if tag != "!!int" || err != nil || v.OverflowInt(i) {
			d.add(n, fmt.Sprintf("want a whole number%s, got %s", span(v), got(n)))
			return
		}
		v.SetInt(i)
	case v.CanUint():
		u, err := strconv.ParseUint(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
		if tag != "!!int" || err != nil || v.OverflowUint(u) {
			d.add(n, fmt.Sprintf("want a whole number%s, got %s", span(v), got(n)))
			return
		}
		v.SetUint(u)
	case v.CanFloat():
		var f float64
		if tag != "!!int" && tag != "!!float" || n.Decode(&f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			d.add(n, "want a number, got "+got(n))
			return
		}
		v.SetFloat(f)
	default:
		panic("site.Decode: no files have a " + v.Type().String())
	}
}

// span tells the bounds of small integers.
func span(v reflect.Value) string {
	switch bits := v.Type().Bits(); {
	case bits >= 64 && v.CanUint():
		return " from 0"
	case bits >= 64:
		return ""
	case v.CanUint():
		return fmt.Sprintf(" from 0 to %d", uint64(1)<<bits-1)
	default:
		return fmt.Sprintf(" from %d to %d", -(int64(1) << (bits - 1)), int64(1)<<(bits-1)-1)
	}
}

// isText reports whether a scalar is a string, and not a number, a boolean or nothing that merely looks like one in the file.
func isText(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp", "!!merge":
		return true
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// got names what stands in a file.
func got(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	value := n.Value
	if runes := []rune(value); len(runes) > 40 {
		value = string(runes[:40]) + "…"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + value
	case "!!bool":
		return value
	}
	return fmt.Sprintf("the string %q", value)
}

func quoteHint(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return fmt.Sprintf(": write %q", n.Value)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
