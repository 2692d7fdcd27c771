package trial

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with an object, or merely odd if it stands among the warnings.
type Problem struct {
	File   string `json:"file"`             // relative to the site's directory, with forward slashes; what no file owns has its [Name]
	Line   int    `json:"line,omitempty"`   // from 1; 0: the file as a whole
	Column int    `json:"column,omitempty"` // in characters, from 1; 0: not known
	What   string `json:"what"`
	Source string `json:"source,omitempty"` // the line itself

	Groups []string `json:"groups,omitempty"` // that would get a document or config with this problem, by id

	// Dangling says that an object names another one that does not exist: more objects could mend it.
	Dangling bool `json:"-"`
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

// Sort orders problems by file and place, whatever order they were found in, and returns them.
func Sort(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.What, b.What))
	})
	return list
}
