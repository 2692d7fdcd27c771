package site

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxShownLine is the number of characters of a source line that a problem quotes.
const maxShownLine = 120

// Problem is one thing that is wrong with a file, or merely odd if it stands among the warnings.
type Problem struct {
	File   string `json:"file"`             // relative to the site's directory, with forward slashes
	Line   int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column int    `json:"column,omitempty"` // in characters, from 1; 0: not known
	What   string `json:"what"`
	Source string `json:"source,omitempty"` // the line itself

	Groups []string `json:"groups,omitempty"` // that would get a document or config with this problem, by id
}

// String returns "file:line:column: what: source line", without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Source != "" {
		b.WriteString(": " + p.Source)
	}
	switch n := len(p.Groups); {
	case n == 1:
		fmt.Fprintf(&b, "  (group %s)", p.Groups[0])
	case n > 1 && n <= maxShownGroups:
		fmt.Fprintf(&b, "  (groups %s and %s)", strings.Join(p.Groups[:n-1], ", "), p.Groups[n-1])
	case n > maxShownGroups:
		fmt.Fprintf(&b, "  (groups %s and %d more)", strings.Join(p.Groups[:maxShownGroups-1], ", "), n-maxShownGroups+1)
	}
	return b.String()
}

// maxShownGroups is the number of groups up to which a problem names them all.
const maxShownGroups = 3

// Problems is the error of a site or a file that cannot be accepted: everything that is wrong, by file and line. Its kind is Invalid.
type Problems struct {
	Problems []Problem `json:"problems"`
	Warnings []Problem `json:"warnings,omitempty"` // not the reason for the refusal
	Omitted  int       `json:"omitted,omitempty"`  // problems beyond MaxProblems
}

// Error returns one problem per line.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.Problems)+1)
	for _, problem := range p.Problems {
		lines = append(lines, problem.String())
	}
	if p.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", p.Omitted))
	}
	return strings.Join(lines, "\n")
}

// MaxProblems is the number of problems that are listed: more would be read by nobody.
const MaxProblems = 1000

func (p *Problems) add(problem Problem) {
	if len(p.Problems) == MaxProblems {
		p.Omitted++
		return
	}
	p.Problems = append(p.Problems, problem)
}

// sorted orders problems by file and place, whatever order they were found in.
func sorted(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.What, b.What))
	})
	return list
}

// shownLine returns the n-th line of source, from 1, fit for a log and a terminal.
func shownLine(source []byte, n int) string {
	text := string(source)
	for ; n > 1; n-- {
		_, rest, found := strings.Cut(text, "\n")
		if !found {
			return ""
		}
		text = rest
	}
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 8*maxShownLine {
		text = text[:8*maxShownLine]
	}
	runes := []rune(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(text, " ")))
	shown := strings.TrimSpace(string(runes[:min(len(runes), maxShownLine)]))
	if len(runes) > maxShownLine {
		shown += "…"
	}
	return shown
}
