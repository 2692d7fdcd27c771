package site

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/profiles"
)

// check looks at what the files say together.
func (r *reading) check(ctx context.Context) error {
	r.checkDocuments(ctx)
	byID := make(map[string]*profiles.Profile, len(r.site.Profiles))
	for i := range r.site.Profiles {
		byID[r.site.Profiles[i].Value.ID] = &r.site.Profiles[i].Value
	}
	for i := range r.site.Profiles {
		r.checkProfile(&r.site.Profiles[i])
	}
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i := range r.site.Groups {
		group := &r.site.Groups[i]
		profile := byID[group.Value.Profile]
		if profile == nil && !r.failed[profilesDir+"/"+group.Value.Profile] {
			what := fmt.Sprintf("profile: there is no profile %q%s", group.Value.Profile, didYouMean(group.Value.Profile, ids, ""))
			r.problems.add(group.problem("profile", what))
		}
		r.checkSnippets("snippets", group.Value.Snippets, group.problem)
	}
	r.checkSelectors()
	return r.try(ctx)
}

// checkDocuments renders what needs no machine's data, and finds which documents can be used.
func (r *reading) checkDocuments(ctx context.Context) {
	for i := range r.site.Templates {
		template := &r.site.Templates[i]
		document := r.read[documentKey{template.Value.Kind, template.Value.Name, sha256.Sum256(template.Value.Content)}]
		if err := document.Check(ctx); err != nil {
			r.reportDocument(template.File, err)
			r.fail(template.File, "")
			continue
		}
		r.usable[template.File] = document
	}
}

// problemAt makes a problem of an object's field.
type problemAt func(field, what string) Problem

func (r *reading) checkProfile(profile *Object[profiles.Profile]) {
	references := [...]struct {
		field, name string
		kind        profiles.Kind
	}{
		{"ignition_id", profile.Value.IgnitionID, profiles.Ignition},
		{"generic_id", profile.Value.GenericID, profiles.Generic},
		{"cloud_id", profile.Value.CloudID, profiles.Cloud},
	}
	for _, ref := range references {
		if ref.name != "" {
			r.checkReference(ref.field, ref.kind, ref.name, profile.problem)
		}
	}
	r.checkSnippets("snippets", profile.Value.Snippets, profile.problem)
	for _, platform := range slices.Sorted(maps.Keys(profile.Value.PlatformSnippets)) {
		r.checkSnippets("platform_snippets."+platform, profile.Value.PlatformSnippets[platform], profile.problem)
	}
}

func (r *reading) checkSnippets(field string, names []string, at problemAt) {
	for i, name := range names {
		r.checkReference(fmt.Sprintf("%s[%d]", field, i), profiles.Ignition, name, at)
	}
}

// checkReference refuses the name of a template that is not there; one that cannot be used has its own problem.
func (r *reading) checkReference(field string, kind profiles.Kind, name string, at problemAt) {
	file := string(kind) + "/" + name
	if r.usable[file] != nil || r.failed[file] {
		return
	}
	var names []string
	for _, template := range r.site.Templates {
		if template.Value.Kind == kind {
			names = append(names, template.Value.Name)
		}
	}
	r.problems.add(at(field, fmt.Sprintf("%s: there is no file %s%s", field, file, didYouMean(name, names, ""))))
}

// checkSelectors warns of groups that the same machines match: all but the first are never asked.
func (r *reading) checkSelectors() {
	objects := make(map[string]*Object[groups.Group], len(r.site.Groups))
	for i := range r.site.Groups {
		objects[r.site.Groups[i].Value.ID] = &r.site.Groups[i]
	}
	for _, set := range groups.Build(r.site.GroupList()).Duplicates() {
		for _, shadowed := range set[1:] {
			what := fmt.Sprintf("selector: it equals that of group %q, which comes first, so no machine ever gets this group; a priority settles it", set[0].ID)
			r.site.Warnings = append(r.site.Warnings, objects[shadowed.ID].problem("selector", what))
		}
	}
}
