package render

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// unitProblem is what systemd would log and pass over in a unit file.
type unitProblem struct {
	line int // of the unit, from 1
	what string
}

// maxUnitProblems is the number of problems reported of one unit: text that is no unit at all has one in every line.
const maxUnitProblems = 5

// checkUnit reads the text of a unit or of a drop-in for the unit of that name, by the rules of systemd.syntax(7). systemd itself logs what
// it cannot read, ignores the line and goes on with half a unit.
//
// Ignition has go-systemd parse every unit as well, and what that refuses is refused. It cannot take this function's place: it gives no position,
// skips all that stands before the first section, takes keys without a name and knows no section by name.
func checkUnit(name, text string) []unitProblem {
	u := unitReader{allowed: sectionsOf(name)}
	for k, line := range strings.Split(text, "\n") {
		if u.read(k+1, line); len(u.problems) == maxUnitProblems {
			break
		}
	}
	return u.problems
}

// sectionsOf returns the sections that systemd knows in a unit of that name.
func sectionsOf(name string) []string {
	own := map[string]string{
		".service": "Service", ".socket": "Socket", ".device": "Device", ".mount": "Mount", ".automount": "Automount", ".swap": "Swap",
		".path": "Path", ".timer": "Timer", ".slice": "Slice", ".scope": "Scope",
	}
	sections := []string{"Unit", "Install"}
	if section := own[path.Ext(name)]; section != "" {
		sections = append(sections, section)
	}
	return sections
}

type unitReader struct {
	allowed   []string
	sectioned bool // a section has begun
	continued bool // the line before ended with a backslash
	problems  []unitProblem
}

func (u *unitReader) read(number int, line string) {
	if what := u.judge(line); what != "" {
		u.problems = append(u.problems, unitProblem{number, what})
	}
}

// judge returns what is wrong with the next line, "" if nothing.
func (u *unitReader) judge(line string) string {
	line = strings.TrimSuffix(line, "\r")
	trimmed := strings.TrimSpace(line)
	isComment := trimmed != "" && strings.ContainsRune("#;", rune(trimmed[0]))
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return "the line holds a control character or is not UTF-8"
	}
	if u.continued {
		u.continued = isComment || endsOpen(line) // comments may stand between the lines of one value
		return ""
	}
	switch {
	case trimmed == "" || isComment:
		return ""
	case trimmed[0] == '[':
		u.sectioned = true
		return u.section(trimmed)
	}
	u.continued = endsOpen(line)
	key, _, assigned := strings.Cut(trimmed, "=")
	key = strings.TrimSpace(key)
	switch {
	case !assigned:
		return fmt.Sprintf("%.60q is neither [Section], Key=value nor a comment", trimmed)
	case key == "":
		return "the key before = is missing"
	case strings.ContainsAny(key, " \t"):
		return fmt.Sprintf("%.60q is no key: it holds white space", key)
	case !u.sectioned:
		return fmt.Sprintf("%.60q stands before the first [Section]", key)
	}
	return ""
}

func (u *unitReader) section(header string) string {
	name, closed := strings.CutSuffix(header[1:], "]")
	switch {
	case !closed:
		return fmt.Sprintf("the section %.60q is not closed by ] at the end of the line", header)
	case strings.HasPrefix(name, "X-"), slices.Contains(u.allowed, name): // X- is for other programs
		return ""
	}
	return fmt.Sprintf("there is no section [%.60s] in this type of unit; it has [%s]", name, strings.Join(u.allowed, "], ["))
}

// endsOpen reports whether a line goes on in the next: it ends with a backslash that no other backslash escapes.
func endsOpen(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}
