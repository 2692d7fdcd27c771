package site

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// MaxTrial is how long documents are tried with the groups' metadata, in all. What is left then is not tried, and a warning says so.
const MaxTrial = 2 * time.Minute

// trialURL stands for the server in a trial; it is reserved for documentation (RFC 5737).
const trialURL = "http://192.0.2.1:8080"

// job is one rendering that a trial performs, for all groups whose machines would get exactly that.
type job struct {
	profile *Object[profiles.Profile]
	groups  []*Object[groups.Group] // by file name
	run     func(ctx context.Context, trial *render.Trial) (render.Verdict, error)
	verdict render.Verdict
	done    bool
}

// jobs collects what has to be rendered, each thing once.
type jobs struct {
	*reading
	list  []*job
	byKey map[string]*job
}

// try renders every group's documents with its own metadata, and notes what would break and for whom.
func (r *reading) try(ctx context.Context) error {
	byID := make(map[string]*Object[profiles.Profile], len(r.site.Profiles))
	for i := range r.site.Profiles {
		byID[r.site.Profiles[i].Value.ID] = &r.site.Profiles[i]
	}
	all := jobs{reading: r, byKey: map[string]*job{}}
	grouped := map[string]bool{}
	for i := range r.site.Groups {
		group := &r.site.Groups[i]
		if profile := byID[group.Value.Profile]; profile != nil {
			grouped[group.Value.Profile] = true
			all.addGroup(group, profile)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for i := range r.site.Profiles {
		if !grouped[r.site.Profiles[i].Value.ID] {
			all.addProfile(&r.site.Profiles[i])
		}
	}
	if err := all.perform(ctx); err != nil {
		return err
	}
	all.report()
	return nil
}

// platforms returns those that a group's machines may be of, as far as its profile cares.
func platforms(profile *profiles.Profile, selector groups.Selector) []string {
	if platform := selector["platform"]; platform != "" {
		return []string{platform}
	}
	list := slices.Sorted(maps.Keys(profile.PlatformSnippets))
	if !slices.Contains(list, profiles.Metal) {
		list = append(list, profiles.Metal)
	}
	return list
}

func (j *jobs) addGroup(group *Object[groups.Group], profile *Object[profiles.Profile]) {
	selector, err := group.Value.Selector.Normalized()
	if err != nil {
		return // the group's own problem
	}
	p := &profile.Value
	for _, platform := range platforms(p, selector) {
		data := trialData(group, p, selector, platform)
		if composition, ok := j.composition(p, platform, group.Value.Snippets); ok {
			key := strings.Join([]string{"ignition", p.ID, platform, strings.Join(group.Value.Snippets, " "), composition.Key(data)}, "\x00")
			j.add(key, profile, group, func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
				return trial.Config(ctx, composition, data)
			})
		}
		for kind, name := range map[profiles.Kind]string{profiles.Generic: p.GenericID, profiles.Cloud: p.CloudID} {
			if document := j.usable[string(kind)+"/"+name]; document != nil {
				key := string(kind) + "\x00" + name + "\x00" + document.Key(data)
				j.add(key, profile, group, func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
					return trial.Text(ctx, document, data)
				})
			}
		}
	}
}

// addProfile adds a profile that no group names, if it is the same for all machines.
func (j *jobs) addProfile(profile *Object[profiles.Profile]) {
	for _, platform := range platforms(&profile.Value, nil) {
		composition, ok := j.composition(&profile.Value, platform, nil)
		if !ok || !composition.Static() {
			continue
		}
		j.add("profile\x00"+profile.Value.ID+"\x00"+platform, profile, nil, func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
			return trial.Config(ctx, composition, nil)
		})
	}
}

func (j *jobs) add(key string, profile *Object[profiles.Profile], group *Object[groups.Group], run func(context.Context, *render.Trial) (render.Verdict, error)) {
	each := j.byKey[key]
	if each == nil {
		each = &job{profile: profile, run: run}
		j.byKey[key] = each
		j.list = append(j.list, each)
	}
	if group != nil {
		each.groups = append(each.groups, group)
	}
}

// composition returns the documents of a config, if the profile has one and all of them can be used.
func (r *reading) composition(profile *profiles.Profile, platform string, snippets []string) (render.Composition, bool) {
	base := r.usable[string(profiles.Ignition)+"/"+profile.IgnitionID]
	composition := render.Composition{Base: base, Version: profile.IgnitionVersion, AllowUnhashed: profile.AllowUnhashedSources}
	for _, name := range profile.Composition(platform, snippets) {
		composition.Snippets = append(composition.Snippets, r.usable[string(profiles.Ignition)+"/"+name])
	}
	return composition, base != nil && !slices.Contains(composition.Snippets, nil)
}

// trialData is what is known before any machine asks: a machine of the group has the labels that the selector wants.
func trialData(group *Object[groups.Group], profile *profiles.Profile, selector groups.Selector, platform string) map[string]any {
	machine := map[string]any{"platform": platform}
	for label, value := range selector {
		machine[label] = value
	}
	return render.Input{
		Group: &group.Value, Profile: profile, Labels: groups.Labels(selector), Machine: machine, Server: map[string]any{"url": trialURL},
	}.Data()
}

// perform runs the jobs on all processors until MaxTrial is over. The error is that of ctx.
func (j *jobs) perform(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, MaxTrial)
	defer cancel()
	var next, finished atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(j.list)) {
		workers.Go(func() {
			for at := next.Add(1) - 1; int(at) < len(j.list) && bounded.Err() == nil; at = next.Add(1) - 1 {
				each := j.list[at]
				verdict, err := each.run(bounded, j.trial)
				each.verdict, each.done = verdict, err == nil
				if j.progress != nil {
					j.progress(int(finished.Add(1)), len(j.list))
				}
			}
		})
	}
	workers.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	left := 0
	for _, each := range j.list {
		if !each.done {
			left++
		}
	}
	if left > 0 {
		j.warn(".", fmt.Sprintf("%d of %d configs were not tried: it took longer than %v", left, len(j.list), MaxTrial))
	}
	return nil
}

// report turns verdicts into problems and warnings of the site, each with all groups that it hits.
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
		j.problems.add(found.problem())
	}
	for _, found := range warnings.list {
		j.site.Warnings = append(j.site.Warnings, found.problem())
	}
}

// place turns a problem of the renderer into one of the site: in the document where it has a line or is the document's alone, else where the
// documents are put together.
func (j *jobs) place(each *job, p render.Problem) Problem {
	if p.Line > 0 {
		return Problem{File: p.Name, Line: p.Line, Column: p.Column, What: p.What, Source: p.Source}
	}
	if len(each.groups) > 0 && len(each.groups[0].Value.Snippets) > 0 {
		return each.groups[0].problem("snippets", p.String())
	}
	return each.profile.problem("ignition_id", p.String())
}

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

// nameGroups adds to problems of documents that are wrong by themselves the groups that would get them.
func (r *reading) nameGroups() {
	if len(r.problems.Problems) == 0 {
		return
	}
	users := map[string][]string{}
	byID := make(map[string]*profiles.Profile, len(r.site.Profiles))
	for i := range r.site.Profiles {
		byID[r.site.Profiles[i].Value.ID] = &r.site.Profiles[i].Value
	}
	for i := range r.site.Groups {
		group := &r.site.Groups[i].Value
		for _, file := range documentsOf(group, byID[group.Profile]) {
			users[file] = append(users[file], group.ID)
		}
	}
	for i := range r.problems.Problems {
		if p := &r.problems.Problems[i]; p.Groups == nil {
			p.Groups = users[p.File]
		}
	}
}

// documentsOf returns the files of all documents that a group's machines may get, each once.
func documentsOf(group *groups.Group, profile *profiles.Profile) []string {
	if profile == nil {
		return nil
	}
	names := []string{profile.IgnitionID}
	for _, platform := range platforms(profile, group.Selector) {
		names = append(names, profile.Composition(platform, group.Snippets)...)
	}
	files := []string{string(profiles.Generic) + "/" + profile.GenericID, string(profiles.Cloud) + "/" + profile.CloudID}
	for _, name := range names {
		files = append(files, string(profiles.Ignition)+"/"+name)
	}
	slices.Sort(files)
	return slices.Compact(files)
}
