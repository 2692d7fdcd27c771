package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
)

const longHelp = `matchctl asks and tells a matchd over its API.

  matchctl status                   who am I there, and is it well
  matchctl get timelines            what machines did last, and why they did not boot
  matchctl trace MAC --follow       one machine's boot as it happens
  matchctl explain MAC              which group a machine belongs to, and why
  matchctl render MAC               the script and the config that it gets
  matchctl simulate MAC             its whole boot, played on the server without touching anything
  matchctl apply -f DIR --dry-run   what a change would do, by object and by machine

Nouns: machines (m), groups (g), profiles (p), templates (t), reservations (r), leases (l), timelines (tl), events (ev), assets (a),
audit. "get", "describe" and "delete" take them in singular and plural, with ids behind, or as NOUN/ID.

Whom it calls, and as who, is a context in ~/.config/matchctl/config.yaml ("matchctl config"). A flag wins over a variable MATCHCTL_*,
a variable over the context, a context over the defaults: 127.0.0.1:8081 with ca.crt, admin.crt and admin.key of /etc/matchd/pki.

Exit status: 0 success; 1 failure, or problems were found; 2 wrong usage; 3 no such thing; 4 refused by the server; 5 no server
reached; 6 "diff" found a difference.`

// app is one run of the program: its streams, and its connection once a command needs it.
type app struct {
	in       io.Reader
	out, err terminal
	getenv   func(string) string
	now      func() time.Time

	flags  connectionFlags
	client *client.Client // nil until connect
	used   connection     // what client was made of
}

// usageError marks an error in the command line or in the client's configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends a command that has printed all that there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// rootCommand builds the whole command tree; nothing in it is shared, so that tests may run many.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "matchctl",
		Short:         "ask and tell a matchd over its API",
		Long:          longHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          arguments(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.colour() }
	a.connectionFlagsOf(root)
	root.AddCommand(
		a.getCommand(), a.describeCommand(), a.deleteCommand(), a.applyCommand(), a.diffCommand(), a.editCommand(), a.exportCommand(), a.importCommand(),
		a.machineCommand(), a.explainCommand(), a.renderCommand(), a.traceCommand(), a.simulateCommand(),
		a.statusCommand(), a.configCommand(), a.versionCommand(),
	)
	return root
}

// arguments makes a violation of an argument rule a usage error.
func arguments(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := rule(cmd, args); err != nil {
			return usagef("%s: %w", cmd.CommandPath(), err)
		}
		return nil
	}
}

// group makes a command that only has subcommands.
func group(use, short string, subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subcommands...)
	return cmd
}

// outputFlag adds -o to a command, with the forms that it knows; the first is the default.
func outputFlag(cmd *cobra.Command, forms ...string) *string {
	output := cmd.Flags().StringP("output", "o", forms[0], strings.Join(forms, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	check := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(forms, *output) {
			return usagef("%s: --output %q is none of %s", cmd.CommandPath(), *output, strings.Join(forms, ", "))
		}
		if check != nil {
			return check(cmd, args)
		}
		return nil
	}
	return output
}

// parseLabels reads "a=b,c=d", given any number of times.
func parseLabels(flag string, values []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, value := range values {
		for pair := range strings.SplitSeq(value, ",") {
			name, content, assigned := strings.Cut(pair, "=")
			if !assigned || name == "" {
				return nil, usagef("%s %q is not NAME=VALUE", flag, pair)
			}
			if _, twice := labels[name]; twice {
				return nil, usagef("%s gives %q twice", flag, name)
			}
			labels[name] = content
		}
	}
	return labels, nil
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version of this program",
		Long:  "Prints the version of this program. \"matchctl status\" prints the server's.",
		Args:  arguments(cobra.NoArgs),
	}
	output := outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = func(*cobra.Command, []string) error { return a.writeVersion(*output) }
	return cmd
}

// errInterrupted ends what would go on for ever, as the person wants.
var errInterrupted = errors.New("interrupted")
