package boot

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

// sequence is a catalog whose groups a test changes.
type sequence struct{ snapshot *catalog.Snapshot }

func (s *sequence) Current() *catalog.Snapshot { return s.snapshot }

func (s *sequence) set(list ...groups.Group) {
	objects := catalog.Objects{Profiles: []catalog.Owned[profiles.Profile]{
		{Value: profiles.Profile{ID: "node", Boot: profiles.Boot{Kernel: "/k"}}}, {Value: profiles.Profile{ID: "installer", Boot: profiles.Boot{Kernel: "/i"}}},
	}}
	for _, group := range list {
		objects.Groups = append(objects.Groups, catalog.Owned[groups.Group]{Value: group})
	}
	s.snapshot = catalog.NewSnapshot(objects, catalog.Options{})
}

// TestReplacement plays what Terraform does to change a group: delete, then put.
func TestReplacement(t *testing.T) {
	node := groups.Group{ID: "node1", Profile: "node", Selector: groups.Selector{"mac": "52-54-00-00-00-01"}}
	other := groups.Group{ID: "node2", Profile: "node", Selector: groups.Selector{"mac": stranger.String()}}
	broad := groups.Group{ID: "default", Profile: "installer"}
	renamed := node
	renamed.ID = "anew"
	synctest.Test(t, func(t *testing.T) {
		var s sequence
		gone := NewReplacements()
		p := NewPlanner(Options{Catalog: &s, Machines: machine.NewRegistry(0), Loaders: allLoaders(), Replaced: gone, Matchbox: true, Unmatched: UnmatchedIgnore})
		want := func(when string, mac machine.MAC, group string, kind fault.Kind) {
			t.Helper()
			plan, err := p.Plan(t.Context(), Ask{Labels: groups.Labels{"mac": mac.String()}})
			switch {
			case group != "" && (err != nil || plan.Group.ID != group):
				t.Errorf("%s: %v, %v, want group %q", when, plan, err, group)
			case group == "" && !fault.Is(err, kind):
				t.Errorf("%s: %v, %v, want an error of kind %v", when, plan, err, kind)
			}
			_, err = p.Metadata(t.Context(), Ask{Labels: groups.Labels{"mac": mac.String()}})
			if group != "" && err != nil || group == "" && !fault.Is(err, kind) {
				t.Errorf("%s: /metadata: %v", when, err)
			}
		}
		s.set(node, other, broad)
		want("before", worker, "node1", 0)
		gone.Deleting(&node)
		want("before it is deleted", worker, "node1", 0)

		s.set(other, broad)
		want("while it is gone", worker, "", fault.Unavailable)
		want("while it is gone", stranger, "node2", 0)
		s.set(other)
		want("while it is gone, without another", worker, "", fault.Unavailable)
		if !p.possible(s.snapshot, groups.Labels{"mac": worker.String()}) {
			t.Error("its machine's firmware is told that nobody wants it")
		}
		if p.possible(s.snapshot, groups.Labels{"mac": diskOnly.String()}) {
			t.Error("a stranger is taken for wanted")
		}

		s.set(renamed, broad)
		want("with a successor of another name", worker, "anew", 0)
		s.set(node, other, broad)
		want("put again", worker, "node1", 0)
		s.set(other, broad)
		gone.Put(node.ID, s.snapshot.Revision+1)
		want("put again, answered from the revision before", worker, "", fault.Unavailable)
		s.snapshot.Revision++
		want("deleted otherwise", worker, "default", 0)

		gone.Deleting(&node)
		time.Sleep(ReplacementGrace - time.Nanosecond)
		s.set(other, broad)
		want("just before the end of grace", worker, "", fault.Unavailable)
		time.Sleep(time.Nanosecond)
		want("after grace", worker, "default", 0)
		s.set(other)
		want("after grace, without another", worker, "", fault.NotFound)
	})
}

func TestReplacementsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReplacements()
		for i := range maxReplaced + 5 {
			r.Deleting(&groups.Group{ID: fmt.Sprint(i)})
			if i < 10 {
				time.Sleep(time.Millisecond)
			}
		}
		if _, oldest := r.byID["0"]; len(r.byID) != maxReplaced || oldest {
			t.Errorf("%d remembered, the oldest among them: %v", len(r.byID), oldest)
		}
		time.Sleep(ReplacementGrace)
		r.Deleting(&groups.Group{ID: "new"})
		r.Deleting(&groups.Group{ID: "dead", Selector: groups.Selector{"mac": "no"}})
		if len(r.byID) != 1 {
			t.Errorf("%d remembered after their time", len(r.byID))
		}
	})
}
