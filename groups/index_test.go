package groups_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
)

// scan is the oracle: matchbox's linear scan with our order, written without the index.
func scan(list []groups.Group, labels groups.Labels) []string {
	var matching []groups.Group
	for _, g := range list {
		normal, err := g.Selector.Normalized()
		if err != nil || !normal.Matches(labels) {
			continue
		}
		g.Selector = normal
		matching = append(matching, g)
	}
	before := func(a, b groups.Group) bool {
		switch {
		case a.Priority != b.Priority:
			return a.Priority > b.Priority
		case len(a.Selector) != len(b.Selector):
			return len(a.Selector) > len(b.Selector)
		case a.Selector.String() != b.Selector.String():
			return a.Selector.String() > b.Selector.String()
		}
		return a.ID < b.ID
	}
	for i := range matching { // insertion sort: nothing shared with the index
		for j := i; j > 0 && before(matching[j], matching[j-1]); j-- {
			matching[j], matching[j-1] = matching[j-1], matching[j]
		}
	}
	ids := []string{}
	for _, g := range matching {
		ids = append(ids, g.ID)
	}
	return ids
}

// world makes small random sites in which matches, ties, empty values and absent labels are all frequent.
type world struct{ *rand.Rand }

var (
	worldKeys   = []string{"mac", "MAC", "os", "a", "a=b", "", "rack,row"}
	worldValues = []string{"", "x", "y", "x,os=y", "52-54-00-AA-00-01", "5254.00aa.0001", "52:54:00:aa:00:01", "b=x", "\x01x"}
)

func (w world) pairs(n int) map[string]string {
	m := map[string]string{}
	for range n {
		m[worldKeys[w.IntN(len(worldKeys))]] = worldValues[w.IntN(len(worldValues))]
	}
	return m
}

func (w world) groups() []groups.Group {
	list := make([]groups.Group, w.IntN(12))
	for i := range list {
		list[i] = groups.Group{ID: fmt.Sprint("g", w.IntN(1000)), Profile: "p", Selector: w.pairs(w.IntN(4)), Priority: w.IntN(3) - 1}
	}
	return list
}

func ids(list []*groups.Group) []string {
	out := []string{}
	for _, g := range list {
		out = append(out, g.ID)
	}
	return out
}

func TestMatchEqualsLinearScan(t *testing.T) {
	w := world{rand.New(rand.NewPCG(1, 2))}
	matched := 0
	for round := range 4000 {
		list := w.groups()
		index := groups.Build(list)
		for range 5 {
			labels := groups.Labels(w.pairs(w.IntN(6)))
			want := scan(list, labels)
			got, ok := index.Match(labels)
			if ok != (len(want) > 0) || ok && got.ID != want[0] {
				t.Fatalf("round %d: Match(%q) = %v, %v; the scan finds %q\ngroups: %+v", round, labels, got, ok, want, list)
			}
			explained := index.Explain(labels)
			if all := ids(explained.Candidates); !slices.Equal(all, want) {
				t.Fatalf("round %d: Explain(%q) = %q; the scan finds %q", round, labels, all, want)
			}
			if ok && explained.Chosen != got {
				t.Fatalf("round %d: Explain chose %v, Match %v", round, explained.Chosen, got)
			}
			if ok {
				matched++
			}
		}
	}
	if matched < 5000 {
		t.Errorf("only %d of 20000 questions had an answer: the test proves little", matched)
	}
}

// TestPossible compares with the definition: some group agrees with every known label that it selects by.
func TestPossible(t *testing.T) {
	w := world{rand.New(rand.NewPCG(3, 4))}
	for range 4000 {
		list := w.groups()
		index := groups.Build(list)
		for range 5 {
			known := groups.Labels(w.pairs(w.IntN(5)))
			want := slices.ContainsFunc(list, func(g groups.Group) bool {
				normal, err := g.Selector.Normalized()
				if err != nil {
					return false
				}
				for key, value := range normal {
					if got, told := known[key]; told && got != value {
						return false
					}
				}
				return true
			})
			if got := index.Possible(known); got != want {
				t.Fatalf("Possible(%q) = %v, want %v\ngroups: %+v", known, got, want, list)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	list := []groups.Group{
		{ID: "default"},
		{ID: "os", Selector: groups.Selector{"os": "installed"}},
		{ID: "ax", Selector: groups.Selector{"a": "x", "t": "1"}},
		{ID: "bx", Selector: groups.Selector{"b": "x", "t": "1"}},
		{ID: "twin-b", Selector: groups.Selector{"z": "1"}},
		{ID: "twin-a", Selector: groups.Selector{"z": "1"}},
		{ID: "rescue", Selector: groups.Selector{"rescue": "yes"}, Priority: 10},
		{ID: "absent", Selector: groups.Selector{"zone": ""}},
		{ID: "last", Priority: -1, Selector: groups.Selector{"one": "1", "two": "2", "three": "3"}},
	}
	tests := []struct {
		name   string
		labels groups.Labels
		want   string
	}{
		{"an absent label equals the empty one", groups.Labels{}, "absent"},
		{"the empty selector takes the rest", groups.Labels{"zone": "1"}, "default"},
		{"more pairs first", groups.Labels{"os": "installed", "a": "x", "t": "1"}, "ax"},
		{"then the greater text (measured with matchbox)", groups.Labels{"a": "x", "b": "x", "t": "1"}, "bx"},
		{"then the lower id", groups.Labels{"z": "1", "zone": "1"}, "twin-a"},
		{"priority before everything", groups.Labels{"a": "x", "t": "1", "rescue": "yes"}, "rescue"},
		{"negative priority after the default", groups.Labels{"one": "1", "two": "2", "three": "3", "zone": "1"}, "default"},
	}
	index := groups.Build(list)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := index.Match(tt.labels)
			if !ok || got.ID != tt.want {
				t.Errorf("Match(%q) = %v, %v, want %s", tt.labels, got, ok, tt.want)
			}
		})
	}
	if got, want := strings.Join(ids(index.All()), " "), "rescue bx ax absent twin-a twin-b os default last"; got != want {
		t.Errorf("All() = %s, want %s", got, want)
	}
}

func TestSelectorStaysAsPut(t *testing.T) {
	index := groups.Build([]groups.Group{{ID: "g", Selector: groups.Selector{"Mac": "52-54-00-B2-2F-86"}}})
	g, ok := index.Match(groups.Labels{"Mac": "52:54:00:b2:2f:86"})
	if !ok || g.Selector["Mac"] != "52-54-00-B2-2F-86" {
		t.Errorf("got %v, %v; want the group with its selector untouched", g, ok)
	}
}

func TestInvalidSelectorMatchesNothing(t *testing.T) {
	index := groups.Build([]groups.Group{{ID: "bad", Selector: groups.Selector{"mac": "zz"}}, {ID: "good", Selector: groups.Selector{"os": "x"}}})
	if g, ok := index.Match(groups.Labels{"mac": "zz"}); ok {
		t.Errorf("Match found %v", g)
	}
	if got := ids(index.Invalid()); !slices.Equal(got, []string{"bad"}) || index.Len() != 1 {
		t.Errorf("Invalid() = %v, Len() = %d", got, index.Len())
	}
}

func TestDuplicates(t *testing.T) {
	index := groups.Build([]groups.Group{
		{ID: "c", Selector: groups.Selector{"mac": "52-54-00-00-00-01"}},
		{ID: "a", Selector: groups.Selector{"mac": "525400000001"}},
		{ID: "other-priority", Selector: groups.Selector{"mac": "525400000001"}, Priority: 1},
		{ID: "e", Selector: groups.Selector{}},
		{ID: "d"},
		{ID: "alone", Selector: groups.Selector{"os": "x"}},
	})
	var got []string
	for _, set := range index.Duplicates() {
		got = append(got, strings.Join(ids(set), "+"))
	}
	if want := []string{"a+c", "d+e"}; !slices.Equal(got, want) {
		t.Errorf("Duplicates() = %v, want %v", got, want)
	}
}

func TestNoGroups(t *testing.T) {
	index := groups.Build(nil)
	if g, ok := index.Match(groups.Labels{"a": "b"}); ok || g != nil {
		t.Errorf("Match = %v, %v", g, ok)
	}
	if index.Possible(nil) {
		t.Error("Possible with no groups")
	}
	if got := index.Explain(nil).String(); got != "no group matches; there are no groups" {
		t.Errorf("Explain = %s", got)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	index := groups.Build(rack(1000))
	labels := rackLabels(17)
	if n := testing.AllocsPerRun(100, func() { index.Match(labels) }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

// rack is a site of n groups shaped as provisioning tools make them: by MAC, by MAC and installed OS, and some by uuid or role.
func rack(n int) []groups.Group {
	list := make([]groups.Group, 0, n)
	for i := 0; len(list) < n; i++ {
		mac := fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255)
		list = append(list, groups.Group{ID: fmt.Sprint("install-", i), Profile: "install", Selector: groups.Selector{"mac": mac}})
		if len(list) < n {
			list = append(list, groups.Group{ID: fmt.Sprint("node-", i), Profile: "node", Selector: groups.Selector{"mac": mac, "os": "installed"}})
		}
		if len(list) < n && i%50 == 0 {
			list = append(list, groups.Group{ID: fmt.Sprint("uuid-", i), Profile: "node", Selector: groups.Selector{"uuid": fmt.Sprint("u", i)}})
		}
	}
	return list
}

func rackLabels(i int) groups.Labels {
	return groups.Labels{
		"mac": fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255), "uuid": "6f3b0c6c-0000", "serial": "s", "arch": "x86_64",
		"os": "installed", "hostname": "node-17", "domain": "lab",
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		index := groups.Build(rack(n))
		hit, miss := rackLabels(3), rackLabels(n)
		b.Run(fmt.Sprintf("groups=%d/hit", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := index.Match(hit); !ok {
					b.Fatal("no match")
				}
			}
		})
		b.Run(fmt.Sprintf("groups=%d/miss", n), func(b *testing.B) {
			for b.Loop() {
				if _, ok := index.Match(miss); ok {
					b.Fatal("match")
				}
			}
		})
	}
}

func BenchmarkPossible(b *testing.B) {
	index := groups.Build(rack(10_000))
	known := groups.Labels{"mac": "52:54:00:00:00:03", "uuid": "x"}
	for b.Loop() {
		index.Possible(known)
	}
}

func BenchmarkExplain(b *testing.B) {
	index := groups.Build(rack(10_000))
	labels := rackLabels(10_000)
	for b.Loop() {
		index.Explain(labels)
	}
}

func BenchmarkBuild(b *testing.B) {
	list := rack(10_000)
	for b.Loop() {
		groups.Build(list)
	}
}
