package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/site"
)

func validateCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "check a site directory and report every problem",
		Long: `Reads a site directory as "matchd serve --site DIR" would, and reports every problem with its file, line and column,
not only the first. Warnings are printed and do not fail.

Exit status: 0 the site can be served, 1 it cannot.`,
		Example: "  matchd validate /srv/site\n  matchd validate -o json . | jq '.problems[].file'",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return validate(cmd.OutOrStdout(), args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// validation is the outcome as JSON.
type validation struct {
	OK       bool           `json:"ok"`
	Summary  string         `json:"summary,omitempty"`
	Problems []site.Problem `json:"problems"`
	Warnings []site.Problem `json:"warnings"`
	Omitted  int            `json:"omitted,omitempty"` // problems beyond those listed
}

func validate(out io.Writer, dir, output string) error {
	if err := checkOutput("validate", output); err != nil {
		return err
	}
	result := validation{Problems: []site.Problem{}, Warnings: []site.Problem{}}
	loaded, err := site.Load(dir)
	var problems *site.Problems
	switch {
	case errors.As(err, &problems):
		result.Problems, result.Omitted = problems.Problems, problems.Omitted
		result.Warnings = append(result.Warnings, problems.Warnings...)
	case err != nil:
		return err
	default:
		result.OK, result.Summary = true, loaded.Summary()
		result.Warnings = append(result.Warnings, loaded.Warnings...)
	}
	if err := writeValidation(out, result, output); err != nil {
		return err
	}
	if !result.OK {
		return errProblem
	}
	return nil
}

func writeValidation(out io.Writer, result validation, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(out, "warning: %v\n", warning)
	}
	for _, problem := range result.Problems {
		fmt.Fprintln(out, problem)
	}
	if result.Omitted > 0 {
		fmt.Fprintf(out, "and %d more problems\n", result.Omitted)
	}
	if result.OK {
		fmt.Fprintf(out, "ok: %s\n", result.Summary)
		return nil
	}
	_, err := fmt.Fprintf(out, "%d problems\n", len(result.Problems)+result.Omitted)
	return err
}
