package catalog

import (
	"context"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// NewSnapshot returns a snapshot of objects that are in no store, to ask what machines would get. Its revision is 0. An object that cannot be used
// is left out and listed among the problems. Of options only RefuseOverlaps and Lenient matter.
func NewSnapshot(objects Objects, options Options) *Snapshot {
	d := newDelta(options.Lenient, nil)
	for i := range objects.Groups {
		d.put(&Item{Object{Group: &objects.Groups[i].Value}, Meta{Owner: objects.Groups[i].File}})
	}
	for i := range objects.Profiles {
		d.put(&Item{Object{Profile: &objects.Profiles[i].Value}, Meta{Owner: objects.Profiles[i].File}})
	}
	for i := range objects.Templates {
		d.put(&Item{Object{Template: &objects.Templates[i].Value}, Meta{Owner: objects.Templates[i].File}})
	}
	snapshot := empty().next(d, 0)
	snapshot.refuseOverlaps, snapshot.lenient = options.RefuseOverlaps, options.Lenient
	return snapshot
}

// GroupFile returns the site's file of a group; empty if none owns it.
func (s *Snapshot) GroupFile(group *groups.Group) string { return s.Owner(Ref{Group, group.ID}) }

// ProfileFile returns the site's file of a profile; empty if none owns it.
func (s *Snapshot) ProfileFile(profile *profiles.Profile) string {
	return s.Owner(Ref{Profile, profile.ID})
}

// Rendered is a document after its template has run.
type Rendered struct {
	File string `json:"file"` // as in a site, such as "ignition/worker.bu"
	Text string `json:"text"`
}

// Documents returns the texts that the selection's config is translated and merged from, in the order of merging. Errors are those of
// [Snapshot.Ignition].
func (s *Snapshot) Documents(ctx context.Context, selection Selection, request Request) ([]Rendered, error) {
	composition, err := s.composition(selection, request.Machine["platform"])
	if err != nil {
		return nil, err
	}
	data := request.input(selection).Data()
	var list []Rendered
	for _, document := range composition.Documents() {
		text, err := document.Text(ctx, data)
		if err != nil {
			return nil, unrendered(selection, err)
		}
		list = append(list, Rendered{string(document.Kind()) + "/" + document.Name(), string(text)})
	}
	return list, nil
}

// Provenance returns which document each entry of the selection's config came from. Errors are those of [Snapshot.Ignition].
func (s *Snapshot) Provenance(ctx context.Context, selection Selection, request Request) ([]render.Source, error) {
	composition, err := s.composition(selection, request.Machine["platform"])
	if err != nil {
		return nil, err
	}
	sources, err := composition.Provenance(ctx, request.input(selection).Data())
	if err != nil {
		return nil, unrendered(selection, err)
	}
	return sources, nil
}
