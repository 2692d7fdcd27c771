package render

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// text is what a document's template gave, with enough memory of where each part came from to tell the author a line and
// column of the file that he wrote.
type text struct {
	out      []byte
	source   string    // the template
	segments []segment // ascending by out; empty: out and source are the same
	starts   []int     // where out's lines start, found when first asked for
}

// segment says that the output from offset out on was made from the source at offset src. A literal one runs along with
// the source, one made by an action stays where the action stands.
type segment struct {
	out, src int
	literal  bool
}

func (t *text) lines() []int {
	if t.starts == nil {
		t.starts = []int{0}
		for i, c := range t.out {
			if c == '\n' {
				t.starts = append(t.starts, i+1)
			}
		}
	}
	return t.starts
}

// line returns the n-th line of the output, from 1, or "" if it has no such line.
func (t *text) line(n int) string {
	starts := t.lines()
	if n < 1 || n > len(starts) {
		return ""
	}
	end := len(t.out)
	if n < len(starts) {
		end = starts[n] - 1
	}
	return string(t.out[starts[n-1]:end])
}

// origin translates a position in the output to one in the source. Columns count characters from 1, zero stays zero.
func (t *text) origin(line, column int) (int, int) {
	if len(t.segments) == 0 {
		return line, column
	}
	starts := t.lines()
	if line > len(starts) {
		line, column = len(starts), 0
	}
	offset := starts[line-1]
	if column > 0 {
		offset += byteColumn(t.line(line), column)
	}
	i := sort.Search(len(t.segments), func(i int) bool { return t.segments[i].out > offset }) - 1
	if i < 0 {
		return line, column
	}
	at := t.segments[i].src
	if t.segments[i].literal {
		at += offset - t.segments[i].out
	}
	sourceLine, sourceColumn := lineColumn(t.source, at)
	if column == 0 {
		sourceColumn = 0
	}
	return sourceLine, sourceColumn
}

// meant reports whether the author of the document wrote what stands at an offset of an output line (from 1) himself. Without a
// template he wrote all; else the only braces of his are constants, since literal text cannot hold them.
func (t *text) meant(line, offset int) bool {
	if len(t.segments) == 0 {
		return true
	}
	offset += t.lines()[line-1]
	i := sort.Search(len(t.segments), func(i int) bool { return t.segments[i].out > offset }) - 1
	return i >= 0 && t.segments[i].literal
}

// asWritten reports whether the n-th line of the output, from 1, holds nothing that an action gave.
func (t *text) asWritten(n int) bool {
	starts := t.lines()
	if len(t.segments) == 0 || n < 1 || n > len(starts) {
		return true
	}
	end := len(t.out)
	if n < len(starts) {
		end = starts[n]
	}
	i := sort.Search(len(t.segments), func(i int) bool { return t.segments[i].out > starts[n-1] }) - 1
	for i = max(i, 0); i < len(t.segments) && t.segments[i].out < end; i++ {
		if !t.segments[i].literal {
			return false
		}
	}
	return true
}

// byteColumn returns the offset in line of its column-th character, from 1.
func byteColumn(line string, column int) int {
	offset := 0
	for ; column > 1 && offset < len(line); column-- {
		_, size := utf8.DecodeRuneInString(line[offset:])
		offset += size
	}
	return offset
}

// lineColumn returns where a byte offset stands, both from 1, the column in characters.
func lineColumn(s string, offset int) (line, column int) {
	s = s[:min(max(offset, 0), len(s))]
	return 1 + strings.Count(s, "\n"), 1 + utf8.RuneCountInString(s[strings.LastIndexByte(s, '\n')+1:])
}
