package groups

import (
	"iter"
	"maps"
	"slices"
)

// maxOver is the number of changes that are laid over an index before they are worked into it. Matching looks at each of them; working them in
// costs as much as building the index.
const maxOver = 128

// With returns an index of the same groups with some put, that is added or replaced by id, and some deleted by id. It costs little however many
// groups there are, and leaves x as it is. The groups put must not be changed afterwards.
func (x *Index) With(put []*Group, deleted []string) *Index {
	gone := make(map[string]bool, len(put)+len(deleted))
	for _, id := range deleted {
		gone[id] = true
	}
	for _, group := range put {
		gone[group.ID] = true
	}
	isGone := func(id string) bool { return gone[id] }
	y := &Index{entries: x.entries, shapes: x.shapes, positions: x.positions, hidden: make(map[int]bool, len(x.hidden)+len(gone))}
	y.invalid = slices.DeleteFunc(slices.Clone(x.invalid), func(g *Group) bool { return isGone(g.ID) })
	y.over = slices.DeleteFunc(slices.Clone(x.over), func(e entry) bool { return isGone(e.group.ID) })
	maps.Copy(y.hidden, x.hidden)
	for id := range gone {
		if position, there := x.positions()[id]; there {
			y.hidden[position] = true
		}
	}
	for _, group := range put {
		e, err := newEntry(group)
		if err != nil {
			y.invalid = append(y.invalid, group)
			continue
		}
		y.over = append(y.over, e)
	}
	slices.SortFunc(y.over, compareEntries)
	if len(y.over)+len(y.hidden) > maxOver {
		return y.flat()
	}
	return y
}

// flat returns an equal index with nothing laid over it.
func (x *Index) flat() *Index {
	if len(x.over)+len(x.hidden) == 0 {
		return x
	}
	entries := make([]entry, 0, x.Len())
	for e := range x.inOrder() {
		entries = append(entries, *e)
	}
	return index(entries, x.invalid)
}

// inOrder returns the entries in the order in which their groups are asked.
func (x *Index) inOrder() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		over := x.over
		for position := range x.entries {
			if x.hidden[position] {
				continue
			}
			e := &x.entries[position]
			for len(over) > 0 && compareEntries(over[0], *e) < 0 {
				if !yield(&over[0]) {
					return
				}
				over = over[1:]
			}
			if !yield(e) {
				return
			}
		}
		for i := range over {
			if !yield(&over[i]) {
				return
			}
		}
	}
}

// firstShown returns the lowest of ascending positions that is not hidden.
func (x *Index) firstShown(positions []int) (int, bool) {
	for _, position := range positions {
		if !x.hidden[position] {
			return position, true
		}
	}
	return 0, false
}

// shows reports whether any entry of a shape is not hidden.
func (x *Index) shows(s *shape) bool {
	if s.size > len(x.hidden) {
		return true
	}
	for _, positions := range s.byValues {
		if _, found := x.firstShown(positions); found {
			return true
		}
	}
	return false
}

// matchOver returns the first of the entries laid over the index that matches, nil if none does.
func (x *Index) matchOver(labels Labels) *entry {
	for i := range x.over {
		if e := &x.over[i]; e.matches(labels) {
			return e
		}
	}
	return nil
}

func (e *entry) matches(labels Labels) bool {
	for i, key := range e.keys {
		if labels[key] != e.values[i] {
			return false
		}
	}
	return true
}

// Alike returns the groups whose selectors equal that of the given group, itself included if it is in the index, in order. It is nil for a
// selector that cannot be normalised.
func (x *Index) Alike(group *Group) []*Group {
	want, err := newEntry(group)
	if err != nil {
		return nil
	}
	var found []entry
	signature, values := join(nil, want.keys), join(nil, want.values)
	for _, s := range x.shapes {
		if string(join(nil, s.keys)) != string(signature) {
			continue
		}
		for _, position := range s.byValues[string(values)] {
			if !x.hidden[position] {
				found = append(found, x.entries[position])
			}
		}
	}
	for _, e := range x.over {
		if slices.Equal(e.keys, want.keys) && slices.Equal(e.values, want.values) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, compareEntries)
	alike := make([]*Group, len(found))
	for i, e := range found {
		alike[i] = e.group
	}
	return alike
}
