package render

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/matchd/matchd/matchd/fault"
)

// Metadata returns matchbox's environment file of a machine: a line NAME=value for every string, number and boolean among
// metadata, selector and request, sorted. Nested names are joined by "_" and all are in upper case; lists and nulls are left out.
//
// A line break or another control character in a name or a value could forge a line, so it is an error of kind Invalid that
// names the value.
func Metadata(in Input) ([]byte, error) {
	data := in.identity()
	query := make(map[string]any, len(in.Labels))
	for key, value := range in.Labels {
		query[key] = value
	}
	data[requestKey] = map[string]any{"query": query, "raw_query": in.RawQuery}
	lines, err := appendLines(nil, "", data)
	if err != nil {
		return nil, err
	}
	slices.Sort(lines)
	var out bytes.Buffer
	for _, line := range lines {
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

func appendLines(lines []string, prefix string, data map[string]any) ([]string, error) {
	for key, value := range data {
		name := prefix + strings.ToUpper(key)
		switch v := value.(type) {
		case map[string]any:
			var err error
			if lines, err = appendLines(lines, name+"_", v); err != nil {
				return nil, err
			}
		case string, bool, float64, float32, int, int64, uint64:
			text := fmt.Sprint(v)
			if breaksLine(text) {
				return nil, fault.New(fault.Invalid, "metadata %.80q: the value holds a line break or a control character", name)
			}
			if breaksLine(name) || strings.Contains(name, "=") {
				return nil, fault.New(fault.Invalid, "metadata %.80q: the name holds a line break, a control character or an equals sign", name)
			}
			lines = append(lines, name+"="+text)
		}
	}
	return lines, nil
}

func breaksLine(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool {
		return c < ' ' && c != '\t' || c == 0x7f || c == '\u0085' || c == '\u2028' || c == '\u2029'
	})
}
