package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/pki"
)

const day = 24 * time.Hour

func pkiCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "make the certificates of the API's server and of its clients",
		Long: `The API is served over TLS, and every client shows a certificate that says who it is and what it may do. These commands make them, by a
certificate authority of your own.

  matchd pki init                              an authority, the server's certificate and that of the first admin
  matchd pki client jo --role viewer           a certificate for one more client
  matchd pki server --name boot.example.com    the server's certificate anew
  matchd pki show                              what there is, and until when it is good

Roles: admin (everything), operator (everything but identities), instance-registrar (reads groups and profiles), viewer (reads). A
running daemon takes up new files by itself. Nothing here asks a network for anything.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(pkiInitCommand(), pkiServerCommand(), pkiClientCommand(), pkiShowCommand())
	return cmd
}

// pkiDir adds the flag that names the directory.
func pkiDir(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", matchd.DefaultPKI, "directory of the certificates")
}

// pkiNames adds the flag that names the server, and returns what gathers all its names.
func pkiNames(cmd *cobra.Command) func() (pki.Names, error) {
	given := cmd.Flags().StringArray("name", nil, "a DNS name or IP address that clients call the server by, besides the host's own; may be repeated")
	return func() (pki.Names, error) {
		names, err := pki.HostNames()
		if err != nil {
			return names, err
		}
		for _, name := range *given {
			if err := names.Add(name); err != nil {
				return names, usageError{fmt.Errorf("--name: %w", err)}
			}
		}
		return names, nil
	}
}

func pkiInitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make an authority, the server's certificate and that of the first admin",
		Long: `Makes what the API needs, and keeps what is there: it can be run again at any time.

  ca.crt, ca.key           the authority; ca.key signs and belongs on no other host
  server.crt, server.key   what the daemon shows, with the names and addresses of this host
  admin.crt, admin.key     what the first client shows, with the role admin`,
		Example: "  sudo matchd pki init\n  sudo matchd pki init --name boot.example.com --name 192.0.2.10",
		Args:    arguments(cobra.NoArgs),
	}
	dir, names := pkiDir(cmd), pkiNames(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := names()
		if err != nil {
			return err
		}
		steps, err := pki.Init(*dir, all, time.Now())
		printSteps(cmd.OutOrStdout(), steps)
		if err != nil {
			return fmt.Errorf("making certificates: %w", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "\nStart matchd again if it runs without an API. For a client on another host: matchd pki client NAME --role ROLE --out DIR\n")
		return nil
	}
	return cmd
}

func printSteps(out io.Writer, steps []pki.Step) {
	for _, step := range steps {
		verb := "kept"
		if step.Made {
			verb = "made"
		}
		fmt.Fprintf(out, "%s %s: %s\n", verb, strings.Join(step.Files, ", "), step.Note)
	}
}

func pkiServerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "make the server's certificate anew",
		Long: `Makes a new key and certificate for the server, with the names of this host, those given, and those that the certificate before had. A
running daemon takes them up within seconds; connections that are open stay open.`,
		Example: "  sudo matchd pki server\n  sudo matchd pki server --name boot.example.com",
		Args:    arguments(cobra.NoArgs),
	}
	dir, names := pkiDir(cmd), pkiNames(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := names()
		if err != nil {
			return err
		}
		cert, err := pki.RenewServer(*dir, all, time.Now())
		if err != nil {
			return fmt.Errorf("making the server's certificate: %w", err)
		}
		var called []string
		called = append(called, cert.DNSNames...)
		for _, ip := range cert.IPAddresses {
			called = append(called, ip.String())
		}
		fmt.Fprintf(cmd.OutOrStdout(), "made %s: good until %s, for %s\n", filepath.Join(*dir, pki.ServerCert), cert.NotAfter.UTC().Format(time.DateOnly), strings.Join(called, ", "))
		return nil
	}
	return cmd
}

func pkiClientCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client NAME",
		Short: "make the certificate of a client",
		Long: `Makes a key and a certificate for one client, a person or a program, and writes NAME.crt and NAME.key, with ca.crt beside them: all that
matchctl or Terraform needs. NAME stands in logs and in the audit log. With --scope the client sees and changes only what has these labels.

There is no list of certificates that are no longer good: keep --days low for what can get lost (docs/security.md).`,
		Example: "  sudo matchd pki client jo --role viewer --out jo\n  sudo matchd pki client fra-terraform --role operator --scope site=fra --days 90 --out fra",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	dir := pkiDir(cmd)
	role := cmd.Flags().String("role", "", "what it may do: admin, operator, instance-registrar or viewer (required)")
	scope := cmd.Flags().StringArray("scope", nil, "a label KEY=VALUE that everything it sees and changes must have; may be repeated")
	days := cmd.Flags().Int("days", int(pki.ClientLifetime/day), "for how many days it is good")
	out := cmd.Flags().String("out", "", "directory to write to (default the one of --dir)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := clientIdentity(args[0], *role, *scope)
		if err != nil {
			return usageError{err}
		}
		if *days < 1 || *days > int(pki.MaxClientLifetime/day) {
			return usageError{fmt.Errorf("--days: %d is not between 1 and %d", *days, pki.MaxClientLifetime/day)}
		}
		if *out == "" {
			*out = *dir
		}
		now := time.Now()
		files, err := pki.NewClient(*dir, *out, id, time.Duration(*days)*day, now)
		if err != nil {
			return fmt.Errorf("making a client's certificate: %w", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "made %s: %s %s, good until %s\n", strings.Join(files, ", "), id.Name, describeIdentity(id), now.Add(time.Duration(*days)*day).UTC().Format(time.DateOnly))
		return nil
	}
	return cmd
}

func clientIdentity(name, role string, scope []string) (auth.Identity, error) {
	id := auth.Identity{Name: name}
	var err error
	if role == "" {
		return id, fmt.Errorf("--role is needed: admin, operator, instance-registrar or viewer")
	}
	if id.Role, err = auth.ParseRole(role); err != nil {
		return id, fmt.Errorf("--role: %w", err)
	}
	if id.Scope, err = auth.ParseScope(scope); err != nil {
		return id, fmt.Errorf("--scope: %w", err)
	}
	return id, auth.CheckScope(id.Role, id.Scope)
}

// describeIdentity returns "is an operator of site=fra".
func describeIdentity(id auth.Identity) string {
	text := "has the role " + string(id.Role)
	if id.Scoped() {
		text += " and the scope " + strings.Join(id.Subject().OrganizationalUnit, ", ")
	}
	return text
}
