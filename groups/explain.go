package groups

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxNearest is the number of groups that an [Explanation] names as nearly matching.
const MaxNearest = 5

// Explanation says why a machine belongs to its group, or to none.
type Explanation struct {
	Chosen     *Group   `json:"chosen,omitempty"`     // nil: no group matches
	Candidates []*Group `json:"candidates,omitempty"` // every group that matches, in order; the first is the chosen one
	Nearest    []Miss   `json:"nearest,omitempty"`    // at most MaxNearest groups that do not match, nearest first
}

// Miss is a group that does not match, with the first selector pair (by key) that fails.
type Miss struct {
	Group   *Group `json:"group"`
	Key     string `json:"key"`
	Want    string `json:"want"`
	Got     string `json:"got"`     // "" also where the machine does not have the label
	Failing int    `json:"failing"` // pairs that fail
	Pairs   int    `json:"pairs"`   // pairs in all
}

// String returns the miss as one clause of a sentence.
func (m Miss) String() string {
	got := fmt.Sprintf("%q", m.Got)
	if m.Got == "" {
		got = "none"
	}
	text := fmt.Sprintf("group %q wants %s %q, got %s", m.Group.ID, m.Key, m.Want, got)
	switch more := m.Failing - 1; {
	case more == 1:
		text += " (1 more pair differs)"
	case more > 1:
		text += fmt.Sprintf(" (%d more pairs differ)", more)
	}
	return text
}

// String answers in one sentence.
func (e Explanation) String() string {
	switch {
	case e.Chosen != nil && len(e.Candidates) > 1:
		return fmt.Sprintf("group %q matches, before %q", e.Chosen.ID, e.Candidates[1].ID)
	case e.Chosen != nil:
		return fmt.Sprintf("group %q matches", e.Chosen.ID)
	case len(e.Nearest) > 0:
		return "no group matches; nearest: " + e.Nearest[0].String()
	}
	return "no group matches; there are no groups"
}

// identifying labels single out one machine: a group that agrees on one of them was most likely meant for it.
var identifying = [...]string{"mac", "uuid", "serial", "hostname"}

// nearness ranks a miss.
type nearness struct {
	Miss
	identified bool
	likeness   int // how alike want and got are
	position   int
}

// Explain tells which groups match these labels and which nearly do. It looks at every group: unlike [Index.Match] it is
// meant for people and for the one event that tells of a machine without a group.
func (x *Index) Explain(labels Labels) Explanation {
	var explanation Explanation
	var near []nearness
	position := 0
	for e := range x.inOrder() {
		position++
		miss, matches := e.compare(labels)
		if matches {
			explanation.Candidates = append(explanation.Candidates, e.group)
			continue
		}
		miss.position = position
		near = keepNearest(near, miss)
	}
	if len(explanation.Candidates) > 0 {
		explanation.Chosen = explanation.Candidates[0]
	}
	for _, n := range near {
		explanation.Nearest = append(explanation.Nearest, n.Miss)
	}
	return explanation
}

func (e *entry) compare(labels Labels) (near nearness, matches bool) {
	near.Group, near.Pairs = e.group, len(e.selector)
	for key, want := range e.selector {
		got := labels[key]
		if got == want {
			near.identified = near.identified || slices.Contains(identifying[:], key)
			continue
		}
		near.Failing++
		if near.Failing == 1 || key < near.Key {
			near.Key, near.Want, near.Got = key, want, got
		}
	}
	near.likeness = likeness(near.Want, near.Got)
	return near, near.Failing == 0
}

// keepNearest inserts miss into near, which is sorted and at most MaxNearest long.
func keepNearest(near []nearness, miss nearness) []nearness {
	at, _ := slices.BinarySearchFunc(near, miss, compareNearness)
	if at == MaxNearest {
		return near
	}
	near = slices.Insert(near, at, miss)
	return near[:min(len(near), MaxNearest)]
}

func compareNearness(a, b nearness) int {
	if a.identified != b.identified {
		if a.identified {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.Failing, b.Failing),
		cmp.Compare(b.Pairs-b.Failing, a.Pairs-a.Failing),
		cmp.Compare(b.likeness, a.likeness),
		cmp.Compare(a.position, b.position),
	)
}

// likeness counts the bytes that two values share at both ends: a mistyped or neighbouring MAC address comes before a foreign
// one. Values that differ in case only are the most alike, since that is the commonest mistake with UUIDs.
func likeness(a, b string) int {
	if strings.EqualFold(a, b) {
		return len(a) + 1
	}
	n := min(len(a), len(b))
	head := 0
	for head < n && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < n-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	return head + tail
}
