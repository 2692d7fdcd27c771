package change

import (
	"context"
	"slices"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/profiles"
)

// rehearse tries what machines would get after the change, for exactly the groups that it concerns. What would break is the error; what is odd, or was broken
// before and is not touched, is a warning.
func (a *Applier) rehearse(ctx context.Context, p *plan) error {
	var names []string
	for _, s := range p.changed {
		if name := nameOf(s.ref); name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	options := trial.Options{Changed: names, RefuseOverlaps: a.opt.RefuseOverlaps, Lenient: a.opt.Lenient, Cache: a.cache}
	concerned := p.concerned(p.get)
	p.groups = concerned.groups
	found, err := a.rendered(ctx, concerned.objects, options)
	if err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		if found, err = a.judge(ctx, p, options); err != nil {
			return err
		}
	}
	p.warnings = translateAll(found.Warnings, concerned.owners)
	if p.change.Lenient {
		hopeless, err := a.hopeless(ctx, p)
		if err != nil {
			return err
		}
		p.warnings = append(p.warnings, translateAll(found.Problems, concerned.owners)...)
		return invalid(hopeless)
	}
	return invalid(translateAll(found.Problems, concerned.owners))
}

func (a *Applier) rendered(ctx context.Context, objects catalog.Objects, options trial.Options) (*trial.Result, error) {
	found, err := trial.Run(ctx, objects, options)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "rendering what the change would lead to: %w", err)
	}
	return found, nil
}

func translateAll(list []trial.Problem, owners map[string]catalog.Ref) []Problem {
	out := make([]Problem, 0, len(list))
	for _, p := range list {
		out = append(out, translate(p, owners))
	}
	return out
}

// judge looks again, at everything, so that mistyped names find what they were meant to be, and lets what was as broken before pass as a warning: else
// nobody could mend one thing at a time. What is wrong with the changed objects themselves is never let pass.
func (a *Applier) judge(ctx context.Context, p *plan, options trial.Options) (*trial.Result, error) {
	after, err := a.rendered(ctx, p.candidate().Objects(), options)
	if err != nil {
		return nil, err
	}
	before, err := a.rendered(ctx, p.concerned(p.snapshot.Get).objects, options)
	if err != nil {
		return nil, err
	}
	type same struct {
		file, what   string
		line, column int
	}
	known := map[same]bool{}
	for _, problem := range before.Problems {
		known[same{problem.File, problem.What, problem.Line, problem.Column}] = true
	}
	var fresh []trial.Problem
	for _, problem := range after.Problems {
		if known[same{problem.File, problem.What, problem.Line, problem.Column}] && !slices.Contains(options.Changed, problem.File) {
			after.Warnings = append(after.Warnings, problem)
		} else {
			fresh = append(fresh, problem)
		}
	}
	after.Problems = fresh
	return after, nil
}

// hopeless returns what is wrong with the changed documents whoever gets them.
func (a *Applier) hopeless(ctx context.Context, p *plan) ([]Problem, error) {
	var objects catalog.Objects
	for _, s := range p.changed {
		if s.put != nil && s.put.Template != nil {
			objects.Add(s.item())
		}
	}
	found, err := a.rendered(ctx, objects, trial.Options{Lenient: a.opt.Lenient, Cache: a.cache, Changed: names(objects)})
	if err != nil {
		return nil, err
	}
	return translateAll(found.Problems, nil), nil
}

func names(objects catalog.Objects) []string {
	list := []string{}
	for _, t := range objects.Templates {
		list = append(list, trial.Name(string(t.Value.Kind), t.Value.Name))
	}
	return list
}

// concern is what has to be looked at to know what a change does.
type concern struct {
	objects catalog.Objects
	owners  map[string]catalog.Ref // objects by the file that owns them
	groups  map[string]bool        // whose machines it concerns

	get      func(catalog.Ref) (*catalog.Item, bool)
	included map[catalog.Ref]bool
}

// concerned gathers what the change has an effect on, as get has it, and what that is made of. Groups put alone cost a few look-ups, however many there are.
func (p *plan) concerned(get func(catalog.Ref) (*catalog.Item, bool)) *concern {
	c := &concern{get: get, owners: map[string]catalog.Ref{}, groups: map[string]bool{}, included: map[catalog.Ref]bool{}}
	profilesHit, templatesHit := map[string]bool{}, map[string]bool{}
	for _, s := range p.changed {
		switch s.ref.Kind {
		case catalog.Group:
			c.groups[s.ref.ID] = true
		case catalog.Profile:
			profilesHit[s.ref.ID] = true
		case catalog.Template:
			templatesHit[s.ref.ID] = true
			c.include(s.ref)
		}
	}
	if len(templatesHit) > 0 {
		p.each(catalog.Profile, get, func(item *catalog.Item) {
			if slices.ContainsFunc(templatesOf(item.Profile), func(id string) bool { return templatesHit[id] }) {
				profilesHit[item.Profile.ID] = true
			}
		})
	}
	if len(profilesHit)+len(templatesHit) > 0 {
		p.each(catalog.Group, get, func(item *catalog.Item) {
			if profilesHit[item.Group.Profile] || slices.ContainsFunc(item.Group.Snippets, func(id string) bool { return templatesHit[snippetID(id)] }) {
				c.groups[item.Group.ID] = true
			}
		})
	}
	for id := range profilesHit {
		c.includeProfile(id)
	}
	for id := range c.groups {
		c.includeGroup(id)
		if item, found := get(catalog.Ref{Kind: catalog.Group, ID: id}); found && p.after[item.Ref()] != nil {
			c.includeAlike(p.snapshot.Groups, item.Group)
		}
	}
	return c
}

// each calls f with the objects of a kind that are there before or after the change, as get has them.
func (p *plan) each(kind catalog.Kind, get func(catalog.Ref) (*catalog.Item, bool), f func(*catalog.Item)) {
	for _, item := range p.snapshot.List(kind) {
		if p.after[item.Ref()] == nil {
			f(item)
		}
	}
	for _, s := range p.changed {
		if s.ref.Kind != kind {
			continue
		}
		if item, found := get(s.ref); found {
			f(item)
		}
	}
}

func (c *concern) include(ref catalog.Ref) (*catalog.Item, bool) {
	item, found := c.get(ref)
	if !found || c.included[ref] {
		return item, found
	}
	c.included[ref] = true
	c.objects.Add(item)
	if item.Owner != "" {
		c.owners[item.Owner] = ref
	}
	return item, true
}

func (c *concern) includeProfile(id string) {
	ref := catalog.Ref{Kind: catalog.Profile, ID: id}
	if c.included[ref] {
		return
	}
	item, found := c.include(ref)
	if !found {
		return
	}
	for _, id := range templatesOf(item.Profile) {
		c.include(catalog.Ref{Kind: catalog.Template, ID: id})
	}
}

func (c *concern) includeGroup(id string) {
	item, found := c.include(catalog.Ref{Kind: catalog.Group, ID: id})
	if !found {
		return
	}
	c.includeProfile(item.Group.Profile)
	for _, id := range item.Group.Snippets {
		c.include(catalog.Ref{Kind: catalog.Template, ID: snippetID(id)})
	}
}

// includeAlike takes the groups that want the same machines along, without looking at what they give them.
func (c *concern) includeAlike(index *groups.Index, group *groups.Group) {
	for _, alike := range index.Alike(group) {
		c.include(catalog.Ref{Kind: catalog.Group, ID: alike.ID})
	}
}

func snippetID(name string) string { return string(profiles.Ignition) + "/" + name }

// templatesOf returns the ids of all templates that a profile names.
func templatesOf(p *profiles.Profile) []string {
	ids := make([]string, 0, 3+len(p.Snippets))
	for _, ref := range [...]struct {
		kind profiles.Kind
		name string
	}{{profiles.Ignition, p.IgnitionID}, {profiles.Generic, p.GenericID}, {profiles.Cloud, p.CloudID}} {
		if ref.name != "" {
			ids = append(ids, string(ref.kind)+"/"+ref.name)
		}
	}
	for _, name := range p.Snippets {
		ids = append(ids, snippetID(name))
	}
	for _, list := range p.PlatformSnippets {
		for _, name := range list {
			ids = append(ids, snippetID(name))
		}
	}
	return ids
}

// Uses returns the names of everything that a group's machines are given: its profile, the templates of that, its own snippets. What they name may not exist.
func Uses(snapshot *catalog.Snapshot, group *groups.Group) []catalog.Ref {
	refs := []catalog.Ref{{Kind: catalog.Profile, ID: group.Profile}}
	if profile := snapshot.Profiles[group.Profile]; profile != nil {
		for _, id := range templatesOf(profile) {
			refs = append(refs, catalog.Ref{Kind: catalog.Template, ID: id})
		}
	}
	for _, name := range group.Snippets {
		refs = append(refs, catalog.Ref{Kind: catalog.Template, ID: snippetID(name)})
	}
	return refs
}
