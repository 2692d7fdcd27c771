package render

import (
	"fmt"
	"maps"
	"reflect"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"go.yaml.in/yaml/v3"
)

// Bounds of what a function of a template may take and give.
const (
	MaxValue    = 256 * 1024 // bytes; each element of a list or map counts elementSize besides its text
	elementSize = 64
	maxListed   = MaxValue / elementSize // elements, therefore
	maxMatching = 4_000_000              // instructions of a regular expression times bytes of its text: some tenths of a second
)

// hermetic lists those of sprig's functions that templates have: what they give depends on their arguments alone.
//
// Not among them are all that ask for the time, chance, the environment or the network; those that make keys and passwords; those that change
// their argument, since documents share data (set, unset, merge and its kin); those whose cost grows with the square of a list (uniq, without)
// or with a line break (wrapWith); slice, which text/template has better; and hello. The order of keys and values is ours: sprig's is a map's.
var hermetic = []string{
	"abbrev", "abbrevboth", "trunc", "trim", "upper", "lower", "title", "untitle", "substr", "repeat", "trimall", "trimAll", "trimSuffix",
	"trimPrefix", "nospace", "initials", "swapcase", "snakecase", "camelcase", "kebabcase", "wrap", "contains", "hasPrefix", "hasSuffix",
	"quote", "squote", "cat", "indent", "nindent", "replace", "plural", "sha1sum", "sha256sum", "sha512sum", "adler32sum", "toString",
	"atoi", "int64", "int", "float64", "seq", "toDecimal", "split", "splitList", "splitn", "toStrings", "until", "untilStep",
	"add1", "add", "sub", "div", "mod", "mul", "add1f", "addf", "subf", "divf", "mulf", "biggest", "max", "min", "maxf", "minf", "ceil",
	"floor", "round", "join", "sortAlpha", "default", "empty", "coalesce", "all", "any", "compact", "mustCompact", "fromJson", "toJson",
	"toPrettyJson", "toRawJson", "mustFromJson", "mustToJson", "mustToPrettyJson", "mustToRawJson", "ternary", "deepCopy", "mustDeepCopy",
	"typeOf", "typeIs", "typeIsLike", "kindOf", "kindIs", "deepEqual", "base", "dir", "clean", "ext", "isAbs", "osBase", "osClean", "osDir",
	"osExt", "osIsAbs", "b64enc", "b64dec", "b32enc", "b32dec", "tuple", "list", "dict", "get", "hasKey", "pluck", "keys", "pick", "omit",
	"values", "append", "mustAppend", "push", "mustPush", "prepend", "mustPrepend", "first", "mustFirst", "rest", "mustRest", "last", "mustLast",
	"initial", "mustInitial", "reverse", "mustReverse", "has", "mustHas", "concat", "dig", "chunk", "mustChunk", "duration", "semver",
	"semverCompare", "fail", "regexMatch", "mustRegexMatch", "regexFindAll", "mustRegexFindAll", "regexFind", "mustRegexFind",
	"regexReplaceAll", "mustRegexReplaceAll", "regexReplaceAllLiteral", "mustRegexReplaceAllLiteral", "regexSplit", "mustRegexSplit",
	"regexQuoteMeta", "urlParse", "urlJoin",
}

// functions returns all that templates have besides text/template's own.
var functions = sync.OnceValue(func() template.FuncMap {
	all := sprig.TxtFuncMap()
	all["keys"], all["values"] = sortedKeys, sortedValues
	given := boundedFunctions()
	for _, name := range hermetic {
		if function, found := all[name]; found {
			given[name] = limited(function, extentOf(name))
		}
	}
	given["toYAML"] = limited(toYAML, nil)
	return given
})

// toYAML writes a value as block-style YAML, keys sorted, without a line break at the end: {{.labels | toYAML | indent 8}}.
func toYAML(v any) (string, error) {
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func sortedKeys(dicts ...map[string]any) []string {
	var keys []string
	for _, dict := range dicts {
		keys = append(keys, slices.Sorted(maps.Keys(dict))...)
	}
	return keys
}

// sortedValues returns a dictionary's values in the order of their keys.
func sortedValues(dict map[string]any) []any {
	values := []any{}
	for _, key := range slices.Sorted(maps.Keys(dict)) {
		values = append(values, dict[key])
	}
	return values
}

// limited returns a function that does what f does unless its arguments or its result are too large. extent, which may be nil, estimates
// from the arguments how many bytes the result takes, for functions that can make much out of little.
func limited(f any, extent func(args []reflect.Value) int) any {
	function := reflect.ValueOf(f)
	kind := function.Type()
	in, out := make([]reflect.Type, kind.NumIn()), []reflect.Type{kind.Out(0), reflect.TypeFor[error]()}
	for i := range in {
		in[i] = kind.In(i)
	}
	fails := func(err error) []reflect.Value {
		return []reflect.Value{reflect.Zero(kind.Out(0)), reflect.ValueOf(err)}
	}
	wrapper := func(args []reflect.Value) []reflect.Value {
		budget := MaxValue
		for _, arg := range args {
			if budget = measure(arg, budget, 0); budget < 0 {
				return fails(errTooWide)
			}
		}
		if extent != nil && extent(args) > MaxOutput {
			return fails(errTooWide)
		}
		call := function.Call
		if kind.IsVariadic() {
			call = function.CallSlice
		}
		results := call(args)
		switch {
		case len(results) == 2 && !results[1].IsNil():
			return results
		case measure(results[0], MaxValue, 0) < 0:
			return fails(errTooWide)
		}
		return []reflect.Value{results[0], reflect.Zero(out[1])}
	}
	return reflect.MakeFunc(reflect.FuncOf(in, out, kind.IsVariadic()), wrapper).Interface()
}

// measure returns what v leaves of a budget of bytes, negative if it is too large or nested too deep.
func measure(v reflect.Value, budget, depth int) int {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if depth > maxDepth {
		return -1
	}
	switch v.Kind() {
	case reflect.String:
		budget -= v.Len()
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && budget >= 0; i++ {
			budget = measure(v.Index(i), budget-elementSize, depth+1)
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next() && budget >= 0; {
			budget = measure(each.Key(), budget-elementSize, depth+1)
			budget = measure(each.Value(), budget, depth+1)
		}
	}
	return budget
}

// extentOf returns the estimate of the result's size for those functions that need one.
func extentOf(name string) func([]reflect.Value) int {
	switch strings.TrimPrefix(name, "must") {
	case "repeat":
		return func(args []reflect.Value) int { return product(args[0].Int(), args[1].Len()) }
	case "indent", "nindent":
		return func(args []reflect.Value) int { return product(args[0].Int(), 1+strings.Count(args[1].String(), "\n")) }
	case "replace":
		return func(args []reflect.Value) int {
			return product(int64(strings.Count(args[2].String(), args[0].String())), args[1].Len())
		}
	case "join":
		return func(args []reflect.Value) int { return product(int64(args[0].Len()), maxListed) }
	case "until":
		return func(args []reflect.Value) int { return stepsExtent(0, args[0].Int(), 1) }
	case "untilStep":
		return func(args []reflect.Value) int { return stepsExtent(args[0].Int(), args[1].Int(), args[2].Int()) }
	case "seq":
		return seqExtent
	case "regexReplaceAll", "regexReplaceAllLiteral", "RegexReplaceAll", "RegexReplaceAllLiteral":
		return func(args []reflect.Value) int {
			return max(matchExtent(args), product(int64(1+args[1].Len()), 1+args[2].Len()))
		}
	case "regexMatch", "regexFind", "regexFindAll", "regexSplit", "RegexMatch", "RegexFind", "RegexFindAll", "RegexSplit":
		return matchExtent
	}
	return nil
}

// product multiplies without overflowing; the result is MaxOutput+1 at most.
func product(n int64, size int) int {
	if n <= 0 || size <= 0 {
		return 0
	}
	if n > int64(MaxOutput/size) {
		return MaxOutput + 1
	}
	return int(n) * size
}

// stepsExtent is more than MaxOutput if counting from start to stop takes more than maxListed steps.
func stepsExtent(start, stop, step int64) int {
	if step < 0 {
		step = -step
	}
	distance := float64(stop) - float64(start)
	if step > 0 && max(distance, -distance)/float64(step) > maxListed {
		return MaxOutput + 1
	}
	return 0
}

func seqExtent(args []reflect.Value) int {
	n := args[0]
	switch n.Len() {
	case 1:
		return stepsExtent(1, n.Index(0).Int(), 1)
	case 2:
		return stepsExtent(n.Index(0).Int(), n.Index(1).Int(), 1)
	case 3:
		return stepsExtent(n.Index(0).Int(), n.Index(2).Int(), n.Index(1).Int())
	}
	return 0
}

// matchExtent is more than MaxOutput if searching the second argument for the regular expression in the first may take too long.
func matchExtent(args []reflect.Value) int {
	tree, err := syntax.Parse(args[0].String(), syntax.Perl)
	if err != nil {
		return 0 // the function itself says so
	}
	program, err := syntax.Compile(tree.Simplify())
	if err == nil && len(program.Inst)*(1+args[1].Len()) > maxMatching {
		return MaxOutput + 1
	}
	return 0
}

// unknownFunction is the answer to a function of sprig that templates do not have.
func unknownFunction(name string) string {
	if _, there := sprig.TxtFuncMap()[name]; !there {
		return ""
	}
	return fmt.Sprintf("function %q is not available: those of sprig that ask the host, the clock or chance, that change data or cost much are left out", name)
}
