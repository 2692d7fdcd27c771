package boot

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

const (
	// ReplacementGrace is how long a group that matchbox's API deleted is taken for one that is about to be put again: Terraform replaces by
	// deleting first.
	ReplacementGrace = 30 * time.Second
	// maxReplaced is the number of groups that are remembered so; of more, the oldest go first.
	maxReplaced = 10_000
)

// Replacements remembers the groups that may be put again in a moment, so that their machines wait rather than boot what a broader group has
// for them. It is safe for concurrent use; a restart forgets it. Profiles and templates need no such memory: a group whose profile or template is
// missing has its machines wait for as long as it is.
type Replacements struct {
	mu   sync.Mutex
	byID map[string]replaced
}

// replaced is a group that was deleted, or is just being.
type replaced struct {
	group    *groups.Group
	selector groups.Selector // normalised
	at       time.Time
	back     store.Revision // from which on it is there again; 0: it is not yet
}

// NewReplacements returns an empty memory.
func NewReplacements() *Replacements { return &Replacements{byID: map[string]replaced{}} }

// Deleting is called before a group is deleted. What it says has an effect only while the group is not there, so it does no harm if the
// deletion then fails.
func (r *Replacements) Deleting(group *groups.Group) {
	selector, err := group.Selector.Normalized()
	if err != nil {
		return // it matched nothing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byID) >= maxReplaced {
		r.forgetLocked(time.Now())
	}
	r.byID[group.ID] = replaced{group: group, selector: selector, at: time.Now()}
}

// Put is called after a group was put, with a revision that has it: who deletes it from then on otherwise than by matchbox's API means it. A question that
// is being answered from an earlier revision still waits.
func (r *Replacements) Put(id string, revision store.Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gone, known := r.byID[id]; known {
		gone.back = revision
		r.byID[id] = gone
	}
}

// forgetLocked drops what is over and, should there still be too many, the oldest.
func (r *Replacements) forgetLocked(now time.Time) {
	oldest := ""
	for id, gone := range r.byID {
		if now.Sub(gone.at) >= ReplacementGrace {
			delete(r.byID, id)
			continue
		}
		if oldest == "" || gone.at.Before(r.byID[oldest].at) {
			oldest = id
		}
	}
	if len(r.byID) >= maxReplaced {
		delete(r.byID, oldest)
	}
}

// pending returns the groups that are gone from the snapshot, but may come back, as far as they are wanted.
func (r *Replacements) pending(snapshot *catalog.Snapshot, wanted func(replaced) bool) []replaced {
	if r == nil {
		return nil
	}
	now := time.Now()
	var found []replaced
	r.mu.Lock()
	for id, gone := range r.byID {
		switch {
		case now.Sub(gone.at) >= ReplacementGrace:
			delete(r.byID, id)
		case (gone.back == 0 || snapshot.Revision < gone.back) && wanted(gone):
			found = append(found, gone)
		}
	}
	r.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	there := map[string]bool{}
	for _, group := range snapshot.Groups.All() {
		there[group.ID] = true
	}
	return slices.DeleteFunc(found, func(gone replaced) bool { return there[gone.group.ID] })
}

// await returns an error of kind Unavailable if a machine with these labels would have another group but for a replacement that is under way.
// chosen is the group that it has now; nil: none.
func (r *Replacements) await(snapshot *catalog.Snapshot, labels groups.Labels, chosen *groups.Group) error {
	pending := r.pending(snapshot, func(gone replaced) bool {
		return gone.selector.Matches(labels) && (chosen == nil || gone.precedes(chosen))
	})
	if len(pending) == 0 {
		return nil
	}
	group := pending[0].group
	for _, other := range pending[1:] {
		group = slices.MinFunc([]*groups.Group{group, other.group}, func(a, b *groups.Group) int { return strings.Compare(a.ID, b.ID) })
	}
	return fault.New(fault.Unavailable, "group %q was deleted through matchbox's API and may be put again: its machines wait %v for that", group.ID, ReplacementGrace)
}

// precedes reports whether the group was asked before the other one, whatever their ids: one with the same selector is its successor.
func (g replaced) precedes(other *groups.Group) bool {
	selector, err := other.Selector.Normalized()
	if err != nil {
		return true
	}
	return cmp.Or(
		cmp.Compare(g.group.Priority, other.Priority),
		cmp.Compare(len(g.selector), len(selector)),
		strings.Compare(g.selector.String(), selector.String()),
	) > 0
}

// possible reports whether a group that may come back could match a machine of which only these labels are known.
func (r *Replacements) possible(snapshot *catalog.Snapshot, known groups.Labels) bool {
	return len(r.pending(snapshot, func(gone replaced) bool {
		return possible(groups.Build([]groups.Group{*gone.group}), known)
	})) > 0
}
