// Package inspect tells people what a machine would get, and why: the same answers as the machine itself gets, gathered, with the reasons. The
// daemon's API and the offline commands share it.
package inspect

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Options are what an [Inspector] asks. Catalog, Planner and Machines are required.
type Options struct {
	Catalog  boot.Catalog
	Planner  *boot.Planner
	Machines *machine.Registry
	// Named finds a machine by a hostname, or whatever else it is called; nil: nothing is known of names.
	Named func(name string) (machine.Machine, bool)
	// BaseURL returns how a machine reaches us; nil: by an address for documentation (RFC 5737).
	BaseURL func(machine.Machine) string
}

// Inspector answers questions about machines. It is safe for concurrent use.
type Inspector struct{ opt Options }

// New returns an inspector.
func New(opt Options) *Inspector {
	if opt.Named == nil {
		opt.Named = func(string) (machine.Machine, bool) { return machine.Machine{}, false }
	}
	if opt.BaseURL == nil {
		opt.BaseURL = func(machine.Machine) string { return "http://192.0.2.1:8080" }
	}
	return &Inspector{opt}
}

// Query says which machine is meant.
type Query struct {
	// Machine is a MAC address in any notation, a UUID, or a hostname; empty: the labels say it all.
	Machine string
	// Labels are what the machine's request would tell besides. What the server knows wins, as with a request.
	Labels map[string]string
}

// Subject is a machine whose request is pretended.
type Subject struct {
	Machine machine.Machine // as far as it is known
	Ask     boot.Ask
	Labels  groups.Labels // all that the machine is matched by
}

// Request is the question in the catalog's terms.
func (s *Subject) Request() catalog.Request {
	return catalog.Request{Labels: s.Ask.Labels, RawQuery: s.Ask.RawQuery, BaseURL: s.Ask.BaseURL, Machine: s.Labels}
}

// Find returns the machine that a name stands for, as far as it is known: a MAC address in any notation, which needs no machine; a UUID; a hostname.
func (i *Inspector) Find(name string) (machine.Machine, bool) {
	if mac, err := machine.ParseMAC(name); err == nil {
		if known, ok := i.opt.Machines.ByMAC(mac); ok {
			return known, true
		}
		if known, ok := i.opt.Named(mac.String()); ok { // heard of before a restart
			return known, true
		}
		return machine.Machine{MAC: mac}, true
	}
	if known, ok := i.opt.Machines.ByUUID(name); ok && name != "" {
		return known, true
	}
	named, ok := i.opt.Named(name)
	if known, found := i.opt.Machines.ByMAC(named.MAC); ok && found {
		return known, true
	}
	return named, ok
}

// Resolve turns a query into the request that the machine would make. A name that stands for nothing is NotFound, unless it is a UUID: of that a machine
// may be heard for the first time.
func (i *Inspector) Resolve(q Query) (*Subject, error) {
	values := url.Values{}
	for name, value := range q.Labels {
		if name == "" {
			return nil, fault.New(fault.Invalid, "a label has no name")
		}
		values.Set(name, value)
	}
	known, found := machine.Machine{}, false
	if q.Machine != "" {
		if known, found = i.Find(q.Machine); !found && !isUUID(q.Machine) {
			return nil, fault.New(fault.NotFound, "nothing is known of a machine %.80q: name it by its MAC address", q.Machine)
		}
		if !found {
			values.Set("uuid", q.Machine)
		}
	}
	if known.MAC == "" && values.Has("mac") {
		mac, err := machine.ParseMAC(values.Get("mac"))
		if err != nil {
			return nil, fault.Wrap(fault.Invalid, err)
		}
		known, _ = i.Find(mac.String())
	}
	if given, err := machine.ParseMAC(values.Get("mac")); values.Has("mac") && (err != nil || given != known.MAC) {
		return nil, fault.New(fault.Invalid, "the label mac=%.80q is not the address of the machine %.80q", values.Get("mac"), q.Machine)
	}
	if known.MAC != "" {
		values.Set("mac", known.MAC.Hyphens())
	}
	if _, remembered := i.opt.Machines.ByMAC(known.MAC); !remembered && known.UUID != "" && !values.Has("uuid") {
		values.Set("uuid", known.UUID) // it will tell it again
	}
	labels, _ := groups.LabelsFromQuery(values)
	s := &Subject{Machine: known}
	s.Ask = boot.Ask{Labels: labels, RawQuery: values.Encode(), BaseURL: strings.TrimSuffix(i.opt.BaseURL(known), "/")}
	s.Labels = i.opt.Planner.Labels(s.Ask)
	return s, nil
}

// isUUID reports whether a name has the text form of a UUID (RFC 9562 section 4).
func isUUID(name string) bool {
	const form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(name) != len(form) {
		return false
	}
	for i, c := range strings.ToLower(name) {
		if form[i] == '-' && c != '-' || form[i] == 'x' && !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}

// Snapshot returns what is served now. The error is of kind Unavailable while nothing is.
func (i *Inspector) Snapshot() (*catalog.Snapshot, error) {
	if snapshot := i.opt.Catalog.Current(); snapshot != nil {
		return snapshot, nil
	}
	return nil, fault.New(fault.Unavailable, "nothing is served yet: no site has been loaded and nothing was put")
}

// Explanation says which group a machine belongs to, and how the others fare.
type Explanation struct {
	Labels  groups.Labels `json:"labels"`
	Group   string        `json:"group,omitempty"` // empty: none matches
	Reason  string        `json:"reason"`
	Matches []Match       `json:"matches"`
	Nearest []Miss        `json:"nearest"`
}

// Match is a group that matches.
type Match struct {
	Group    string          `json:"group"`
	File     string          `json:"file,omitempty"`
	Profile  string          `json:"profile"`
	Priority int             `json:"priority"`
	Selector groups.Selector `json:"selector"`
}

// Miss is a group that does not match, with the first label that differs.
type Miss struct {
	Group   string `json:"group"`
	Profile string `json:"profile"`
	Label   string `json:"label"`
	Want    string `json:"want"`
	Got     string `json:"got"`
	Failing int    `json:"failing"`
	Pairs   int    `json:"pairs"`

	File     string          `json:"-"`
	Selector groups.Selector `json:"-"`
}

// Differences returns every pair of the selector that the labels do not have, by name.
func (m *Miss) Differences(labels groups.Labels) [][3]string {
	var pairs [][3]string
	for _, name := range slices.Sorted(maps.Keys(m.Selector)) {
		if want, got := m.Selector[name], labels[name]; want != got {
			pairs = append(pairs, [3]string{name, want, got})
		}
	}
	return pairs
}

// Explain looks at every group of a snapshot.
func Explain(snapshot *catalog.Snapshot, labels groups.Labels) Explanation {
	found := snapshot.Groups.Explain(labels)
	out := Explanation{Labels: labels, Reason: found.String(), Matches: []Match{}, Nearest: []Miss{}}
	if found.Chosen != nil {
		out.Group = found.Chosen.ID
	}
	for _, group := range found.Candidates {
		selector := group.Selector
		if selector == nil {
			selector = groups.Selector{}
		}
		out.Matches = append(out.Matches, Match{group.ID, snapshot.GroupFile(group), group.Profile, group.Priority, selector})
	}
	for _, miss := range found.Nearest {
		out.Nearest = append(out.Nearest, Miss{
			Group: miss.Group.ID, Profile: miss.Group.Profile, Label: miss.Key, Want: miss.Want, Got: miss.Got, Failing: miss.Failing, Pairs: miss.Pairs,
			File: snapshot.GroupFile(miss.Group), Selector: miss.Group.Selector,
		})
	}
	return out
}

// Profile returns the profile of the group that won.
func (e *Explanation) Profile() string {
	if len(e.Matches) == 0 {
		return ""
	}
	return e.Matches[0].Profile
}
