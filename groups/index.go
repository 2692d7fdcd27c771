package groups

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
)

// Index finds the group of a machine among many. It is immutable and safe for concurrent use.
//
// The order of groups is: higher priority, more selector pairs, greater selector text, lower id. The first that matches wins.
type Index struct {
	entries []entry  // in the order in which groups are asked
	shapes  []*shape // in the order of their first entry
	invalid []*Group // groups whose selector cannot be normalised: they match nothing

	// What [Index.With] lays over an index that it shares everything above with.
	hidden    map[int]bool // positions in entries that are replaced or deleted
	over      []entry      // what is new, in order
	positions func() map[string]int
}

// entry is one group with its normalised selector.
type entry struct {
	group    *Group
	selector Selector
	text     string   // selector.String()
	keys     []string // of the selector, sorted
	values   []string // the selector's values, in the order of the keys
}

// shape holds all groups whose selectors have the same keys. Matching costs one look-up per shape, and real sites have few:
// {mac}, {mac os}, {uuid}, {} and so on.
type shape struct {
	keys     []string
	first    int              // lowest position of its entries
	size     int              // number of its entries
	byValues map[string][]int // joined values → positions in Index.entries, ascending
	byValue  []map[string][]int
}

// Build makes an index of the given groups, which must not be changed afterwards. A group whose selector holds an invalid
// MAC address matches no machine; [Group.Validate] refuses such groups before they get here, and [Index.Invalid] tells of them.
func Build(list []Group) *Index {
	var invalid []*Group
	entries := make([]entry, 0, len(list))
	for i := range list {
		e, err := newEntry(&list[i])
		if err != nil {
			invalid = append(invalid, &list[i])
			continue
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, compareEntries)
	return index(entries, invalid)
}

// index makes an index of entries in order.
func index(entries []entry, invalid []*Group) *Index {
	x := &Index{entries: entries, invalid: invalid}
	shapes := make(map[string]*shape)
	for position := range x.entries {
		x.add(shapes, position)
	}
	x.positions = sync.OnceValue(func() map[string]int {
		positions := make(map[string]int, len(entries))
		for position := range entries {
			positions[entries[position].group.ID] = position
		}
		return positions
	})
	return x
}

func newEntry(group *Group) (entry, error) {
	selector, err := group.Selector.Normalized()
	if err != nil {
		return entry{}, err
	}
	e := entry{group: group, selector: selector, text: selector.String(), keys: sortedKeys(selector)}
	e.values = make([]string, len(e.keys))
	for i, key := range e.keys {
		e.values[i] = selector[key]
	}
	return e, nil
}

func compareEntries(a, b entry) int {
	return cmp.Or(
		cmp.Compare(b.group.Priority, a.group.Priority),
		cmp.Compare(len(b.selector), len(a.selector)),
		strings.Compare(b.text, a.text),
		strings.Compare(a.group.ID, b.group.ID),
	)
}

func (x *Index) add(shapes map[string]*shape, position int) {
	e := &x.entries[position]
	signature := string(join(nil, e.keys))
	s := shapes[signature]
	if s == nil {
		s = &shape{keys: e.keys, first: position, byValues: make(map[string][]int), byValue: make([]map[string][]int, len(e.keys))}
		for i := range e.keys {
			s.byValue[i] = make(map[string][]int)
		}
		shapes[signature] = s
		x.shapes = append(x.shapes, s)
	}
	s.size++
	joined := string(join(nil, e.values))
	s.byValues[joined] = append(s.byValues[joined], position)
	for i, value := range e.values {
		s.byValue[i][value] = append(s.byValue[i][value], position)
	}
}

// join writes words so that different lists of words give different bytes, whatever bytes the words hold.
func join(buf []byte, words []string) []byte {
	for _, word := range words {
		buf = binary.AppendUvarint(buf, uint64(len(word)))
		buf = append(buf, word...)
	}
	return buf
}

// Match returns the group of a machine with these labels. The group is the index's own: it must not be changed.
func (x *Index) Match(labels Labels) (*Group, bool) {
	var space [256]byte
	best := len(x.entries)
	for _, s := range x.shapes {
		if s.first >= best {
			break // shapes are in the order of their first entry: no later one can come before best
		}
		if found, ok := x.firstShown(s.lookup(labels, space[:0])); ok && found < best {
			best = found
		}
	}
	var chosen *entry
	if best < len(x.entries) {
		chosen = &x.entries[best]
	}
	if newer := x.matchOver(labels); newer != nil && (chosen == nil || compareEntries(*newer, *chosen) < 0) {
		chosen = newer
	}
	if chosen == nil {
		return nil, false
	}
	return chosen.group, true
}

// lookup returns the positions of the shape's groups that match, ascending.
func (s *shape) lookup(labels Labels, buf []byte) []int {
	for _, key := range s.keys {
		value := labels[key] // an absent label equals ""
		buf = binary.AppendUvarint(buf, uint64(len(value)))
		buf = append(buf, value...)
	}
	return s.byValues[string(buf)]
}

// Possible reports whether any group could match a machine of which only these labels are known yet, whatever the others
// turn out to be. Firmware tells less by DHCP than a script's query does, and one that no group can want is left alone.
func (x *Index) Possible(known Labels) bool {
	return slices.ContainsFunc(x.shapes, func(s *shape) bool { return x.possible(s, known) }) ||
		slices.ContainsFunc(x.over, func(e entry) bool { return e.possible(known) })
}

func (x *Index) possible(s *shape, known Labels) bool {
	var rarest []int
	constrained := false
	for i, key := range s.keys {
		value, told := known[key]
		if !told {
			continue
		}
		with := s.byValue[i][value]
		if !constrained || len(with) < len(rarest) {
			rarest = with
		}
		constrained = true
	}
	if !constrained {
		return len(x.hidden) == 0 || x.shows(s)
	}
	return slices.ContainsFunc(rarest, func(position int) bool { return !x.hidden[position] && x.entries[position].possible(known) })
}

// possible reports whether the known labels do not rule the group out.
func (e *entry) possible(known Labels) bool {
	for i, key := range e.keys {
		if value, told := known[key]; told && value != e.values[i] {
			return false
		}
	}
	return true
}

// Len returns the number of groups that can match.
func (x *Index) Len() int { return len(x.entries) - len(x.hidden) + len(x.over) }

// All returns the groups in the order in which they are asked.
func (x *Index) All() []*Group {
	all := make([]*Group, 0, x.Len())
	for e := range x.inOrder() {
		all = append(all, e.group)
	}
	return all
}

// Invalid returns the groups that match nothing because their selector holds an invalid MAC address.
func (x *Index) Invalid() []*Group { return x.invalid }

// Duplicates returns the sets of groups that have the same selector and priority, so that only the first of each, the one
// with the lowest id, is ever chosen.
func (x *Index) Duplicates() [][]*Group {
	x = x.flat()
	var sets [][]int
	for _, s := range x.shapes {
		for _, positions := range s.byValues {
			for len(positions) > 1 {
				priority := x.entries[positions[0]].group.Priority
				n := 1
				for n < len(positions) && x.entries[positions[n]].group.Priority == priority {
					n++
				}
				if n > 1 {
					sets = append(sets, positions[:n])
				}
				positions = positions[n:]
			}
		}
	}
	slices.SortFunc(sets, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	duplicates := make([][]*Group, len(sets))
	for i, positions := range sets {
		for _, position := range positions {
			duplicates[i] = append(duplicates[i], x.entries[position].group)
		}
	}
	return duplicates
}

func sortedKeys(s Selector) []string {
	keys := make([]string, 0, len(s))
	for key := range s {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
