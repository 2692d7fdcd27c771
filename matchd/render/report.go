package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxProblems is the number of problems that one [Report] lists. More would help nobody, and a hostile document could have
// one in every byte.
const MaxProblems = 100

// maxShownLine is the number of bytes of a source line that a report quotes.
const maxShownLine = 160

// Problem is one thing that is wrong with a document.
type Problem struct {
	Name   string `json:"name"`             // of the document
	Line   int    `json:"line,omitempty"`   // in the document as its author wrote it, from 1; 0: not known
	Column int    `json:"column,omitempty"` // in characters, from 1; 0: not known
	What   string `json:"what"`
	Source string `json:"source,omitempty"` // the line itself, after templating

	origin origin
}

// origin says what a problem hangs on, for a [Trial].
type origin int

const (
	literal    origin = iota // a line that the author wrote as it is, or nothing that has a line
	templated                // a line that holds what a template's action gave, or an action that failed
	missingKey               // an action that failed for want of a key in its data
)

// String returns "name:line:column: what: source line", without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Name)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": " + p.What)
	if p.Source != "" {
		b.WriteString(": " + p.Source)
	}
	return b.String()
}

// Report is the error of a document that cannot be used. It lists every problem that was found, in the order of the source.
type Report struct {
	Problems []Problem `json:"problems"`
	Omitted  int       `json:"omitted,omitempty"` // problems beyond MaxProblems

	// Unhashed are sources without a hash in a document that has other problems as well. They are problems too, unless its profile allows them.
	Unhashed []Problem `json:"-"`
}

// Error returns one problem per line.
func (r *Report) Error() string {
	lines := make([]string, 0, len(r.Problems)+1)
	for _, p := range r.Problems {
		lines = append(lines, p.String())
	}
	if r.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", r.Omitted))
	}
	return strings.Join(lines, "\n")
}

// all returns the problems in a profile that allows sources without a hash, or does not.
func (r *Report) all(allowUnhashed bool) []Problem {
	if allowUnhashed || len(r.Unhashed) == 0 {
		return r.Problems
	}
	list := slices.Concat(r.Problems, r.Unhashed)
	inOrder(list)
	return list
}

// reporter collects the problems of one rendered text and finds where they stand in what the author wrote.
type reporter struct {
	lenient bool // see CompileLenient
	wary    bool // the text holds stand-ins: what hangs together with a line that an action gave is templated as well
	name    string
	text    *text
	report  Report
}

// add notes a problem at a position of the rendered text: line from 1, column in characters from 1; zero where not known.
func (r *reporter) add(line, column int, format string, args ...any) {
	r.put(r.problem(line, column, format, args...))
}

func (r *reporter) put(p Problem) {
	if len(r.report.Problems) == MaxProblems {
		r.report.Omitted++
		return
	}
	if !slices.Contains(r.report.Problems, p) { // Butane and Ignition may both complain of one thing
		r.report.Problems = append(r.report.Problems, p)
	}
}

// problem returns a problem at a position of the rendered text, as add has it.
func (r *reporter) problem(line, column int, format string, args ...any) Problem {
	p := Problem{Name: r.name, What: fmt.Sprintf(format, args...)}
	if line > 0 && r.text != nil {
		p.Source = shownLine(r.text.line(line))
		p.Line, p.Column = r.text.origin(line, column)
		if !r.text.asWritten(line) || r.wary && !r.text.standsAlone(line) {
			p.origin = templated
		}
	}
	return p
}

// drop removes the problems whose text starts like that.
func (r *reporter) drop(prefix string) {
	r.report.Problems = slices.DeleteFunc(r.report.Problems, func(p Problem) bool { return strings.HasPrefix(p.What, prefix) })
}

// catch makes a problem of a panic; it is deferred. Butane and Ignition work by reflection on whatever an author writes, and a defect
// there shall refuse this document and take nothing else along.
func (r *reporter) catch() {
	if defect := recover(); defect != nil {
		r.add(0, 0, "translating it failed, which is a defect: %v", defect)
	}
}

// err returns the report, or nil if it is empty.
func (r *reporter) err() error {
	if len(r.report.Problems) == 0 {
		return nil
	}
	inOrder(r.report.Problems)
	return &r.report
}

func inOrder(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// shownLine makes a line of a document fit for a log and a terminal.
func shownLine(line string) string {
	line = strings.TrimSpace(line)
	if len(line) > 2*maxShownLine {
		line = line[:2*maxShownLine] // enough for what is shown in the end
	}
	line = strings.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f || c == utf8.RuneError {
			return -1
		}
		return c
	}, line)
	if len(line) <= maxShownLine {
		return line
	}
	cut := maxShownLine
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}
