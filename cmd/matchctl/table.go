package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxCell is how many characters a cell of a table has before it is cut, unless it is the last one or -o wide asks for all.
const maxCell = 48

// table lays cells out in columns.
type table struct {
	head   []string
	rows   [][]string
	tints  []string
	whole  bool // cut nothing
	widths []int
}

func (t *table) add(tint string, cells []string) {
	t.rows = append(t.rows, cells)
	t.tints = append(t.tints, tint)
}

// write writes all rows; those that are added later keep to the same columns.
func (t *table) write(out terminal) {
	if t.widths == nil {
		t.measure()
		out.line("%s", out.paint(bold, t.layOut(t.head)))
	}
	for i, cells := range t.rows {
		out.line("%s", out.paint(t.tints[i], t.layOut(cells)))
	}
	t.rows, t.tints = nil, nil
}

func (t *table) measure() {
	t.widths = make([]int, len(t.head))
	for _, cells := range append([][]string{t.head}, t.rows...) {
		for i := range t.head {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(t.cut(i, cells[i])))
		}
	}
}

func (t *table) cut(column int, cell string) string {
	if t.whole || column == len(t.head)-1 || utf8.RuneCountInString(cell) <= maxCell {
		return cell
	}
	return string([]rune(cell)[:maxCell-1]) + "…"
}

func (t *table) layOut(cells []string) string {
	var line strings.Builder
	for i := range t.head {
		cell := t.cut(i, cells[i])
		line.WriteString(cell)
		line.WriteString(strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(cell))+2))
	}
	return strings.TrimRight(line.String(), " ")
}

// ago writes a time as a distance from now: "5m", or "in 5m".
func ago(now time.Time, at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	d := now.Sub(at.AsTime())
	if d < 0 {
		return "in " + distance(-d)
	}
	return distance(d)
}

func distance(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}

// size writes a number of bytes.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefixes := float64(n)/unit, "KMGTPE"
	for value >= unit && len(prefixes) > 1 {
		value, prefixes = value/unit, prefixes[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, prefixes[0])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
