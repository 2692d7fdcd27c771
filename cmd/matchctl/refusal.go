package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// refusal is the server's refusal of objects, told of the files that they came from.
type refusal struct {
	problems []site.Problem
	cause    error
}

func (e *refusal) Error() string {
	return fmt.Sprintf("the server refuses this, nothing has changed: %s\n%s", count(len(e.problems), "problem"), (&site.Problems{Problems: e.problems}).Error())
}

func (e *refusal) Unwrap() error { return e.cause }

// placed finds the file, line and column of what the server complains about.
func (s *changeset) placed(err error) error {
	var failed *client.Error
	if !errors.As(err, &failed) {
		return err
	}
	if stale := s.stale(failed); stale != nil {
		return stale
	}
	if len(failed.Problems)+len(failed.Fields) == 0 {
		return err
	}
	e := &refusal{cause: err}
	s.index()
	for _, p := range failed.Problems {
		e.problems = append(e.problems, s.place(p))
	}
	if len(failed.Problems) == 0 {
		for _, field := range failed.Fields {
			e.problems = append(e.problems, s.placeField(field))
		}
	}
	trial.Sort(e.problems)
	return e
}

// staleFile is the server's refusal of an object that is of another revision than the one its file was made from.
type staleFile struct {
	file, name string
	revision   int64
	cause      *client.Error
}

func (e *staleFile) Error() string {
	return fmt.Sprintf("%s: %s has changed since revision %d: get it again", e.file, e.name, e.revision)
}

func (e *staleFile) Unwrap() error { return e.cause }

// advice tells what the server has, and how to go without a precondition.
func (e *staleFile) advice() string {
	return "Nothing has been applied. " + e.cause.Message + ". To write over whatever is there, take meta out of the file, as \"matchctl export\" does."
}

// stale returns the refusal of a file that says which revision it was made from; nil if it is something else.
func (s *changeset) stale(failed *client.Error) error {
	if failed.Reason != "STALE" || len(failed.Preconditions) == 0 || s.revision != nil {
		return nil
	}
	s.index()
	name := failed.Preconditions[0].Subject
	i, found := s.places[name]
	if !found {
		return nil
	}
	return &staleFile{s.put[i].origin.file, name, metaOf(s.put[i].pb).GetRevision(), failed}
}

// place tells a problem of an object.
func (s *changeset) place(p *matchdpb.Problem) site.Problem {
	found := site.Problem{
		File: client.Name(p.GetRef()), Line: int(p.GetLine()), Column: int(p.GetColumn()), What: p.GetWhat(), Source: p.GetSource(), Groups: p.GetGroups(),
	}
	if p.GetRef() == nil {
		found.File = ""
	}
	from := s.originOf(p.GetRef())
	switch {
	case from == nil && p.GetField() != "":
		found.What = p.GetField() + ": " + strings.TrimPrefix(found.What, p.GetField()+": ")
	case from == nil:
	case from.whole:
		found.File = from.file
	case p.GetLine() > 0 || from.problem == nil:
		found.File = fmt.Sprintf("%s (%s)", from.file, client.Name(p.GetRef()))
	default:
		there := from.problem(p.GetField(), p.GetWhat())
		there.Groups = p.GetGroups()
		return there
	}
	return found
}

func (s *changeset) originOf(ref *matchdpb.Ref) *origin {
	i, found := s.places[client.Name(ref)]
	if !found || s.put[i].origin.file == "" {
		return nil
	}
	return &s.put[i].origin
}

// index notes where each object is, for problems may be many.
func (s *changeset) index() {
	s.places = make(map[string]int, len(s.put))
	for i := range s.put {
		s.places[client.Name(refOf(s.put[i].pb))] = i
	}
}

// changeField is how a violation names a field of the n-th change.
var changeField = regexp.MustCompile(`^changes\[(\d+)\](?:\.put\.\w+)?\.?(.*)$`)

func (s *changeset) placeField(field client.Field) site.Problem {
	if m := changeField.FindStringSubmatch(field.Name); m != nil {
		if i, err := strconv.Atoi(m[1]); err == nil && i < len(s.put) {
			return s.place(&matchdpb.Problem{Ref: refOf(s.put[i].pb), Field: m[2], What: field.Description})
		}
	}
	return site.Problem{File: field.Name, What: field.Description}
}
