package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/inspect"
)

func explainCommand() *cobra.Command {
	var output string
	var q question
	cmd := &cobra.Command{
		Use:   "explain --site DIR --mac MAC",
		Short: "say which groups match a machine, which nearly do, and why",
		Long: `Reads a site directory and says which group a machine with these labels belongs to: every group that matches, in the order in which
they are asked, and those that nearly match with the first label that differs.

Exit status: 0 a group matches, 1 none does, or the site has problems.`,
		Example: "  matchd explain --site /srv/site --mac 52:54:00:a1:9c:ae\n  matchd explain --site . --mac 52:54:00:a1:9c:ae --label os=installed -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput("explain", output); err != nil {
				return err
			}
			a, err := q.load(cmd.Context())
			if err != nil && output == "json" {
				return refuseJSON(cmd.OutOrStdout(), err)
			}
			if err != nil {
				return err
			}
			found := inspect.Explain(a.snapshot, a.subject.Labels)
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), found)
			} else {
				err = explanation{found}.write(terminal{cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout())})
			}
			if err == nil && found.Group == "" {
				err = errProblem
			}
			return err
		},
	}
	q.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// explanation is the answer, for people.
type explanation struct{ inspect.Explanation }

func (e explanation) write(t terminal) error {
	t.heading("%s", e.Reason)
	t.line("")
	t.heading("labels")
	for _, name := range slices.Sorted(maps.Keys(e.Labels)) {
		t.line("  %-12s %s", name, e.Labels[name])
	}
	if len(e.Matches) > 0 {
		t.line("")
		t.heading("groups that match, in the order in which they are asked")
	}
	for i, m := range e.Matches {
		text := fmt.Sprintf("%-20s wants %s", m.Group, describeSelector(m.Selector))
		if m.Priority != 0 {
			text += fmt.Sprintf(", priority %d", m.Priority)
		}
		text += fmt.Sprintf(" → profile %s", m.Profile)
		if i == 0 {
			t.good("* %s", text)
		} else {
			t.line("  %s", text)
		}
	}
	if len(e.Nearest) > 0 {
		t.line("")
		t.heading("groups that nearly match")
	}
	for _, n := range e.Nearest {
		text := fmt.Sprintf("%-20s wants %s %q, got %s", n.Group, n.Label, n.Want, cmp.Or(quoted(n.Got), "none"))
		if n.Failing > 1 {
			text += fmt.Sprintf(", and %d more of %d labels differ", n.Failing-1, n.Pairs)
		}
		t.line("  %s", text)
	}
	return nil
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

// writeJSON writes indented JSON; HTML's characters stay as they are.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// terminal writes lines for people, in colour where that is wanted.
type terminal struct {
	io.Writer
	colour bool
}

func (t terminal) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func (t terminal) coloured(code, format string, args ...any) {
	if t.colour {
		format = "\x1b[" + code + "m" + format + "\x1b[0m"
	}
	t.line(format, args...)
}

func (t terminal) heading(format string, args ...any) { t.coloured("1", format, args...) }

func (t terminal) good(format string, args ...any) { t.coloured("32", format, args...) }

func (t terminal) warning(format string, args ...any) { t.coloured("33", format, args...) }
