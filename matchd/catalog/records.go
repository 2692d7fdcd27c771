package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// Prefixes of the keys in the config store. A template's key is "template/KIND/NAME".
const (
	groupPrefix    = "group/"
	profilePrefix  = "profile/"
	templatePrefix = "template/"
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

type groupRecord struct {
	groups.Group
	File string `json:"site_file,omitempty"`
}

type profileRecord struct {
	profiles.Profile
	File string `json:"site_file,omitempty"`
}

// templateRecord keeps the content as text, so that a backup can be read; only what is not UTF-8 is kept as Base64.
type templateRecord struct {
	Kind   profiles.Kind `json:"kind"`
	Name   string        `json:"name"`
	Text   string        `json:"text,omitempty"`
	Binary []byte        `json:"binary,omitempty"`
	File   string        `json:"site_file,omitempty"`
}

func (r *templateRecord) template() profiles.Template {
	content := r.Binary
	if content == nil {
		content = []byte(r.Text)
	}
	return profiles.Template{Kind: r.Kind, Name: r.Name, Content: content}
}

func templateKey(kind profiles.Kind, name string) string {
	return templatePrefix + string(kind) + "/" + name
}

// encode returns the records of all objects by key.
func (o *Objects) encode() (map[string][]byte, error) {
	records := map[string][]byte{}
	add := func(key string, record any) error {
		value, err := json.Marshal(record)
		if err != nil {
			return fault.New(fault.Invalid, "encoding %s: %w", key, err)
		}
		if _, twice := records[key]; twice {
			return fault.New(fault.Invalid, "%s is there twice", key)
		}
		records[key] = value
		return nil
	}
	for _, g := range o.Groups {
		if err := add(groupPrefix+g.Value.ID, groupRecord{g.Value, g.File}); err != nil {
			return nil, err
		}
	}
	for _, p := range o.Profiles {
		if err := add(profilePrefix+p.Value.ID, profileRecord{p.Value, p.File}); err != nil {
			return nil, err
		}
	}
	for _, t := range o.Templates {
		record := templateRecord{Kind: t.Value.Kind, Name: t.Value.Name, File: t.File}
		if utf8.Valid(t.Value.Content) {
			record.Text = string(t.Value.Content)
		} else {
			record.Binary = t.Value.Content
		}
		if err := add(templateKey(record.Kind, record.Name), record); err != nil {
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
		if !isObject(record.Key) {
			continue
		}
		value, stays := wanted[record.Key]
		delete(wanted, record.Key)
		switch {
		case stays && !bytes.Equal(value, record.Value):
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

func isObject(key string) bool {
	return strings.HasPrefix(key, groupPrefix) || strings.HasPrefix(key, profilePrefix) || strings.HasPrefix(key, templatePrefix)
}

func siteFile(value []byte) string {
	var owner struct {
		File string `json:"site_file"`
	}
	if json.Unmarshal(value, &owner) != nil {
		return ""
	}
	return owner.File
}
