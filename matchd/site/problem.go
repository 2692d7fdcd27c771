package site

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/matchd/matchd/matchd/trial"
)

// maxShownLine is the number of characters of a source line that a problem quotes.
const maxShownLine = 120

// Problem is one thing that is wrong with a file, or merely odd if it stands among the warnings.
type Problem = trial.Problem

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
