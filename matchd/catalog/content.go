package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// content is the decoded state of the store. It is the builder's own: a snapshot shares its objects, which never change, but not its maps.
type content struct {
	groups    map[string]groups.Group
	profiles  map[string]*profiles.Profile
	documents map[string]*render.Document // by key; compiled once, however many snapshots they live in
	files     map[string]string           // by key: the site's file that owns the record
	problems  map[string]error            // by key: why the record is left out
}

func newContent() *content {
	return &content{
		groups: map[string]groups.Group{}, profiles: map[string]*profiles.Profile{}, documents: map[string]*render.Document{},
		files: map[string]string{}, problems: map[string]error{},
	}
}

// put decodes one record. What cannot be decoded is left out alone; an older version of it is not served on, since nobody could see that.
func (c *content) put(record store.Record) {
	c.delete(record.Key)
	if !isObject(record.Key) {
		return
	}
	if file := siteFile(record.Value); file != "" {
		c.files[record.Key] = file
	}
	if err := c.decode(record); err != nil {
		c.problems[record.Key] = fmt.Errorf("record %s of revision %d is left out: %w", record.Key, record.Revision, err)
	}
}

func (c *content) decode(record store.Record) error {
	switch {
	case strings.HasPrefix(record.Key, groupPrefix):
		var r groupRecord
		if err := decodeInto(record, groupPrefix, &r, func() string { return r.ID }); err != nil {
			return err
		}
		if err := r.Validate(); err != nil {
			return err
		}
		c.groups[r.ID] = r.Group
	case strings.HasPrefix(record.Key, profilePrefix):
		var r profileRecord
		if err := decodeInto(record, profilePrefix, &r, func() string { return r.ID }); err != nil {
			return err
		}
		if err := r.Validate(); err != nil {
			return err
		}
		c.profiles[r.ID] = &r.Profile
	default:
		var r templateRecord
		if err := decodeInto(record, templatePrefix, &r, func() string { return string(r.Kind) + "/" + r.Name }); err != nil {
			return err
		}
		document, err := render.Compile(r.template())
		if err != nil {
			return err
		}
		c.documents[record.Key] = document
	}
	return nil
}

// decodeInto reads a record and holds it to its key: a record under another's name would answer for it.
func decodeInto(record store.Record, prefix string, into any, id func() string) error {
	if err := json.Unmarshal(record.Value, into); err != nil {
		return fault.Wrap(fault.Invalid, err)
	}
	if want := strings.TrimPrefix(record.Key, prefix); id() != want {
		return fault.New(fault.Invalid, "it names itself %q", id())
	}
	return nil
}

func (c *content) delete(key string) {
	delete(c.files, key)
	delete(c.problems, key)
	delete(c.documents, key)
	if id, ok := strings.CutPrefix(key, groupPrefix); ok {
		delete(c.groups, id)
	}
	if id, ok := strings.CutPrefix(key, profilePrefix); ok {
		delete(c.profiles, id)
	}
}

func (c *content) apply(commit store.Commit) {
	for _, change := range commit.Changes {
		if change.Deleted {
			c.delete(change.Key)
		} else {
			c.put(change.Record)
		}
	}
}

// snapshot copies the maps; their size is that of the site, and it happens once per revision.
func (c *content) snapshot(revision store.Revision) *Snapshot {
	list := make([]groups.Group, 0, len(c.groups))
	for _, id := range slices.Sorted(maps.Keys(c.groups)) {
		list = append(list, c.groups[id])
	}
	problems := make([]error, 0, len(c.problems))
	for _, key := range slices.Sorted(maps.Keys(c.problems)) {
		problems = append(problems, c.problems[key])
	}
	return &Snapshot{
		Revision: revision, Groups: groups.Build(list), Profiles: maps.Clone(c.profiles), Problems: problems,
		documents: maps.Clone(c.documents), files: maps.Clone(c.files), cache: newCache(),
	}
}
