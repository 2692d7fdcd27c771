// Package trial finds out what would break before a change is accepted.
//
// [Run] takes all that machines would be answered from once the change is made, whoever owns it, files of a site or the API, and looks at
// every object with those that it names; then the documents of every group are rendered with the group's own metadata, each text once. What
// it finds names the file, the line where that is known, and the groups whose machines it hits. What only a real machine's labels tell is made
// up, and what may be due to that is a warning. A trial is bounded in time, ends with its context, and can be restricted to what a
// change has an effect on.
package trial

import (
	"context"
	"time"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// MaxDuration is how long documents are rendered with the groups' metadata, in all. What is left then is not tried, and a warning says so.
const MaxDuration = 2 * time.Minute

// Options of [Run]; the zero value looks at everything.
type Options struct {
	// Changed names the objects that a change adds, alters or removes, as [Name] has it. Only they and what depends on them is looked at: a
	// template's profiles and their groups, a profile's groups. nil: everything.
	Changed []string
	// Broken holds the names of objects that are there but cannot be read, for which somebody else has a problem. Nobody misses them.
	Broken map[string]bool
	// RefuseOverlaps makes a problem of two documents that set the contents of one file where neither says that it overwrites.
	RefuseOverlaps bool
	// Lenient tries documents as matchbox would serve them, see [render.CompileLenient].
	Lenient bool
	// Place tells where in an object's file a field such as "boot.args[1]" stands, and the line itself; zeros where that is not known. nil:
	// it is known of none.
	Place func(file, field string) (line, column int, source string)
	// Progress is told how many of how many configs have been rendered. Calls may overlap. nil: nobody is.
	Progress func(done, total int)
	// Cache remembers between runs what need not be rendered again. nil: nothing is remembered.
	Cache *Cache
}

// Result is what a trial found, ordered by file and place.
type Result struct {
	Problems []Problem
	Warnings []Problem // odd, or wrong only for some machines' labels
}

// The first parts of the names of groups and profiles; those of templates are their kinds.
const (
	GroupsDir   = "groups"
	ProfilesDir = "profiles"
)

// Name returns the name of an object in [Options] and, if no file owns it, in a [Problem]: "groups/web", "profiles/worker",
// "ignition/worker.bu". dir is GroupsDir, ProfilesDir or a template's kind.
func Name(dir, id string) string { return dir + "/" + id }

// Run looks at objects. The error is that of ctx: what is wrong with objects is in the result.
func Run(ctx context.Context, objects catalog.Objects, options Options) (*Result, error) {
	if options.Cache == nil {
		options.Cache = NewCache()
	}
	r := newRun(objects, options)
	options.Cache.begin(options.Changed == nil)
	r.checkDocuments(ctx)
	r.checkReferences()
	r.checkSelectors()
	if err := r.try(ctx); err != nil {
		return nil, err
	}
	r.nameGroups(r.problems)
	options.Cache.end(options.Changed == nil, r.read)
	return &Result{Problems: Sort(r.problems), Warnings: Sort(r.warnings)}, nil
}

// run is one trial.
type run struct {
	Options
	objects   catalog.Objects
	profiles  map[string]*catalog.Owned[profiles.Profile]
	templates map[string]*catalog.Owned[profiles.Template] // by name, as the next ones

	usable    map[string]*render.Document
	unhashed  map[string][]Problem // of documents that have other problems: problems too, unless the profile allows it
	changed   map[string]bool      // nil: all are
	dependent map[string]bool      // what is of interest: what was changed and what depends on it

	read               map[documentKey]*render.Document // all that could be compiled
	problems, warnings []Problem
}

func newRun(objects catalog.Objects, options Options) *run {
	r := &run{
		Options: options, objects: objects, profiles: make(map[string]*catalog.Owned[profiles.Profile], len(objects.Profiles)),
		templates: make(map[string]*catalog.Owned[profiles.Template], len(objects.Templates)),
		read:      map[documentKey]*render.Document{}, usable: map[string]*render.Document{}, unhashed: map[string][]Problem{},
	}
	for i := range objects.Profiles {
		r.profiles[objects.Profiles[i].Value.ID] = &objects.Profiles[i]
	}
	for i := range objects.Templates {
		template := &objects.Templates[i]
		r.templates[Name(string(template.Value.Kind), template.Value.Name)] = template
	}
	if options.Changed != nil {
		r.restrict()
	}
	return r
}

// restrict finds out what depends on what was changed.
func (r *run) restrict() {
	r.changed, r.dependent = map[string]bool{}, map[string]bool{}
	for _, name := range r.Changed {
		r.changed[name], r.dependent[name] = true, true
	}
	for i := range r.objects.Profiles {
		profile := &r.objects.Profiles[i].Value
		r.depends(Name(ProfilesDir, profile.ID), r.documentsOfProfile(profile))
	}
	for i := range r.objects.Groups {
		group := &r.objects.Groups[i].Value
		r.depends(Name(GroupsDir, group.ID), append(ignitionNames(group.Snippets), Name(ProfilesDir, group.Profile)))
	}
	// What they are made of has to be looked at as well, though it is as it was.
	for i := range r.objects.Profiles {
		if profile := &r.objects.Profiles[i].Value; r.concerns(ProfilesDir, profile.ID) {
			r.note(r.documentsOfProfile(profile))
		}
	}
	for i := range r.objects.Groups {
		if group := &r.objects.Groups[i].Value; r.concerns(GroupsDir, group.ID) {
			r.note(ignitionNames(group.Snippets))
			if profile := r.profiles[group.Profile]; profile != nil {
				r.note(r.documentsOfProfile(&profile.Value))
			}
		}
	}
}

// depends notes that an object is of interest if one of those that it names is.
func (r *run) depends(name string, on []string) {
	for _, other := range on {
		if r.dependent[other] {
			r.dependent[name] = true
			return
		}
	}
}

func (r *run) note(names []string) {
	for _, name := range names {
		r.dependent[name] = true
	}
}

// concerns reports whether an object is to be looked at.
func (r *run) concerns(dir, id string) bool { return r.dependent == nil || r.dependent[Name(dir, id)] }
