package groups_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/matchd/matchd/groups"
)

// TestWithEqualsBuild changes an index in many small steps; at any time it answers as one that is built of the same groups.
func TestWithEqualsBuild(t *testing.T) {
	w := world{rand.New(rand.NewPCG(3, 4))}
	for range 40 {
		byID := map[string]groups.Group{}
		index := groups.Build(nil)
		for range 120 {
			var put []*groups.Group
			var deleted []string
			for range w.IntN(4) {
				g := groups.Group{ID: fmt.Sprint("g", w.IntN(40)), Profile: "p", Selector: w.pairs(w.IntN(4)), Priority: w.IntN(3) - 1}
				if slices.ContainsFunc(put, func(other *groups.Group) bool { return other.ID == g.ID }) {
					continue
				}
				put = append(put, &g)
				byID[g.ID] = g
			}
			for range w.IntN(2) {
				id := fmt.Sprint("g", w.IntN(40))
				if slices.ContainsFunc(put, func(other *groups.Group) bool { return other.ID == id }) {
					continue
				}
				deleted = append(deleted, id)
				delete(byID, id)
			}
			index = index.With(put, deleted)
			var list []groups.Group
			for _, g := range byID {
				list = append(list, g)
			}
			compareIndexes(t, w, index, groups.Build(list))
			if t.Failed() {
				return
			}
		}
	}
}

func compareIndexes(t *testing.T, w world, got, want *groups.Index) {
	t.Helper()
	if a, b := ids(got.All()), ids(want.All()); !slices.Equal(a, b) || got.Len() != want.Len() {
		t.Fatalf("All = %v (%d), want %v (%d)", a, got.Len(), b, want.Len())
	}
	a, b := ids(got.Invalid()), ids(want.Invalid())
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		t.Fatalf("Invalid = %v, want %v", a, b)
	}
	if a, b := fmt.Sprint(sets(got.Duplicates())), fmt.Sprint(sets(want.Duplicates())); a != b {
		t.Fatalf("Duplicates = %v, want %v", a, b)
	}
	for range 10 {
		labels := groups.Labels(w.pairs(w.IntN(5)))
		g1, ok1 := got.Match(labels)
		g2, ok2 := want.Match(labels)
		if ok1 != ok2 || ok1 && g1.ID != g2.ID {
			t.Fatalf("Match(%v) = %v %v, want %v %v", labels, g1, ok1, g2, ok2)
		}
		if got.Possible(labels) != want.Possible(labels) {
			t.Fatalf("Possible(%v) = %v, want %v", labels, got.Possible(labels), want.Possible(labels))
		}
		if a, b := got.Explain(labels).String(), want.Explain(labels).String(); a != b {
			t.Fatalf("Explain(%v) = %q, want %q", labels, a, b)
		}
		other := groups.Group{ID: "other", Selector: groups.Selector(labels)}
		if a, b := ids(got.Alike(&other)), ids(want.Alike(&other)); !slices.Equal(a, b) {
			t.Fatalf("Alike(%v) = %v, want %v", labels, a, b)
		}
	}
}

func sets(sets [][]*groups.Group) [][]string {
	var out [][]string
	for _, set := range sets {
		out = append(out, ids(set))
	}
	return out
}

func TestAlike(t *testing.T) {
	index := groups.Build([]groups.Group{
		{ID: "a", Selector: groups.Selector{"mac": "52-54-00-00-00-01"}}, {ID: "b", Selector: groups.Selector{"mac": "525400000001"}, Priority: 1},
		{ID: "c", Selector: groups.Selector{"mac": "52:54:00:00:00:02"}}, {ID: "d"},
	})
	if got := ids(index.Alike(&groups.Group{Selector: groups.Selector{"mac": "52:54:00:00:00:01"}})); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("got %v", got)
	}
	if got := index.Alike(&groups.Group{Selector: groups.Selector{"mac": "no"}}); got != nil {
		t.Errorf("got %v", ids(got))
	}
}

// BenchmarkWith is what one more group costs where there are many; the working in of many changes at once is in it.
func BenchmarkWith(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			index := groups.Build(rack(n))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				group := rack(1)[0]
				group.ID = fmt.Sprint("new", i)
				group.Selector = groups.Selector{"mac": fmt.Sprintf("52:54:01:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)}
				index = index.With([]*groups.Group{&group}, nil)
				i++
			}
		})
	}
}
