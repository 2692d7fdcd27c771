package rpc

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/grpc/codes"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/fault"
)

// sight is what the caller may see of a snapshot: everything, or what its scope holds and is used by that.
type sight struct {
	caller   auth.Identity
	snapshot *catalog.Snapshot
	used     map[catalog.Ref]bool // profiles and templates of groups in sight; nil: not found out yet
}

func sightOf(ctx context.Context, snapshot *catalog.Snapshot) *sight {
	caller, _ := auth.FromContext(ctx)
	return &sight{caller: caller, snapshot: snapshot}
}

// holds reports whether the caller sees an object: machines by their labels, groups by their selectors, profiles and templates if a group in sight uses them.
func (s *sight) holds(o *catalog.Object) bool {
	if !s.caller.Scoped() {
		return true
	}
	switch {
	case o.Machine != nil, o.Group != nil:
		return inScope(s.caller, o)
	case o.Profile != nil, o.Template != nil:
		return s.uses(o.Ref())
	}
	return false
}

// inScope reports whether an object's own labels hold the scope.
func inScope(caller auth.Identity, o *catalog.Object) bool {
	switch {
	case !caller.Scoped():
		return true
	case o.Machine != nil:
		return caller.Sees(o.Machine.Labels)
	case o.Group != nil:
		return caller.Sees(o.Group.Selector)
	}
	return false
}

// uses reports whether a group in sight uses a profile or a template, by itself or by its profile.
func (s *sight) uses(ref catalog.Ref) bool {
	if s.used == nil {
		s.findUsed()
	}
	return s.used[ref]
}

func (s *sight) findUsed() {
	s.used = map[catalog.Ref]bool{}
	for _, item := range s.snapshot.List(catalog.Group) {
		if !s.caller.Sees(item.Group.Selector) {
			continue
		}
		for _, ref := range change.Uses(s.snapshot, item.Group) {
			s.used[ref] = true
		}
	}
}

// allow refuses a caller with a scope what it does not hold, before or after; and whatever would widen what it holds: a machine that it labels itself, a group
// that leads to what only groups of others lead to.
func (s *sight) allow(ref catalog.Ref, before, after *catalog.Object) error {
	if ref.Kind != catalog.Machine && ref.Kind != catalog.Group {
		return s.refused("changes machines and groups only")
	}
	if before != nil && !inScope(s.caller, before) || after != nil && !inScope(s.caller, after) {
		return s.refused(fmt.Sprintf("%s is not in it, or would not be", ref))
	}
	switch {
	case after == nil:
	case after.Machine != nil && before == nil:
		return s.refused(fmt.Sprintf("%s is not known: an identity without a scope takes machines into the scope", ref))
	case after.Group != nil:
		for _, used := range change.Uses(s.snapshot, after.Group) {
			if !s.uses(used) {
				return s.refused(fmt.Sprintf("%s names %s, which no group of the scope uses yet: an identity without a scope brings it in", ref, used))
			}
		}
	}
	return nil
}

func (s *sight) refused(why string) error {
	return newStatus(codes.PermissionDenied, ReasonScope, fmt.Sprintf("%q is bound to a scope: %s", s.caller.Name, why)).Err()
}

// veil leaves out of problems what the caller may not see: lines of documents that no group in sight uses, and groups of others.
func (s *sight) veil(problems []change.Problem) []change.Problem {
	veiled := make([]change.Problem, len(problems))
	for i, p := range problems {
		if (p.Ref.Kind == catalog.Template || p.Ref.Kind == catalog.Profile) && !s.uses(p.Ref) {
			p.What, p.Source = "it has a problem, which an identity without a scope is told", ""
		}
		var visible []string
		for _, id := range p.Groups {
			item, found := s.snapshot.Get(catalog.Ref{Kind: catalog.Group, ID: id})
			if !found || s.holds(&item.Object) { // one that is not there yet is the caller's own
				visible = append(visible, id)
			}
		}
		p.Groups = visible
		veiled[i] = p
	}
	return veiled
}

// veilError is veil for the error of a change.
func (s *sight) veilError(err error) error {
	var invalid *change.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	return fault.Wrap(fault.Invalid, &change.Invalid{Problems: s.veil(invalid.Problems), More: invalid.More})
}

// otherGroups is what a [groups.Explanation] says of groups that did not win: up to the end of its line, in scripts and events, too.
var otherGroups = regexp.MustCompile(`(no group matches)[^\n]*|(group "[^"\n]*" matches), before [^\n]*`)

// conceal leaves out of a text the groups that nearly matched, which may be of others, unless the caller sees all groups.
func conceal(ctx context.Context, text string) string {
	if caller, _ := auth.FromContext(ctx); !caller.Scoped() {
		return text
	}
	return otherGroups.ReplaceAllString(text, "$1$2")
}
