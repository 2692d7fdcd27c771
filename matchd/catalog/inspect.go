package catalog

import (
	"context"
	"fmt"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// NewSnapshot returns a snapshot of objects that are in no store, to ask what machines would get. Its revision is 0. An object that cannot be used
// is left out and listed among the problems. Of options only RefuseOverlaps matters.
func NewSnapshot(objects Objects, options Options) *Snapshot {
	c := newContent()
	for _, group := range objects.Groups {
		key := groupPrefix + group.Value.ID
		if c.own(key, group.File, group.Value.Validate()) {
			c.groups[group.Value.ID] = group.Value
		}
	}
	for _, profile := range objects.Profiles {
		key := profilePrefix + profile.Value.ID
		if c.own(key, profile.File, profile.Value.Validate()) {
			c.profiles[profile.Value.ID] = &profile.Value
		}
	}
	for _, template := range objects.Templates {
		key := templateKey(template.Value.Kind, template.Value.Name)
		document, err := render.Compile(template.Value)
		if c.own(key, template.File, err) {
			c.documents[key] = document
		}
	}
	snapshot := c.snapshot(0)
	snapshot.refuseOverlaps = options.RefuseOverlaps
	return snapshot
}

// own notes whose an object is, and reports whether it can be used.
func (c *content) own(key, file string, err error) bool {
	c.files[key] = file
	if err != nil {
		c.problems[key] = fmt.Errorf("%s is left out: %w", key, err)
	}
	return err == nil
}

// GroupFile returns the site's file of a group; empty if none owns it.
func (s *Snapshot) GroupFile(group *groups.Group) string { return s.File(groupPrefix + group.ID) }

// ProfileFile returns the site's file of a profile; empty if none owns it.
func (s *Snapshot) ProfileFile(profile *profiles.Profile) string {
	return s.File(profilePrefix + profile.ID)
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
