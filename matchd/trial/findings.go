package trial

import (
	"maps"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// report turns verdicts into problems and warnings, each with all groups that it hits.
func (j *jobs) report() {
	problems, warnings := newFindings(), newFindings()
	for _, each := range j.list {
		for _, p := range each.verdict.Problems {
			problems.add(j.place(each, p), each)
		}
		for _, p := range each.verdict.Warnings {
			warnings.add(j.place(each, p), each)
		}
	}
	for _, found := range problems.list {
		j.refuse(found.problem())
	}
	for _, key := range slices.Sorted(maps.Keys(j.unhashed)) {
		j.refuse(j.unhashed[key].problem())
	}
	for _, found := range warnings.list {
		j.warn(found.problem())
	}
}

// place turns a problem of the renderer into one of an object: of the document where it has a line or is the document's alone, else of what puts
// the documents together.
func (j *jobs) place(each *job, p render.Problem) Problem {
	switch {
	case p.Line > 0:
		return inDocument(p)
	case strings.HasPrefix(p.What, versionField+" "): // once, whatever documents a platform adds
		return j.ofProfile(each.profile)(versionField, p.What)
	case len(each.groups) > 0 && len(each.groups[0].Value.Snippets) > 0:
		return j.ofGroup(each.groups[0])("snippets", p.String())
	}
	return j.ofProfile(each.profile)("ignition_id", p.String())
}

// versionField is the profile's field that the renderer's complaints of it start with.
const versionField = "ignition_version"

// findings gathers equal problems.
type findings struct {
	list []*finding
	by   map[string]*finding
}

type finding struct {
	Problem
	groups map[string]bool
}

func newFindings() *findings { return &findings{by: map[string]*finding{}} }

func (f *findings) add(p Problem, from *job) {
	key := p.String()
	found := f.by[key]
	if found == nil {
		found = &finding{p, map[string]bool{}}
		f.by[key] = found
		f.list = append(f.list, found)
	}
	for _, group := range from.groups {
		found.groups[group.Value.ID] = true
	}
}

func (f *finding) problem() Problem {
	f.Problem.Groups = slices.Sorted(maps.Keys(f.groups))
	return f.Problem
}

// NameGroups adds to problems of documents that are wrong by themselves the groups that would get them. Problems that name groups keep them.
func NameGroups(objects catalog.Objects, problems []Problem) {
	newRun(objects, Options{}).nameGroups(problems)
}

func (r *run) nameGroups(problems []Problem) {
	if len(problems) == 0 {
		return
	}
	users := map[string][]string{}
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i].Value
		for _, name := range r.documentsOfGroup(group) {
			users[name] = append(users[name], group.ID)
		}
	}
	for i := range problems {
		if p := &problems[i]; p.Groups == nil {
			p.Groups = users[p.File]
		}
	}
}

// documentsOfGroup returns the names of all documents that a group's machines may get, each once.
func (r *run) documentsOfGroup(group *groups.Group) []string {
	profile := r.profiles[group.Profile]
	if profile == nil {
		return nil
	}
	p := &profile.Value
	names := []string{Name(string(profiles.Generic), p.GenericID), Name(string(profiles.Cloud), p.CloudID), Name(string(profiles.Ignition), p.IgnitionID)}
	for _, platform := range platforms(p, group.Selector) {
		names = append(names, ignitionNames(p.Composition(platform, group.Snippets))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// documentsOfProfile returns the names of all documents that a profile names.
func (r *run) documentsOfProfile(p *profiles.Profile) []string {
	names := []string{Name(string(profiles.Generic), p.GenericID), Name(string(profiles.Cloud), p.CloudID), Name(string(profiles.Ignition), p.IgnitionID)}
	names = append(names, ignitionNames(p.Snippets)...)
	for _, snippets := range p.PlatformSnippets {
		names = append(names, ignitionNames(snippets)...)
	}
	return names
}

func ignitionNames(ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = Name(string(profiles.Ignition), id)
	}
	return names
}
