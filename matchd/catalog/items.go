package catalog

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxLayer is the number of changes that are kept apart from the many objects that they are changes of.
const maxLayer = 128

// items holds the objects of one kind by id. Versions that follow each other share the many objects that are the same, so that the next version
// costs little however many there are.
type items struct {
	base *itemBase
	over map[string]*Item // laid over base; nil: deleted
}

type itemBase struct {
	byID   map[string]*Item
	sorted func() []*Item
}

func newItems(byID map[string]*Item) items {
	return items{base: &itemBase{byID: byID, sorted: sync.OnceValue(func() []*Item {
		list := make([]*Item, 0, len(byID))
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			list = append(list, byID[id])
		}
		return list
	})}}
}

func (m items) get(id string) *Item {
	if item, changed := m.over[id]; changed {
		return item
	}
	return m.base.byID[id]
}

// with returns the next version; changes maps ids to items, or to nil for what is deleted.
func (m items) with(changes map[string]*Item) items {
	if len(changes) == 0 {
		return m
	}
	over := make(map[string]*Item, len(m.over)+len(changes))
	maps.Copy(over, m.over)
	maps.Copy(over, changes)
	if len(over) <= maxLayer {
		return items{m.base, over}
	}
	byID := make(map[string]*Item, len(m.base.byID)+len(over))
	maps.Copy(byID, m.base.byID)
	for id, item := range over {
		if item == nil {
			delete(byID, id)
		} else {
			byID[id] = item
		}
	}
	return newItems(byID)
}

// list returns the items sorted by id.
func (m items) list() []*Item {
	sorted := m.base.sorted()
	if len(m.over) == 0 {
		return sorted
	}
	list := make([]*Item, 0, len(sorted)+len(m.over))
	for _, id := range slices.Sorted(maps.Keys(m.over)) {
		at, found := slices.BinarySearchFunc(sorted, id, func(item *Item, id string) int { return strings.Compare(item.Ref().ID, id) })
		list = append(list, sorted[:at]...)
		sorted = sorted[at:]
		if found {
			sorted = sorted[1:]
		}
		if item := m.over[id]; item != nil {
			list = append(list, item)
		}
	}
	return append(list, sorted...)
}

// each calls f with every item, in no order.
func (m items) each(f func(*Item)) {
	for id, item := range m.base.byID {
		if _, changed := m.over[id]; !changed {
			f(item)
		}
	}
	for _, item := range m.over {
		if item != nil {
			f(item)
		}
	}
}
