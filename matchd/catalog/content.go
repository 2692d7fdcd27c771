package catalog

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// stamp is the part of every record that is about the record.
type stamp struct {
	File string     `json:"site_file,omitempty"`
	By   string     `json:"updated_by,omitempty"`
	At   *time.Time `json:"updated_at,omitempty"`
}

func (s stamp) meta(revision store.Revision) Meta {
	m := Meta{Revision: revision, Owner: s.File, UpdatedBy: s.By}
	if s.At != nil {
		m.UpdatedAt = *s.At
	}
	return m
}

func (m Meta) stamp() stamp {
	s := stamp{File: m.Owner, By: m.UpdatedBy}
	if !m.UpdatedAt.IsZero() {
		at := m.UpdatedAt.UTC().Truncate(time.Millisecond)
		s.At = &at
	}
	return s
}

type machineRecord struct {
	machine.Settings
	stamp
}

type groupRecord struct {
	groups.Group
	stamp
}

type profileRecord struct {
	profiles.Profile
	stamp
}

// templateRecord keeps the content as text, so that a backup can be read; only what is not UTF-8 is kept as Base64.
type templateRecord struct {
	Kind   profiles.Kind `json:"kind"`
	Name   string        `json:"name"`
	Text   string        `json:"text,omitempty"`
	Binary []byte        `json:"binary,omitempty"`
	stamp
}

func (r *templateRecord) template() *profiles.Template {
	content := r.Binary
	if content == nil {
		content = []byte(r.Text)
	}
	return &profiles.Template{Kind: r.Kind, Name: r.Name, Content: content}
}

type reservationRecord struct {
	Address   netip.Addr  `json:"address"`
	MAC       machine.MAC `json:"mac,omitempty"`
	ClientID  string      `json:"client_id,omitempty"`
	CircuitID string      `json:"circuit_id,omitempty"`
	Hostname  string      `json:"hostname,omitempty"`
	stamp
}

// Encode returns the record of an object, whose revision it does not hold. An object that JSON cannot express is Invalid.
func Encode(o *Object, meta Meta) ([]byte, error) {
	var record any
	switch stamp := meta.stamp(); {
	case o.Machine != nil:
		record = machineRecord{*o.Machine, stamp}
	case o.Group != nil:
		record = groupRecord{*o.Group, stamp}
	case o.Profile != nil:
		record = profileRecord{*o.Profile, stamp}
	case o.Template != nil:
		r := templateRecord{Kind: o.Template.Kind, Name: o.Template.Name, stamp: stamp}
		if utf8.Valid(o.Template.Content) {
			r.Text = string(o.Template.Content)
		} else {
			r.Binary = o.Template.Content
		}
		record = r
	case o.Reservation != nil:
		r := o.Reservation
		record = reservationRecord{r.Address, r.MAC, lease.FormatClientID(r.ClientID), lease.FormatCircuitID(r.CircuitID), r.Hostname, stamp}
	default:
		return nil, fault.New(fault.Invalid, "there is no object")
	}
	value, err := json.Marshal(record)
	if err != nil {
		return nil, fault.New(fault.Invalid, "encoding %s: %w", o.Ref(), err)
	}
	return value, nil
}

// decode reads a record as it is, without judging the object. The meta is as much as could be read where the rest cannot.
func decode(record store.Record) (*Item, Meta, error) {
	ref, _ := ParseKey(record.Key)
	item := &Item{}
	var into any
	var s *stamp
	var finish func() error
	switch ref.Kind {
	case Machine:
		r := &machineRecord{}
		into, s, item.Machine = r, &r.stamp, &r.Settings
	case Group:
		r := &groupRecord{}
		into, s, item.Group = r, &r.stamp, &r.Group
	case Profile:
		r := &profileRecord{}
		into, s, item.Profile = r, &r.stamp, &r.Profile
	case Template:
		r := &templateRecord{}
		into, s, finish = r, &r.stamp, func() error { item.Template = r.template(); return nil }
	default:
		r := &reservationRecord{}
		into, s, finish = r, &r.stamp, func() (err error) { item.Reservation, err = r.reservation(); return err }
	}
	err := json.Unmarshal(record.Value, into)
	item.Meta = s.meta(record.Revision)
	if err != nil {
		return nil, item.Meta, fault.Wrap(fault.Invalid, err)
	}
	if finish != nil {
		if err := finish(); err != nil {
			return nil, item.Meta, fault.Wrap(fault.Invalid, err)
		}
	}
	// A record under another's name would answer for it.
	if name := item.Ref(); name != ref {
		return nil, item.Meta, fault.New(fault.Invalid, "it names itself %q", name.ID)
	}
	return item, item.Meta, nil
}

func (r *reservationRecord) reservation() (*lease.Reservation, error) {
	clientID, err1 := lease.ParseClientID(r.ClientID)
	circuitID, err2 := lease.ParseCircuitID(r.CircuitID)
	out := &lease.Reservation{Address: r.Address, MAC: r.MAC, Hostname: r.Hostname}
	if len(clientID) > 0 {
		out.ClientID = clientID
	}
	if len(circuitID) > 0 {
		out.CircuitID = circuitID
	}
	return out, errors.Join(err1, err2)
}

// Decode reads one record of the config store. It is Invalid if it is no object or cannot be read; rules that an object must keep are not looked at.
func Decode(record store.Record) (*Item, error) {
	if _, isObject := ParseKey(record.Key); !isObject {
		return nil, fault.New(fault.Invalid, "record %q is no object", record.Key)
	}
	item, _, err := decode(record)
	return item, err
}

// delta is what makes the next snapshot of one: new items, nil for what is deleted, and what is there but left out.
type delta struct {
	lenient bool           // waives what only a person would object to
	fixed   map[Ref]string // objects of the configuration file, by name, with the file; no record replaces them

	items     map[Kind]map[string]*Item
	documents map[string]*render.Document // by key, of the templates among the items
	leftOut   map[Ref]*LeftOut            // nil: no longer
}

func newDelta(lenient bool, fixed map[Ref]string) *delta {
	return &delta{lenient: lenient, fixed: fixed, items: map[Kind]map[string]*Item{}, documents: map[string]*render.Document{}, leftOut: map[Ref]*LeftOut{}}
}

// refs returns what the delta touches, in order.
func (d *delta) refs() []Ref {
	var refs []Ref
	for _, kind := range Kinds() {
		for _, id := range slices.Sorted(maps.Keys(d.items[kind])) {
			refs = append(refs, Ref{kind, id})
		}
	}
	return refs
}

func (d *delta) set(ref Ref, item *Item) {
	if d.items[ref.Kind] == nil {
		d.items[ref.Kind] = map[string]*Item{}
	}
	d.items[ref.Kind][ref.ID] = item
	d.leftOut[ref] = nil
	delete(d.documents, ref.Key())
}

// record takes a record of the store. What cannot be decoded is left out alone; an older version of it is not served on, since nobody could see that.
func (d *delta) record(record store.Record) {
	ref, isObject := ParseKey(record.Key)
	if !isObject {
		return
	}
	item, meta, err := decode(record)
	switch owner, fixed := d.fixed[ref]; {
	case fixed:
		d.leftOut[ref] = &LeftOut{ref, meta, fault.New(fault.Conflict, "%s says something of it, too, and wins", owner)}
	case err != nil:
		d.set(ref, nil)
		d.leftOut[ref] = &LeftOut{ref, meta, err}
	default:
		d.put(item)
	}
}

// put takes an object, or leaves it out if it cannot be served.
func (d *delta) put(item *Item) {
	ref := item.Ref()
	var err error
	if !d.lenient {
		err = item.Validate()
	}
	var document *render.Document
	if err == nil && item.Template != nil {
		compile := render.Compile
		if d.lenient {
			compile = render.CompileLenient
		}
		document, err = compile(*item.Template)
	}
	if err != nil {
		d.set(ref, nil)
		d.leftOut[ref] = &LeftOut{ref, item.Meta, fault.Wrap(fault.Invalid, err)}
		return
	}
	d.set(ref, item)
	if document != nil {
		d.documents[ref.Key()] = document
	}
}

func (d *delta) commit(commit store.Commit) {
	for _, change := range commit.Changes {
		ref, isObject := ParseKey(change.Key)
		_, fixed := d.fixed[ref]
		switch {
		case !isObject:
		case change.Deleted && fixed:
			d.leftOut[ref] = nil
		case change.Deleted:
			d.set(ref, nil)
		default:
			d.record(change.Record)
		}
	}
}

// next returns the snapshot with the changes made. What no change touches is shared, caches too as long as profiles and documents are the same.
func (s *Snapshot) next(d *delta, revision store.Revision) *Snapshot {
	n := *s
	n.Revision = revision
	n.items = maps.Clone(s.items)
	for kind, changes := range d.items {
		n.items[kind] = s.items[kind].with(changes)
	}
	n.setGroups(d.items[Group])
	if changes := d.items[Profile]; len(changes) > 0 {
		n.Profiles = maps.Clone(s.Profiles)
		for id, item := range changes {
			delete(n.Profiles, id)
			if item != nil {
				n.Profiles[id] = item.Profile
			}
		}
	}
	if changes := d.items[Template]; len(changes) > 0 {
		n.documents = maps.Clone(s.documents)
		for id := range changes {
			key := Ref{Template, id}.Key()
			delete(n.documents, key)
			if document := d.documents[key]; document != nil {
				n.documents[key] = document
			}
		}
	}
	if len(d.items[Profile])+len(d.items[Template]) > 0 {
		n.cache = newCache()
	}
	n.setLeftOut(d.leftOut)
	return &n
}

func (s *Snapshot) setGroups(changes map[string]*Item) {
	if len(changes) == 0 {
		return
	}
	var put []*groups.Group
	var deleted []string
	for id, item := range changes {
		if item == nil {
			deleted = append(deleted, id)
		} else {
			put = append(put, item.Group)
		}
	}
	s.Groups = s.Groups.With(put, deleted)
}

func (s *Snapshot) setLeftOut(changes map[Ref]*LeftOut) {
	any := false
	for ref, out := range changes {
		any = any || out != nil || s.leftOut[ref] != nil
	}
	if !any {
		return
	}
	s.leftOut = maps.Clone(s.leftOut)
	for ref, out := range changes {
		delete(s.leftOut, ref)
		if out != nil {
			s.leftOut[ref] = out
		}
	}
	s.Problems = make([]error, 0, len(s.leftOut))
	for _, ref := range slices.SortedFunc(maps.Keys(s.leftOut), func(a, b Ref) int { return strings.Compare(a.Key(), b.Key()) }) {
		s.Problems = append(s.Problems, s.leftOut[ref])
	}
}

// empty returns the snapshot of nothing.
func empty() *Snapshot {
	s := &Snapshot{
		Groups: groups.Build(nil), Profiles: map[string]*profiles.Profile{}, items: map[Kind]items{},
		documents: map[string]*render.Document{}, leftOut: map[Ref]*LeftOut{}, cache: newCache(),
	}
	for _, kind := range Kinds() {
		s.items[kind] = newItems(nil)
	}
	return s
}
