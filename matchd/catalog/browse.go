package catalog

import (
	"github.com/matchd/matchd/matchd/machine"
)

// Get returns an object. It is false for one that is not there, or left out.
func (s *Snapshot) Get(ref Ref) (*Item, bool) {
	if _, known := s.items[ref.Kind]; !known {
		return nil, false
	}
	item := s.items[ref.Kind].get(ref.ID)
	return item, item != nil
}

// List returns the objects of a kind, sorted by id. It must not be changed.
func (s *Snapshot) List(kind Kind) []*Item {
	if _, known := s.items[kind]; !known {
		return nil
	}
	return s.items[kind].list()
}

// Meta returns what is known of an object that is there, left out or not.
func (s *Snapshot) Meta(ref Ref) (Meta, bool) {
	if item, found := s.Get(ref); found {
		return item.Meta, true
	}
	if out := s.leftOut[ref]; out != nil {
		return out.Meta, true
	}
	return Meta{}, false
}

// Owner returns the file that owns an object; empty if none does.
func (s *Snapshot) Owner(ref Ref) string {
	meta, _ := s.Meta(ref)
	return meta.Owner
}

// Settings returns what an operator said of a machine, nil if nothing.
func (s *Snapshot) Settings(mac machine.MAC) *machine.Settings {
	if item := s.items[Machine].get(mac.String()); item != nil {
		return item.Machine
	}
	return nil
}

// Objects returns all groups, profiles and templates.
func (s *Snapshot) Objects() Objects {
	var objects Objects
	for _, item := range s.List(Group) {
		objects.Add(item)
	}
	for _, item := range s.List(Profile) {
		objects.Add(item)
	}
	for _, item := range s.List(Template) {
		objects.Add(item)
	}
	return objects
}

// Add adds a group, a profile or a template; other objects are of no interest here.
func (o *Objects) Add(item *Item) {
	switch {
	case item.Group != nil:
		o.Groups = append(o.Groups, own(*item.Group, item))
	case item.Profile != nil:
		o.Profiles = append(o.Profiles, own(*item.Profile, item))
	case item.Template != nil:
		o.Templates = append(o.Templates, own(*item.Template, item))
	}
}

func own[T any](value T, item *Item) Owned[T] { return Owned[T]{Value: value, File: item.Owner} }

// With returns the snapshot that there would be with some objects put and some deleted: a candidate, of the same revision, that nobody is
// served from. Documents that are the same are not compiled again. An object that cannot be used is left out and among the problems.
func (s *Snapshot) With(put []*Item, deleted []Ref) *Snapshot {
	d := newDelta(s.lenient, nil)
	for _, ref := range deleted {
		d.set(ref, nil)
	}
	for _, item := range put {
		d.put(item)
	}
	return s.next(d, s.Revision)
}
