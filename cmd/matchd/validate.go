package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/site"
)

func validateCommand() *cobra.Command {
	var output, config string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "check a site directory and report every problem",
		Long: `Reads a site directory as "matchd serve --site DIR" would, renders every document with the metadata of every group that uses it, and
reports every problem with its file, line, column and groups, not only the first. Warnings are printed and fail only with --strict:
a file whose contents another document replaces unasked, a group that no machine gets, what is wrong only for some machines' labels. With
--config, what the daemon's configuration makes of overlaps applies.

Exit status: 0 the site can be served, 1 it cannot.`,
		Example: "  matchd validate /srv/site\n  matchd validate -o json . | jq '.problems[].file'",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput("validate", output); err != nil {
				return err
			}
			cfg, err := readConfig(config)
			if err != nil {
				return err
			}
			options := readOptions(&cfg)
			options.Progress = progress(cmd.ErrOrStderr())
			result, err := examine(cmd.Context(), args[0], options)
			if err != nil {
				return err
			}
			if strict {
				result.refuseWarnings()
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), result)
			} else {
				result.write(terminal{cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout())})
			}
			if err != nil {
				return err
			}
			if !result.OK {
				return errProblem
			}
			return nil
		},
	}
	configFlag(cmd, &config)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings for problems")
	return cmd
}

// validation is the outcome as JSON.
type validation struct {
	OK       bool           `json:"ok"`
	Summary  string         `json:"summary,omitempty"`
	Problems []site.Problem `json:"problems"`
	Warnings []site.Problem `json:"warnings"`
	Omitted  int            `json:"omitted,omitempty"` // problems beyond those listed
	Reason   string         `json:"reason,omitempty"`  // why there is no answer, where that is no problem of a document
}

// examine reads a site; an error is one of reading, not of the site.
func examine(ctx context.Context, dir string, options site.ReadOptions) (*validation, error) {
	result := &validation{Problems: []site.Problem{}, Warnings: []site.Problem{}}
	loaded, err := site.Read(ctx, dir, options)
	var problems *site.Problems
	switch {
	case errors.As(err, &problems):
		result.Problems, result.Omitted = problems.Problems, problems.Omitted
		result.Warnings = append(result.Warnings, problems.Warnings...)
	case err != nil:
		return nil, err
	default:
		result.OK, result.Summary = true, loaded.Summary()
		result.Warnings = append(result.Warnings, loaded.Warnings...)
	}
	return result, nil
}

// refuseWarnings takes warnings for problems.
func (v *validation) refuseWarnings() {
	if len(v.Warnings) > 0 {
		v.OK, v.Problems, v.Warnings = false, append(v.Problems, v.Warnings...), []site.Problem{}
	}
}

func (v *validation) write(t terminal) {
	for _, warning := range v.Warnings {
		t.warning("warning: %v", warning)
	}
	for _, problem := range v.Problems {
		t.problem(problem)
	}
	if v.Omitted > 0 {
		t.line("and %s", plural(v.Omitted, "more problem"))
	}
	if v.OK {
		t.good("ok: %s", v.Summary)
		return
	}
	t.bad("%s", plural(len(v.Problems)+v.Omitted, "problem"))
}

// plural counts what has an s in the plural.
func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// problem writes a problem with its place in bold.
func (t terminal) problem(p site.Problem) {
	text := p.String()
	if at := strings.Index(text, ": "); t.colour && at > 0 {
		text = "\x1b[1m" + text[:at] + "\x1b[0m" + text[at:]
	}
	t.line("%s", text)
}

func (t terminal) bad(format string, args ...any) { t.coloured("31", format, args...) }

// progressFrom is the number of configs from which progress is worth telling.
const progressFrom = 1000

// progress tells a terminal how far a large site is; nobody else wants to know.
func progress(w io.Writer) func(done, total int) {
	if !isTerminal(w) {
		return nil
	}
	return func(done, total int) {
		switch {
		case total < progressFrom:
		case done == total:
			fmt.Fprintf(w, "\r\x1b[K")
		case done%100 == 0:
			fmt.Fprintf(w, "\rtrying configs: %d of %d", done, total)
		}
	}
}
