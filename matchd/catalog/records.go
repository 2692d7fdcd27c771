package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// Owned is an object with the file of the site that it came from. An object without a file was put by the API.
type Owned[T any] struct {
	Value T
	File  string // relative to the site's directory, with forward slashes
}

// Objects is everything that a site says.
type Objects struct {
	Groups    []Owned[groups.Group]
	Profiles  []Owned[profiles.Profile]
	Templates []Owned[profiles.Template]
}

// encode returns the records of all objects by key.
func (o *Objects) encode() (map[string][]byte, error) {
	records := make(map[string][]byte, len(o.Groups)+len(o.Profiles)+len(o.Templates))
	add := func(object Object, file string) error {
		key := object.Ref().Key()
		if _, twice := records[key]; twice {
			return fault.New(fault.Invalid, "%s is there twice", key)
		}
		value, err := Encode(&object, Meta{Owner: file})
		records[key] = value
		return err
	}
	for i := range o.Groups {
		if err := add(Object{Group: &o.Groups[i].Value}, o.Groups[i].File); err != nil {
			return nil, err
		}
	}
	for i := range o.Profiles {
		if err := add(Object{Profile: &o.Profiles[i].Value}, o.Profiles[i].File); err != nil {
			return nil, err
		}
	}
	for i := range o.Templates {
		if err := add(Object{Template: &o.Templates[i].Value}, o.Templates[i].File); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// ReplaceSite makes the store hold what the site says and nothing else of the site, in one commit: what is new or differs is written,
// what a site owned and no longer has is deleted, what the API put stays unless the site has an object of that name. It returns the
// revision at which the site is in the store and the number of objects changed; with none changed no commit is made, except that an
// empty site in an empty store makes the first revision.
//
// A commit of somebody else in between is an error of kind Conflict; calling again is safe.
func ReplaceSite(ctx context.Context, s store.Store, site Objects) (store.Revision, int, error) {
	wanted, err := site.encode()
	if err != nil {
		return 0, 0, err
	}
	existing, revision, err := s.List(ctx, "")
	if err != nil {
		return 0, 0, fmt.Errorf("reading what is there: %w", err)
	}
	var ops []store.Op
	for _, record := range existing {
		if _, isObject := ParseKey(record.Key); !isObject {
			continue
		}
		value, stays := wanted[record.Key]
		delete(wanted, record.Key)
		switch {
		case stays && !sameContent(value, record):
			ops = append(ops, store.Op{Key: record.Key, Value: value, If: store.At(record.Revision)})
		case !stays && siteFile(record.Value) != "":
			ops = append(ops, store.Op{Key: record.Key, Delete: true, If: store.At(record.Revision)})
		}
	}
	for key, value := range wanted {
		ops = append(ops, store.Op{Key: key, Value: value, If: store.Absent()})
	}
	changed := len(ops)
	if changed == 0 {
		if revision > 0 {
			return revision, 0, nil
		}
		ops = append(ops, store.Op{Key: acceptedKey, Value: []byte(`{"site":"empty"}`)})
	}
	sort.Slice(ops, func(i, j int) bool { return ops[i].Key < ops[j].Key })
	revision, err = s.Apply(ctx, ops...)
	if err != nil {
		return 0, 0, fmt.Errorf("applying the site: %w", err)
	}
	return revision, changed, nil
}

// acceptedKey marks that something was accepted, though it holds no objects: an empty site is an answer, no site is none.
const acceptedKey = "meta/accepted"

// sameContent reports whether a record says the same as value, whoever wrote it last and when.
func sameContent(value []byte, record store.Record) bool {
	if bytes.Equal(value, record.Value) {
		return true
	}
	if !bytes.Contains(record.Value, []byte(`"updated_`)) {
		return false
	}
	item, meta, err := decode(record)
	if err != nil {
		return false
	}
	written, err := Encode(&item.Object, Meta{Owner: meta.Owner})
	return err == nil && bytes.Equal(value, written)
}

// siteFile returns the file of the site that owns a record; empty if the API does.
func siteFile(value []byte) string {
	var owner stamp
	if json.Unmarshal(value, &owner) != nil {
		return ""
	}
	return owner.File
}
