package change

import (
	"errors"
	"fmt"
	"strings"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/profiles"
)

// errRaced says that somebody else changed an object between looking at it and writing it.
var errRaced = errors.New("an object was changed meanwhile")

// Problem is one thing that is wrong with an object or a document, or odd if it stands among the warnings.
type Problem struct {
	Ref    catalog.Ref // the object that has it; zero where it is none in particular
	Field  string      // of the object, such as "selector.mac"; empty for documents
	Line   int         // of the document, from 1; 0: none
	Column int         // from 1; 0: not known
	What   string
	Source string   // the line itself
	Groups []string // whose machines it concerns, by id
}

// String returns "group web: selector.mac: what: source".
func (p Problem) String() string {
	var b strings.Builder
	if p.Ref != (catalog.Ref{}) {
		b.WriteString(p.Ref.String())
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		if p.Line > 0 && p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.What)
	if p.Source != "" {
		b.WriteString(": " + p.Source)
	}
	switch n := len(p.Groups); {
	case n == 1:
		b.WriteString("  (group " + p.Groups[0] + ")")
	case n > 1:
		fmt.Fprintf(&b, "  (group %s and %d more)", p.Groups[0], n-1)
	}
	return b.String()
}

// Invalid is the error, of kind Invalid, of a change that would not work. It lists every problem, up to [MaxProblems].
type Invalid struct {
	Problems []Problem
	More     int // problems beyond those
}

// Error returns one problem per line.
func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", e.More))
	}
	return strings.Join(lines, "\n")
}

func invalid(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	e := &Invalid{Problems: problems}
	if over := len(problems) - MaxProblems; over > 0 {
		e.Problems, e.More = problems[:MaxProblems], over
	}
	return fault.Wrap(fault.Invalid, e)
}

// Owned is the error, of kind Conflict, of an object that a file owns and only that file can change.
type Owned struct {
	Ref  catalog.Ref
	File string
}

// Error names the file.
func (e *Owned) Error() string {
	return fmt.Sprintf("%s belongs to the file %s: change it there", e.Ref, e.File)
}

// Stale is the error, of kind Conflict, of an object that is of another revision than its author saw.
type Stale struct {
	Ref        catalog.Ref
	Want, Have store.Revision // 0: it does not exist
}

// Error names both revisions.
func (e *Stale) Error() string {
	switch {
	case e.Want == 0:
		return fmt.Sprintf("%s exists already, at revision %d", e.Ref, e.Have)
	case e.Have == 0:
		return fmt.Sprintf("%s does not exist, it was expected at revision %d", e.Ref, e.Want)
	}
	return fmt.Sprintf("%s is at revision %d, not at %d: somebody changed it meanwhile", e.Ref, e.Have, e.Want)
}

// fields turns the joined errors of a Validate method, "field: what" each, into problems.
func fields(ref catalog.Ref, err error) []Problem {
	if err == nil {
		return nil
	}
	var problems []Problem
	for line := range strings.SplitSeq(err.Error(), "\n") {
		field, what, found := strings.Cut(line, ": ")
		if !found || strings.ContainsAny(field, " ") {
			field, what = "", line
		}
		problems = append(problems, Problem{Ref: ref, Field: field, What: what})
	}
	return problems
}

// translate turns a problem of a trial into one of an object. owners leads from files to the objects that they own.
func translate(p trial.Problem, owners map[string]catalog.Ref) Problem {
	out := Problem{Line: p.Line, Column: p.Column, What: p.What, Source: p.Source, Groups: p.Groups}
	ref, owned := owners[p.File]
	if !owned {
		ref = named(p.File)
	}
	out.Ref = ref
	if ref.Kind == catalog.Template {
		return out
	}
	if field, what, found := strings.Cut(p.What, ": "); found && !strings.Contains(field, " ") {
		out.Field, out.What = field, what
	}
	return out
}

// named is the object that a trial calls so, see [trial.Name].
func named(name string) catalog.Ref {
	dir, id, _ := strings.Cut(name, "/")
	switch dir {
	case trial.GroupsDir:
		return catalog.Ref{Kind: catalog.Group, ID: id}
	case trial.ProfilesDir:
		return catalog.Ref{Kind: catalog.Profile, ID: id}
	case string(profiles.Ignition), string(profiles.Generic), string(profiles.Cloud):
		return catalog.Ref{Kind: catalog.Template, ID: name}
	}
	return catalog.Ref{}
}

// nameOf is what a trial calls an object; empty for objects that it does not look at.
func nameOf(ref catalog.Ref) string {
	switch ref.Kind {
	case catalog.Group:
		return trial.Name(trial.GroupsDir, ref.ID)
	case catalog.Profile:
		return trial.Name(trial.ProfilesDir, ref.ID)
	case catalog.Template:
		return ref.ID
	}
	return ""
}
