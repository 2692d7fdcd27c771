package catalog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// Kind is a sort of object. It is the first part of the keys in the store.
type Kind string

// The kinds of objects.
const (
	Machine     Kind = "machine"     // what an operator says of one machine; its id is the MAC address
	Group       Kind = "group"       // which machines boot which profile
	Profile     Kind = "profile"     // what to boot, and which config to give
	Template    Kind = "template"    // a document; its id is KIND/NAME, such as "ignition/worker.bu"
	Reservation Kind = "reservation" // an address that one DHCP client has for itself; its id is the address
)

// Kinds returns all kinds, in the order in which objects of several kinds are listed.
func Kinds() []Kind { return []Kind{Machine, Group, Profile, Template, Reservation} }

// Ref names an object.
type Ref struct {
	Kind Kind
	ID   string
}

// TemplateRef names a template.
func TemplateRef(kind profiles.Kind, name string) Ref {
	return Ref{Template, string(kind) + "/" + name}
}

// Key returns the key of the object's record in the config store.
func (r Ref) Key() string { return string(r.Kind) + "/" + r.ID }

// String names the object for people: "group web", "template ignition/worker.bu".
func (r Ref) String() string { return string(r.Kind) + " " + r.ID }

// ParseKey returns the object that a key of the config store names; false for what is no object.
func ParseKey(key string) (Ref, bool) {
	kind, id, found := strings.Cut(key, "/")
	ref := Ref{Kind(kind), id}
	switch ref.Kind {
	case Machine, Group, Profile, Template, Reservation:
		return ref, found
	}
	return Ref{}, false
}

// Object is one object of any kind: exactly one of the pointers is set. What they point to is never changed.
type Object struct {
	Machine     *machine.Settings
	Group       *groups.Group
	Profile     *profiles.Profile
	Template    *profiles.Template
	Reservation *lease.Reservation
}

// Ref returns the object's name, the zero Ref for no object.
func (o *Object) Ref() Ref {
	switch {
	case o.Machine != nil:
		return Ref{Machine, o.Machine.MAC.String()}
	case o.Group != nil:
		return Ref{Group, o.Group.ID}
	case o.Profile != nil:
		return Ref{Profile, o.Profile.ID}
	case o.Template != nil:
		return TemplateRef(o.Template.Kind, o.Template.Name)
	case o.Reservation != nil:
		return Ref{Reservation, o.Reservation.Address.String()}
	}
	return Ref{}
}

// Validate returns everything that is wrong with the object by itself, joined; each error starts with the field's name.
func (o *Object) Validate() error {
	switch {
	case o.Machine != nil:
		return o.Machine.Validate()
	case o.Group != nil:
		return o.Group.Validate()
	case o.Profile != nil:
		return o.Profile.Validate()
	case o.Template != nil:
		return o.Template.Validate()
	case o.Reservation != nil:
		return o.Reservation.Validate()
	}
	return errors.New("object: there is none")
}

// Meta is what the server knows of an object.
type Meta struct {
	Revision  store.Revision // that wrote it last; 0 if it is in no store
	Owner     string         // the file that owns it; empty if the API does
	UpdatedBy string         // who wrote it last by the API
	UpdatedAt time.Time      // when that was; zero if it was not the API
}

// Item is an object that is there. It never changes.
type Item struct {
	Object
	Meta
}

// LeftOut is the error of a record that is there but cannot be served. The object's place is taken, so that it can only be replaced or deleted.
type LeftOut struct {
	Ref  Ref
	Meta Meta
	Err  error
}

// Error names the record.
func (l *LeftOut) Error() string {
	if l.Meta.Revision == 0 {
		return fmt.Sprintf("%s is left out: %v", l.Ref.Key(), l.Err)
	}
	return fmt.Sprintf("record %s of revision %d is left out: %v", l.Ref.Key(), l.Meta.Revision, l.Err)
}

// Unwrap returns what is wrong with it.
func (l *LeftOut) Unwrap() error { return l.Err }
