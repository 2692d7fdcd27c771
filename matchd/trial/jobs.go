package trial

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// serverURL stands for the server in a trial; it is reserved for documentation (RFC 5737).
const serverURL = "http://192.0.2.1:8080"

// job is one rendering that a trial performs, for all groups whose machines would get exactly that.
type job struct {
	profile *catalog.Owned[profiles.Profile]
	groups  []*catalog.Owned[groups.Group] // in the order of the objects
	perform func(ctx context.Context, trial *render.Trial) (render.Verdict, error)
	verdict render.Verdict
	done    bool
}

// jobs collects what has to be rendered, each thing once.
type jobs struct {
	*run
	list  []*job
	byKey map[string]*job

	unhashed map[string]*finding // of documents that cannot be used, by key of the problem
}

// try renders every group's documents with its own metadata, and notes what would break and for whom.
func (r *run) try(ctx context.Context) error {
	all := jobs{run: r, byKey: map[string]*job{}, unhashed: map[string]*finding{}}
	grouped := map[string]bool{}
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i]
		if profile := r.profiles[group.Value.Profile]; profile != nil {
			grouped[group.Value.Profile] = true
			if r.concerns(GroupsDir, group.Value.ID) {
				all.addGroup(group, profile)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for i := range r.objects.Profiles {
		if profile := &r.objects.Profiles[i]; !grouped[profile.Value.ID] && r.concerns(ProfilesDir, profile.Value.ID) {
			all.addProfile(profile)
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

func (j *jobs) addGroup(group *catalog.Owned[groups.Group], profile *catalog.Owned[profiles.Profile]) {
	selector, err := group.Value.Selector.Normalized()
	if err != nil {
		return // the group's own problem
	}
	p := &profile.Value
	for _, platform := range platforms(p, selector) {
		data := dataOf(&group.Value, p, selector, platform)
		config := j.composition(profile, group, platform)
		key := strings.Join([]string{"ignition", p.ID, platform, strings.Join(group.Value.Snippets, " "), render.Keys(config.documents, data)}, "\x00")
		j.add(key, profile, group, config.job(data))
		for kind, id := range map[profiles.Kind]string{profiles.Generic: p.GenericID, profiles.Cloud: p.CloudID} {
			if document := j.usable[Name(string(kind), id)]; document != nil {
				key := string(kind) + "\x00" + id + "\x00" + document.Key(data)
				j.add(key, profile, group, func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
					return trial.Text(ctx, document, data)
				})
			}
		}
	}
}

// addProfile adds a profile that no group names, as far as it is the same for all machines.
func (j *jobs) addProfile(profile *catalog.Owned[profiles.Profile]) {
	for _, platform := range platforms(&profile.Value, nil) {
		config := j.composition(profile, nil, platform)
		if slices.ContainsFunc(config.documents, func(d *render.Document) bool { return !d.Static() }) {
			continue
		}
		j.add("profile\x00"+profile.Value.ID+"\x00"+platform, profile, nil, config.job(nil))
	}
}

func (j *jobs) add(key string, profile *catalog.Owned[profiles.Profile], group *catalog.Owned[groups.Group], perform func(context.Context, *render.Trial) (render.Verdict, error)) {
	if perform == nil {
		return
	}
	each := j.byKey[key]
	if each == nil {
		each = &job{profile: profile, perform: perform}
		j.byKey[key] = each
		j.list = append(j.list, each)
	}
	if group != nil {
		each.groups = append(each.groups, group)
	}
}

// config is a composition, as far as its documents can be used.
type config struct {
	documents []*render.Document
	whole     bool
	template  render.Composition // without documents
}

// composition returns the documents that the machines of a group, or of none, get on a platform. What keeps a document from being used is noted
// for the group.
func (j *jobs) composition(profile *catalog.Owned[profiles.Profile], group *catalog.Owned[groups.Group], platform string) config {
	p := &profile.Value
	out := config{
		whole:    p.IgnitionID != "",
		template: render.Composition{Version: p.IgnitionVersion, AllowUnhashed: p.AllowUnhashedSources, RefuseOverlaps: j.RefuseOverlaps},
	}
	if p.IgnitionID == "" {
		return out
	}
	var snippets []string
	if group != nil {
		snippets = group.Value.Snippets
	}
	for _, id := range append([]string{p.IgnitionID}, p.Composition(platform, snippets)...) {
		name := Name(string(profiles.Ignition), id)
		if document := j.usable[name]; document != nil {
			out.documents = append(out.documents, document)
			continue
		}
		out.whole = false
		if !p.AllowUnhashedSources {
			j.addUnhashed(name, group)
		}
	}
	return out
}

// addUnhashed notes for a group what a document that cannot be used has against it besides.
func (j *jobs) addUnhashed(name string, group *catalog.Owned[groups.Group]) {
	for _, p := range j.run.unhashed[name] {
		key := p.String()
		found := j.unhashed[key]
		if found == nil {
			found = &finding{p, map[string]bool{}}
			j.unhashed[key] = found
		}
		if group != nil {
			found.groups[group.Value.ID] = true
		}
	}
}

// job returns how to try the config: put together, or its documents one by one if some cannot be used. nil: there is nothing to try.
func (c config) job(data map[string]any) func(context.Context, *render.Trial) (render.Verdict, error) {
	switch {
	case len(c.documents) == 0:
		return nil
	case !c.whole:
		return func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
			return trial.Apart(ctx, c.documents, c.template.AllowUnhashed, data)
		}
	}
	composition := c.template
	composition.Base, composition.Snippets = c.documents[0], c.documents[1:]
	return func(ctx context.Context, trial *render.Trial) (render.Verdict, error) {
		return trial.Config(ctx, composition, data)
	}
}

// dataOf is what is known before any machine asks: a machine of the group has the labels that the selector wants.
func dataOf(group *groups.Group, profile *profiles.Profile, selector groups.Selector, platform string) map[string]any {
	machine := map[string]any{"platform": platform}
	for label, value := range selector {
		machine[label] = value
	}
	return render.Input{
		Group: group, Profile: profile, Labels: groups.Labels(selector), Machine: machine, Server: map[string]any{"url": serverURL},
	}.Data()
}

// perform runs the jobs on all processors until MaxDuration is over. The error is that of ctx.
func (j *jobs) perform(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	var next, finished atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(j.list)) {
		workers.Go(func() {
			for at := next.Add(1) - 1; int(at) < len(j.list) && bounded.Err() == nil; at = next.Add(1) - 1 {
				each := j.list[at]
				verdict, err := each.perform(bounded, j.Cache.trial)
				each.verdict, each.done = verdict, err == nil
				if j.Progress != nil {
					j.Progress(int(finished.Add(1)), len(j.list))
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
		j.warn(Problem{File: ".", What: fmt.Sprintf("%d of %d configs were not tried: it took longer than %v", left, len(j.list), MaxDuration)})
	}
	return nil
}
