package render

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// maxUnknown is the number of unknown functions that are reported of one template.
const maxUnknown = 20

// parseTemplate parses source; the error is a *Report. It goes on behind functions that do not exist.
func parseTemplate(name, source string) (*template.Template, error) {
	r := &reporter{name: name}
	tmpl := template.New(name).Option("missingkey=error").Funcs(functions())
	for range maxUnknown {
		parsed, err := tmpl.Parse(source)
		if err == nil {
			tmpl = parsed
			break
		}
		r.put(templateProblem(name, source, err))
		unknown := notDefined.FindStringSubmatch(err.Error())
		if unknown == nil {
			break
		}
		tmpl.Funcs(template.FuncMap{unknown[1]: func(...any) string { return "" }})
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return tmpl, nil
}

// What text/template's errors look like: "template: NAME:LINE:COLUMN: executing …", the column in bytes from 0 and only when executing.
var (
	templateError = regexp.MustCompile(`(?s)^template: (.*?):(\d+)(?::(\d+))?: (.*)$`)
	executing     = regexp.MustCompile(`(?s)^executing "[^"]*" at <(.*?)>: (.*)$`)
	missingEntry  = regexp.MustCompile(`^map has no entry for key "(.*)"$`)
	notDefined    = regexp.MustCompile(`function "(\w+)" not defined$`)
	callingNamed  = regexp.MustCompile(`(?s)^error calling \w+: (.*)$`)
	unclosed      = regexp.MustCompile(`^(unclosed \w+) started at .*:(\d+)$`)
	namedToken    = regexp.MustCompile("\"((?:[^\"\\\\]|\\\\.)+)\"|<(\\S+)>|missing value for (\\w+)|\\{\\{(\\w+)")
)

// templateProblem turns an error of text/template into a problem with a position in the template.
func templateProblem(name, source string, err error) Problem {
	problem := Problem{Name: name, What: err.Error()}
	m := templateError.FindStringSubmatch(err.Error())
	if m == nil {
		return problem
	}
	problem.Line, _ = strconv.Atoi(m[2])
	problem.What = m[4]
	if open := unclosed.FindStringSubmatch(m[4]); open != nil {
		problem.Line, _ = strconv.Atoi(open[2])
		problem.What = open[1]
	}
	if line, found := lineOf(source, problem.Line); found {
		problem.Source = shownLine(line)
		at, err := strconv.Atoi(m[3])
		if err != nil {
			at = tokenIn(line, problem.What)
		}
		_, problem.Column = lineColumn(line, at)
	}
	if m := executing.FindStringSubmatch(problem.What); m != nil {
		problem.origin = templated
		if missingEntry.MatchString(m[2]) {
			problem.origin = missingKey
		}
		problem.What = explainExecution(m[1], m[2])
	}
	if m := notDefined.FindStringSubmatch(problem.What); m != nil {
		problem.What = cmp.Or(unknownFunction(m[1]), problem.What)
	}
	return problem
}

// templateOffset returns the offset in source that an error of an execution names, -1 if it names none.
func templateOffset(source string, err error) int {
	m := templateError.FindStringSubmatch(err.Error())
	if m == nil {
		return -1
	}
	number, _ := strconv.Atoi(m[2])
	at, err := strconv.Atoi(m[3])
	if err != nil {
		return -1
	}
	for ; number > 1; number-- {
		end := strings.IndexByte(source, '\n')
		if end < 0 {
			return -1
		}
		at, source = at+end+1, source[end+1:]
	}
	return at
}

// lineOf returns the n-th line of source, from 1.
func lineOf(source string, n int) (line string, found bool) {
	lines := strings.SplitN(source, "\n", max(n, 0)+1)
	if n < 1 || n > len(lines) {
		return "", false
	}
	return lines[n-1], true
}

// tokenIn returns the offset in line of what a parser's message is about: the word that it quotes, where that stands within an action; else the last
// action for one that is not closed, and the first one for all others. Without any action it is where the line's text starts.
func tokenIn(line, message string) int {
	start := strings.Index(line, "{{")
	switch {
	case start < 0:
		return len(line) - len(strings.TrimLeft(line, " \t"))
	case strings.HasPrefix(message, "unclosed"):
		return strings.LastIndex(line, "{{")
	}
	m := namedToken.FindStringSubmatch(message)
	if m == nil {
		return start
	}
	token := cmp.Or(m[1], m[2], m[3], m[4])
	if word := regexp.MustCompile(`(?:^|\W)(` + regexp.QuoteMeta(token) + `)(?:\W|$)`).FindStringSubmatchIndex(line[start:]); word != nil {
		return start + word[2]
	}
	if at := strings.Index(line[start:], token); at > 0 {
		return start + at
	}
	return start
}

func explainExecution(at, what string) string {
	if m := missingEntry.FindStringSubmatch(what); m != nil {
		return fmt.Sprintf("%s: there is no %q in the group's metadata, its selector or the request", at, m[1])
	}
	if m := callingNamed.FindStringSubmatch(what); m != nil {
		what = m[1]
	}
	return at + ": " + what
}
