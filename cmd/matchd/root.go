package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
)

const longHelp = `matchd boots machines from the network.

A machine asks by DHCP, TFTP, UEFI HTTP Boot or iPXE; matchd matches it to a group by its labels, the group names a
profile, and the profile says what to boot and which Ignition config to give.

  matchd serve --site DIR      serve a directory of groups, profiles and templates, beside the DHCP server that is there
  matchd validate DIR          check such a directory and report every problem
  matchd render                show what a machine would get, and from which file
  matchd explain               say which groups match a machine, which nearly do, and why
  matchd doctor                say what would stop a boot on this host, and what to do about it
  matchd pki init              make the certificates that the API needs; matchctl and Terraform come in by it

Every setting of the daemon has a key in /etc/matchd/matchd.yaml, a flag of the same name and a variable MATCHD_*; a flag
wins over a variable, a variable over the file.

Exit status: 0 success, 1 failure or problems found, 2 wrong usage.`

// rootCommand builds the whole command tree; nothing in it is shared, so that tests may run many.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "matchd",
		Short:         "boot machines from the network",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          arguments(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), validateCommand(), renderCommand(), explainCommand(), doctorCommand(), storeCommand(), pkiCommand(), versionCommand())
	return root
}

// arguments makes a violation of an argument rule a usage error.
func arguments(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := rule(cmd, args); err != nil {
			return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
		}
		return nil
	}
}

// checkOutput refuses an unknown form of output before any work is done.
func checkOutput(command, output string) error {
	if output != "text" && output != "json" {
		return usageError{fmt.Errorf("%s: --output %q is none of text, json", command, output)}
	}
	return nil
}

// settings adds the daemon's settings as flags to a command and returns a function that gathers the configuration.
// adjust may change where the settings come from.
func settings(cmd *cobra.Command, adjust ...func(*matchd.Sources) error) func() (matchd.Config, error) {
	file := cmd.Flags().StringP("config", "c", "", "configuration file (default "+matchd.DefaultConfigFile+", if it exists; variable MATCHD_CONFIG)")
	values := map[string]*string{}
	for _, key := range matchd.Keys() {
		values[key.Flag()] = cmd.Flags().String(key.Flag(), "", usage(key))
		if d := key.Default(); d == "true" || d == "false" {
			cmd.Flags().Lookup(key.Flag()).NoOptDefVal = "true" // --tftp-single-port alone switches it on
		}
	}
	return func() (matchd.Config, error) {
		source := matchd.Sources{File: *file, Env: os.LookupEnv, Flags: map[string]string{}}
		if source.File == "" {
			source.File = os.Getenv("MATCHD_CONFIG")
		}
		for name, value := range values {
			if cmd.Flags().Changed(name) {
				source.Flags[name] = *value
			}
		}
		for _, change := range adjust {
			if err := change(&source); err != nil {
				return matchd.Config{}, err
			}
		}
		cfg, err := matchd.LoadConfig(source)
		if cfg.Passphrase == "" {
			cfg.Passphrase = os.Getenv("MATCHD_PASSPHRASE")
		}
		return cfg, err
	}
}

// configured gives a command the daemon's settings and runs it with what they come to.
func configured(cmd *cobra.Command, run func(cmd *cobra.Command, cfg matchd.Config, args []string) error, adjust ...func(*matchd.Sources) error) *cobra.Command {
	load := settings(cmd, adjust...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		return run(cmd, cfg, args)
	}
	return cmd
}

// usage adds the default to a setting's help, except for what the text tells already.
func usage(key matchd.Key) string {
	// Back quotes would name the flag's value in pflag's help.
	text := strings.ReplaceAll(key.Usage, "`", "'")
	if key.Default() != "" {
		text += fmt.Sprintf(" (default %s)", key.Default())
	}
	return text
}
