// Package site reads a directory of groups, profiles and templates: the source of truth that lives in version control.
//
// The layout is a superset of matchbox's data directory: groups/*.{json,yaml,yml}, profiles/*.{json,yaml,yml}, and templates by name
// in ignition/, generic/ and cloud/; assets/ is served, not read. Decoding is strict and everything that is wrong is reported at
// once, with file, line and column. A site is accepted as a whole or not at all. [Watch] follows a directory and turns a burst of
// changes into one [Site].
//
// [Decode] is the same strict decoder for other files.
package site

import (
	"fmt"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/profiles"
)

// Site is a directory that was read and found good.
type Site struct {
	Dir       string
	Groups    []Object[groups.Group]      // by file name
	Profiles  []Object[profiles.Profile]  // by file name
	Templates []Object[profiles.Template] // by kind and name
	Warnings  []Problem                   // what is odd, but no reason to refuse the site

	LeftOut []Problem // of files that a lenient reading could not use

	digest [32]byte // of all that was read
}

// Object is something that a file says, with the places where it says it.
type Object[T any] struct {
	Value T
	File  string // relative to the site's directory, with forward slashes

	places []place
	source []byte
}

// At returns where a field stands, such as "boot.args[1]", for a [Problem]. A field that the file does not have stands where
// the nearest enclosing one does.
func (o *Object[T]) At(field string) (line, column int) {
	for {
		for _, p := range o.places {
			if p.path == field {
				return int(p.line), int(p.column)
			}
		}
		cut := strings.LastIndexAny(field, ".[")
		switch {
		case cut >= 0:
			field = field[:cut]
		case field != "":
			field = ""
		default:
			return 0, 0
		}
	}
}

// problem returns a problem of a field.
func (o *Object[T]) problem(field, what string) Problem {
	line, column := o.At(field)
	p := Problem{File: o.File, Line: line, Column: column, What: what}
	if line > 0 {
		p.Source = shownLine(o.source, line)
	}
	return p
}

// placer returns where the fields of groups and profiles stand, by file.
func (s *Site) placer() func(file, field string) (line, column int, source string) {
	problems := make(map[string]func(field, what string) Problem, len(s.Groups)+len(s.Profiles))
	for i := range s.Groups {
		problems[s.Groups[i].File] = s.Groups[i].problem
	}
	for i := range s.Profiles {
		problems[s.Profiles[i].File] = s.Profiles[i].problem
	}
	return func(file, field string) (line, column int, source string) {
		problem := problems[file]
		if problem == nil {
			return 0, 0, ""
		}
		p := problem(field, "")
		return p.Line, p.Column, p.Source
	}
}

// GroupList returns the groups alone.
func (s *Site) GroupList() []groups.Group { return values(s.Groups) }

// ProfileList returns the profiles alone.
func (s *Site) ProfileList() []profiles.Profile { return values(s.Profiles) }

func values[T any](objects []Object[T]) []T {
	list := make([]T, len(objects))
	for i := range objects {
		list[i] = objects[i].Value
	}
	return list
}

// Summary says how much there is: "2 groups, 1 profile, 3 templates".
func (s *Site) Summary() string {
	return fmt.Sprintf("%s, %s, %s", count(len(s.Groups), "group"), count(len(s.Profiles), "profile"), count(len(s.Templates), "template"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
