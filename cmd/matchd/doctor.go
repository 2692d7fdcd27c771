package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/doctor"
)

func doctorCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what would stop a boot on this host",
		Long: `Looks at ports, interfaces, addresses, firewall, other DHCP servers, network boot programs, the site, the clock and the state
directory, with the configuration that "matchd serve" would use, and says for each problem what to do next. It changes nothing.

Exit status: 0 no errors (there may be warnings), 1 something would stop a boot.`,
		Example: "  sudo matchd doctor --site /srv/site",
		Args:    arguments(cobra.NoArgs),
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return configured(cmd, func(cmd *cobra.Command, cfg matchd.Config, _ []string) error {
		if err := checkOutput("doctor", output); err != nil {
			return err
		}
		findings := matchd.Examine(cmd.Context(), cfg, buildTime())
		var err error
		if output == "json" {
			err = doctor.WriteJSON(cmd.OutOrStdout(), findings)
		} else {
			err = doctor.WriteText(cmd.OutOrStdout(), findings, isTerminal(cmd.OutOrStdout()))
		}
		if err == nil && doctor.Worst(findings) == doctor.Error {
			err = errProblem
		}
		return err
	})
}

// isTerminal reports whether w is a terminal that likes colours (no-color.org).
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
