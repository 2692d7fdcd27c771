package site

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// check looks at what the files say together.
func (r *reading) check(ctx context.Context) {
	r.checkDocuments(ctx)
	byID := make(map[string]*profiles.Profile, len(r.site.Profiles))
	for i := range r.site.Profiles {
		byID[r.site.Profiles[i].Value.ID] = &r.site.Profiles[i].Value
	}
	for i := range r.site.Profiles {
		r.checkProfile(ctx, &r.site.Profiles[i])
	}
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	composed := map[string]bool{}
	for i := range r.site.Groups {
		group := &r.site.Groups[i]
		profile := byID[group.Value.Profile]
		if profile == nil && !r.failed[profilesDir+"/"+group.Value.Profile] {
			what := fmt.Sprintf("profile: there is no profile %q%s", group.Value.Profile, didYouMean(group.Value.Profile, ids, ""))
			r.problems.add(group.problem("profile", what))
		}
		if len(group.Value.Snippets) == 0 {
			continue
		}
		complete := r.checkSnippets("snippets", group.Value.Snippets, group.problem)
		// Many groups share a composition: it is tried once.
		key := group.Value.Profile + " " + strings.Join(group.Value.Snippets, " ")
		if profile != nil && complete && !composed[key] {
			composed[key] = true
			r.compose(ctx, profile, group.Value.Snippets, group.problem)
		}
	}
	r.checkSelectors()
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

func (r *reading) checkProfile(ctx context.Context, profile *Object[profiles.Profile]) {
	references := [...]struct {
		field, name string
		kind        profiles.Kind
	}{
		{"ignition_id", profile.Value.IgnitionID, profiles.Ignition},
		{"generic_id", profile.Value.GenericID, profiles.Generic},
		{"cloud_id", profile.Value.CloudID, profiles.Cloud},
	}
	complete := true
	for _, ref := range references {
		if ref.name != "" {
			found := r.checkReference(ref.field, ref.kind, ref.name, profile.problem)
			complete = complete && (found || ref.kind != profiles.Ignition)
		}
	}
	complete = r.checkSnippets("snippets", profile.Value.Snippets, profile.problem) && complete
	for _, platform := range slices.Sorted(maps.Keys(profile.Value.PlatformSnippets)) {
		complete = r.checkSnippets("platform_snippets."+platform, profile.Value.PlatformSnippets[platform], profile.problem) && complete
	}
	if complete {
		r.compose(ctx, &profile.Value, nil, profile.problem)
	}
}

func (r *reading) checkSnippets(field string, names []string, at problemAt) bool {
	complete := true
	for i, name := range names {
		found := r.checkReference(fmt.Sprintf("%s[%d]", field, i), profiles.Ignition, name, at)
		complete = complete && found
	}
	return complete
}

// checkReference reports whether a template that can be used has that name; one that is not there at all is a problem.
func (r *reading) checkReference(field string, kind profiles.Kind, name string, at problemAt) bool {
	file := string(kind) + "/" + name
	if r.usable[file] != nil {
		return true
	}
	if r.failed[file] {
		return false
	}
	var names []string
	for _, template := range r.site.Templates {
		if template.Value.Kind == kind {
			names = append(names, template.Value.Name)
		}
	}
	r.problems.add(at(field, fmt.Sprintf("%s: there is no file %s%s", field, file, didYouMean(name, names, ""))))
	return false
}

// compose merges the documents of a config that is the same for all machines. Each document is good by itself here; whether they
// are so together is seen now and not when a machine asks.
func (r *reading) compose(ctx context.Context, profile *profiles.Profile, snippets []string, at problemAt) {
	if profile.IgnitionID == "" {
		return
	}
	composition := render.Composition{
		Base: r.usable[string(profiles.Ignition)+"/"+profile.IgnitionID], Version: profile.IgnitionVersion,
		AllowUnhashed: profile.AllowUnhashedSources,
	}
	for _, name := range slices.Concat(profile.Snippets, snippets) {
		composition.Snippets = append(composition.Snippets, r.usable[string(profiles.Ignition)+"/"+name])
	}
	if composition.Base == nil || slices.Contains(composition.Snippets, nil) || !composition.Static() {
		return
	}
	_, err := composition.Config(ctx, nil)
	var report *render.Report
	switch {
	case errors.As(err, &report):
		field := "ignition_id"
		if len(snippets) > 0 {
			field = "snippets"
		}
		for _, p := range report.Problems {
			r.problems.add(at(field, p.String()))
		}
	case err != nil:
		r.problems.add(at("ignition_id", err.Error()))
	}
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
