package trial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

func (r *run) refuse(p Problem) { r.problems = append(r.problems, p) }

func (r *run) warn(p Problem) { r.warnings = append(r.warnings, p) }

// field says what is wrong with a field of an object; owner is its file, if it has one.
type field func(field, what string) Problem

// at returns how to speak of the fields of an object.
func (r *run) at(owner, dir, id string) field {
	if owner == "" {
		return func(_, what string) Problem { return Problem{File: Name(dir, id), What: what} }
	}
	return func(field, what string) Problem {
		p := Problem{File: owner, What: what}
		if r.Place != nil {
			p.Line, p.Column, p.Source = r.Place(owner, field)
		}
		return p
	}
}

func (r *run) ofGroup(group *catalog.Owned[groups.Group]) field {
	return r.at(group.File, GroupsDir, group.Value.ID)
}

func (r *run) ofProfile(profile *catalog.Owned[profiles.Profile]) field {
	return r.at(profile.File, ProfilesDir, profile.Value.ID)
}

// checkDocuments compiles the documents, renders what needs no machine's data, and finds which can be used.
func (r *run) checkDocuments(ctx context.Context) {
	for i := range r.objects.Templates {
		template := &r.objects.Templates[i].Value
		if !r.concerns(string(template.Kind), template.Name) {
			continue
		}
		name := Name(string(template.Kind), template.Name)
		document, err := r.compile(template)
		if err != nil {
			r.report(name, err)
			continue
		}
		if err := document.Check(ctx); err != nil {
			r.report(name, err)
			continue
		}
		r.usable[name] = document
	}
}

// report notes what the renderer says about a document.
func (r *run) report(name string, err error) {
	var report *render.Report
	if !errors.As(err, &report) {
		r.refuse(Problem{File: name, What: err.Error()})
		return
	}
	for _, p := range report.Problems {
		r.refuse(inDocument(p))
	}
	for _, p := range report.Unhashed {
		r.unhashed[name] = append(r.unhashed[name], inDocument(p))
	}
	if report.Omitted > 0 {
		r.refuse(Problem{File: name, What: fmt.Sprintf("and %d more problems", report.Omitted)})
	}
}

func inDocument(p render.Problem) Problem {
	return Problem{File: p.Name, Line: p.Line, Column: p.Column, What: p.What, Source: p.Source}
}

// checkReferences looks for what is named and does not exist.
func (r *run) checkReferences() {
	for i := range r.objects.Profiles {
		if profile := &r.objects.Profiles[i]; r.concerns(ProfilesDir, profile.Value.ID) {
			r.checkProfile(profile)
		}
	}
	ids := slices.Sorted(maps.Keys(r.profiles))
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i]
		if !r.concerns(GroupsDir, group.Value.ID) {
			continue
		}
		if id := group.Value.Profile; r.profiles[id] == nil && !r.Broken[Name(ProfilesDir, id)] {
			what := fmt.Sprintf("profile: there is no profile %q%s", id, DidYouMean(id, ids, ""))
			r.dangling(r.ofGroup(group)("profile", what))
		}
		r.checkSnippets("snippets", group.Value.Snippets, r.ofGroup(group))
	}
}

func (r *run) dangling(p Problem) {
	p.Dangling = true
	r.refuse(p)
}

func (r *run) checkProfile(profile *catalog.Owned[profiles.Profile]) {
	at := r.ofProfile(profile)
	for _, ref := range [...]struct {
		field, id string
		kind      profiles.Kind
	}{
		{"ignition_id", profile.Value.IgnitionID, profiles.Ignition},
		{"generic_id", profile.Value.GenericID, profiles.Generic},
		{"cloud_id", profile.Value.CloudID, profiles.Cloud},
	} {
		if ref.id != "" {
			r.checkReference(ref.field, ref.kind, ref.id, at)
		}
	}
	r.checkSnippets("snippets", profile.Value.Snippets, at)
	for _, platform := range slices.Sorted(maps.Keys(profile.Value.PlatformSnippets)) {
		r.checkSnippets("platform_snippets."+platform, profile.Value.PlatformSnippets[platform], at)
	}
}

func (r *run) checkSnippets(field string, ids []string, at field) {
	for i, id := range ids {
		r.checkReference(fmt.Sprintf("%s[%d]", field, i), profiles.Ignition, id, at)
	}
}

// checkReference refuses the name of a template that is not there; one that cannot be used has its own problem.
func (r *run) checkReference(field string, kind profiles.Kind, id string, at field) {
	name := Name(string(kind), id)
	if r.templates[name] != nil || r.Broken[name] {
		return
	}
	var known []string
	for _, template := range r.objects.Templates {
		if template.Value.Kind == kind {
			known = append(known, template.Value.Name)
		}
	}
	r.dangling(at(field, fmt.Sprintf("%s: there is no file %s%s", field, name, DidYouMean(id, known, ""))))
}

// checkSelectors warns of groups that the same machines match: all but the first are never asked.
func (r *run) checkSelectors() {
	objects := make(map[string]*catalog.Owned[groups.Group], len(r.objects.Groups))
	list := make([]groups.Group, 0, len(r.objects.Groups))
	alike := r.alike()
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i]
		if alike(&group.Value) {
			objects[group.Value.ID] = group
			list = append(list, group.Value)
		}
	}
	for _, set := range groups.Build(list).Duplicates() {
		for _, shadowed := range set[1:] {
			what := fmt.Sprintf("selector: it equals that of group %q, which comes first, so no machine ever gets this group; a priority settles it", set[0].ID)
			r.warn(r.ofGroup(objects[shadowed.ID])("selector", what))
		}
	}
}

// alike tells which groups want the same machines as one that was changed.
func (r *run) alike() func(*groups.Group) bool {
	if r.changed == nil {
		return func(*groups.Group) bool { return true }
	}
	wanted, sizes := map[string]bool{}, map[int]bool{}
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i].Value
		if !r.changed[Name(GroupsDir, group.ID)] {
			continue
		}
		if selector, err := group.Selector.Normalized(); err == nil {
			wanted[selector.String()], sizes[len(selector)] = true, true
		}
	}
	return func(group *groups.Group) bool {
		if !sizes[len(group.Selector)] { // spares the others the reading of their addresses
			return false
		}
		selector, err := group.Selector.Normalized()
		return err == nil && wanted[selector.String()]
	}
}
