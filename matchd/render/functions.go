package render

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"text/template"
)

var errTooWide = errors.New("would give too long a text")

// boundedFunctions replaces those of text/template that can make much out of little: a few doublings of a variable, or a
// few widths in a format, would otherwise take all memory before a single byte is written.
func boundedFunctions() template.FuncMap {
	return template.FuncMap{
		"print": func(args ...any) (string, error) {
			return bounded(extent(args), func() string { return fmt.Sprint(args...) })
		},
		"println": func(args ...any) (string, error) {
			return bounded(extent(args), func() string { return fmt.Sprintln(args...) })
		},
		"printf": func(format string, args ...any) (string, error) {
			return bounded(formatExtent(format, args), func() string { return fmt.Sprintf(format, args...) })
		},
		"html": func(args ...any) (string, error) {
			return bounded(extent(args), func() string { return template.HTMLEscaper(args...) })
		},
		"js": func(args ...any) (string, error) {
			return bounded(extent(args), func() string { return template.JSEscaper(args...) })
		},
		"urlquery": func(args ...any) (string, error) {
			return bounded(extent(args), func() string { return template.URLQueryEscaper(args...) })
		},
	}
}

func bounded(extent int, make func() string) (string, error) {
	if extent > MaxOutput {
		return "", errTooWide
	}
	return make(), nil
}

// extent estimates from above how many bytes v takes when printed, escapes aside.
func extent(v any) int {
	const scalar = 32
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		n := scalar
		for _, e := range v {
			n += extent(e)
		}
		return n
	case map[string]any:
		n := scalar
		for key, e := range v {
			n += len(key) + extent(e)
		}
		return n
	case map[string]string:
		n := scalar
		for key, e := range v {
			n += len(key) + len(e)
		}
		return n
	}
	return scalar
}

var (
	widths = regexp.MustCompile(`%[^a-zA-Z%]*`)
	number = regexp.MustCompile(`\d+|\*`)
)

// formatExtent is extent for a format: each verb may print the longest argument (they can be numbered) or its width.
func formatExtent(format string, args []any) int {
	const star = 1_000_000 // what package fmt caps a width at
	longest := 0
	for _, arg := range args {
		longest = max(longest, extent(arg))
	}
	total := len(format)
	for _, verb := range widths.FindAllString(format, -1) {
		total += longest
		for _, width := range number.FindAllString(verb, -1) {
			n, err := strconv.Atoi(width)
			if err != nil {
				n = star
			}
			total += min(n, star)
		}
		if total > MaxOutput {
			return total
		}
	}
	return total
}
