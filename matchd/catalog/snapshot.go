package catalog

import (
	"context"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// Snapshot is everything that is served at one revision. Nothing that it gives may be changed.
type Snapshot struct {
	Revision store.Revision
	Groups   *groups.Index
	Profiles map[string]*profiles.Profile // by id
	Problems []error                      // of type *LeftOut: records that are left out, by key

	items     map[Kind]items
	leftOut   map[Ref]*LeftOut
	documents map[string]*render.Document // by key
	cache     *cache                      // shared by snapshots that have the same profiles and documents
	metrics   *metrics

	refuseOverlaps, lenient bool // as in Options
}

// Selection is what a machine's labels lead to.
type Selection struct {
	Group   *groups.Group
	Profile *profiles.Profile
}

// Request is what a machine asked, as far as its documents may speak of it.
type Request struct {
	Labels   groups.Labels     // of the query
	RawQuery string            // as sent
	Machine  map[string]string // labels with what the server knows laid over them
	BaseURL  string            // how the machine reaches the server
}

// NoMatch is the error that no group wants a machine. Other errors of kind NotFound are of a machine whose profile lacks what was asked for. It
// explains itself only when somebody reads it: explaining looks at every group.
type NoMatch struct {
	Groups *groups.Index
	Labels groups.Labels
}

// Error tells which group came nearest.
func (e *NoMatch) Error() string { return e.Groups.Explain(e.Labels).String() }

// Match finds the group and its profile. No group is an error of kind NotFound, a [NoMatch]. A group whose profile
// is missing is of kind Unavailable, with the group in the selection: there is no falling through to another group.
func (s *Snapshot) Match(labels groups.Labels) (Selection, error) {
	group, found := s.Groups.Match(labels)
	if !found {
		return Selection{}, fault.Wrap(fault.NotFound, &NoMatch{s.Groups, labels})
	}
	profile, found := s.Profiles[group.Profile]
	if !found {
		return Selection{Group: group}, fault.New(fault.Unavailable, "group %q names profile %q, which does not exist", group.ID, group.Profile)
	}
	return Selection{group, profile}, nil
}

// document finds a template by name. A profile that names none is NotFound, one that names what is not there Unavailable.
func (s *Snapshot) document(kind profiles.Kind, selection Selection, name string) (*render.Document, error) {
	if name == "" {
		return nil, fault.New(fault.NotFound, "profile %q has no %s_id", selection.Profile.ID, kind)
	}
	document, found := s.documents[TemplateRef(kind, name).Key()]
	if !found {
		return nil, fault.New(fault.Unavailable, "profile %q names the %s template %q, which does not exist or cannot be used", selection.Profile.ID, kind, name)
	}
	return document, nil
}

// Ignition renders the selection's config: the profile's base, its snippets, its snippets for the machine's platform, the group's
// snippets. NotFound: the profile has none.
// Everything that keeps it from being rendered is of kind Unavailable, with the renderer's report in the chain, because a machine shall wait
// until somebody mended it.
func (s *Snapshot) Ignition(ctx context.Context, selection Selection, request Request) (*render.Config, error) {
	platform := request.Machine["platform"]
	composition, err := s.composition(selection, platform)
	if err != nil {
		return nil, err
	}
	data := request.input(selection).Data()
	key := "ignition " + selection.Profile.ID + " " + platform + " " + strings.Join(selection.Group.Snippets, " ") + " " + composition.Key(data)
	rendered, err := s.cached(ctx, key, func(ctx context.Context) (any, error) { return composition.Config(ctx, data) })
	if err != nil {
		return nil, unrendered(selection, err)
	}
	return rendered.(*render.Config), nil
}

func unrendered(selection Selection, err error) error {
	return fault.New(fault.Unavailable, "rendering the config of profile %q for group %q: %w", selection.Profile.ID, selection.Group.ID, err)
}

func (s *Snapshot) composition(selection Selection, platform string) (render.Composition, error) {
	base, err := s.document(profiles.Ignition, selection, selection.Profile.IgnitionID)
	if err != nil {
		return render.Composition{}, err
	}
	composition := render.Composition{
		Base: base, Version: selection.Profile.IgnitionVersion, AllowUnhashed: selection.Profile.AllowUnhashedSources, RefuseOverlaps: s.refuseOverlaps,
	}
	for _, name := range selection.Profile.Composition(platform, selection.Group.Snippets) {
		snippet, err := s.document(profiles.Ignition, selection, name)
		if err != nil {
			return render.Composition{}, err
		}
		composition.Snippets = append(composition.Snippets, snippet)
	}
	return composition, nil
}

// Generic renders the selection's generic template; errors are those of [Snapshot.Ignition].
func (s *Snapshot) Generic(ctx context.Context, selection Selection, request Request) ([]byte, error) {
	return s.text(ctx, profiles.Generic, selection.Profile.GenericID, selection, request)
}

// Cloud renders the selection's cloud-config or script; errors are those of [Snapshot.Ignition].
func (s *Snapshot) Cloud(ctx context.Context, selection Selection, request Request) ([]byte, error) {
	return s.text(ctx, profiles.Cloud, selection.Profile.CloudID, selection, request)
}

func (s *Snapshot) text(ctx context.Context, kind profiles.Kind, name string, selection Selection, request Request) ([]byte, error) {
	document, err := s.document(kind, selection, name)
	if err != nil {
		return nil, err
	}
	data := request.input(selection).Data()
	key := string(kind) + " " + name + " " + document.Key(data)
	rendered, err := s.cached(ctx, key, func(ctx context.Context) (any, error) { return document.Text(ctx, data) })
	if err != nil {
		return nil, fault.New(fault.Unavailable, "rendering the %s template %q for group %q: %w", kind, name, selection.Group.ID, err)
	}
	return rendered.([]byte), nil
}

// Metadata returns the metadata of the selection's group as environment lines; the profile may be missing.
func (s *Snapshot) Metadata(_ context.Context, selection Selection, request Request) ([]byte, error) {
	lines, err := render.Metadata(request.input(selection))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "writing the metadata of group %q: %w", selection.Group.ID, err)
	}
	return lines, nil
}

func (r *Request) input(selection Selection) render.Input {
	machine := make(map[string]any, len(r.Machine))
	for label, value := range r.Machine {
		machine[label] = value
	}
	return render.Input{
		Group: selection.Group, Profile: selection.Profile, Labels: r.Labels, RawQuery: r.RawQuery,
		Machine: machine, Server: map[string]any{"url": r.BaseURL},
	}
}

// cached renders once for all who ask for the same at the same time, and remembers successes. Rendering is bounded to as many at once
// as there are processors.
func (s *Snapshot) cached(ctx context.Context, key string, render renderFunc) (any, error) {
	if value, ok := s.cache.get(key); ok {
		s.metrics.cacheHit()
		return value, nil
	}
	s.metrics.cacheMiss()
	return s.cache.fill(ctx, key, s.metrics.timed(render))
}
