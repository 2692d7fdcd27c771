package main

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/site"
)

// TestValidationOnATerminal compares what a terminal gets with what a file gets: the same text, with colours on the terminal only.
func TestValidationOnATerminal(t *testing.T) {
	refused := validation{
		Problems: []site.Problem{{File: "ignition/a.bu", Line: 3, Column: 5, What: "unused key a", Groups: []string{"g"}}, {File: "groups/g.yaml", What: "is empty"}},
		Warnings: []site.Problem{{File: "ignition/b.bu", What: "odd"}}, Omitted: 7,
	}
	accepted := validation{OK: true, Summary: "1 group"}
	var plain, coloured strings.Builder
	for _, v := range []*validation{&refused, &accepted} {
		v.write(terminal{&plain, false})
		v.write(terminal{&coloured, true})
	}
	const want = "warning: ignition/b.bu: odd\nignition/a.bu:3:5: unused key a  (group g)\ngroups/g.yaml: is empty\nand 7 more problems\n9 problems\nok: 1 group\n"
	if plain.String() != want {
		t.Errorf("plain: %q, want %q", plain.String(), want)
	}
	const shown = "\x1b[33mwarning: ignition/b.bu: odd\x1b[0m\n\x1b[1mignition/a.bu:3:5\x1b[0m: unused key a  (group g)\n\x1b[1mgroups/g.yaml\x1b[0m: is empty\nand 7 more problems\n" +
		"\x1b[31m9 problems\x1b[0m\n\x1b[32mok: 1 group\x1b[0m\n"
	if coloured.String() != shown {
		t.Errorf("coloured: %q, want %q", coloured.String(), shown)
	}
}
