package main

import (
	"cmp"
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
)

// Where "matchd pki init" puts what its host's operator needs.
const (
	defaultCA   = "/etc/matchd/pki/ca.crt"
	defaultCert = "/etc/matchd/pki/admin.crt"
	defaultKey  = "/etc/matchd/pki/admin.key"
)

// How long calls may take unless --timeout says otherwise.
const (
	defaultTimeout = 30 * time.Second
	// applyTimeout is for calls that render every machine's config.
	applyTimeout = 15 * time.Minute
	// completionTimeout is how long a shell waits for ids.
	completionTimeout = 2 * time.Second
)

// connectionFlags are the flags that every command has.
type connectionFlags struct {
	config, context string
	given           connection
	timeout         time.Duration
	color           string
}

func (a *app) connectionFlagsOf(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&a.flags.config, "config", "", "configuration `FILE` with the contexts (variable MATCHCTL_CONFIG)")
	flags.StringVar(&a.flags.context, "context", "", "`NAME` of the context to use (variable MATCHCTL_CONTEXT)")
	flags.StringVar(&a.flags.given.Endpoint, "endpoint", "", "`HOST:PORT` of the server (variable MATCHCTL_ENDPOINT)")
	flags.StringVar(&a.flags.given.CA, "ca", "", "`FILE` with the authority that signed the server's certificate (variable MATCHCTL_CA)")
	flags.StringVar(&a.flags.given.Cert, "cert", "", "`FILE` with your certificate (variable MATCHCTL_CERT)")
	flags.StringVar(&a.flags.given.Key, "key", "", "`FILE` with its key (variable MATCHCTL_KEY)")
	flags.StringVar(&a.flags.given.ServerName, "server-name", "", "`NAME` in the server's certificate, if it is not the endpoint's (variable MATCHCTL_SERVER_NAME)")
	flags.DurationVar(&a.flags.timeout, "timeout", 0, "how long a call may take (default 30s, 15m where configs are rendered)")
	flags.StringVar(&a.flags.color, "color", "auto", "auto, always or never; NO_COLOR is honoured")
	_ = root.RegisterFlagCompletionFunc("context", a.completeContexts) // the flag is there
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
}

// connection gathers whom to call: flag, else variable, else context, else default.
func (a *app) connection() (connection, error) {
	config, file, err := a.loadConfig()
	if err != nil {
		return connection{}, err
	}
	chosen, err := config.choose(cmp.Or(a.flags.context, a.getenv("MATCHCTL_CONTEXT"), config.Current))
	if err != nil {
		return connection{}, err
	}
	given, dir := a.flags.given, filepath.Dir(file)
	return connection{
		Name:       chosen.Name,
		Endpoint:   cmp.Or(given.Endpoint, a.getenv("MATCHCTL_ENDPOINT"), chosen.Endpoint, client.DefaultEndpoint),
		CA:         cmp.Or(given.CA, a.getenv("MATCHCTL_CA"), below(dir, chosen.CA), defaultCA),
		Cert:       cmp.Or(given.Cert, a.getenv("MATCHCTL_CERT"), below(dir, chosen.Cert), defaultCert),
		Key:        cmp.Or(given.Key, a.getenv("MATCHCTL_KEY"), below(dir, chosen.Key), defaultKey),
		ServerName: cmp.Or(given.ServerName, a.getenv("MATCHCTL_SERVER_NAME"), chosen.ServerName),
	}, nil
}

// below reads a file name in the configuration: relative to the configuration's directory.
func below(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// connect makes the connection, once. It calls nobody yet.
func (a *app) connect() (*client.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	used, err := a.connection()
	if err != nil {
		return nil, err
	}
	a.used = used
	if err := client.CheckEndpoint(used.Endpoint); err != nil {
		return nil, usageError{err}
	}
	a.client, err = client.Dial(client.Options{
		Endpoint: used.Endpoint, CA: used.CA, Cert: used.Cert, Key: used.Key, ServerName: used.ServerName, Timeout: cmp.Or(a.flags.timeout, defaultTimeout),
	})
	if err != nil {
		return nil, &credentialsError{used, err}
	}
	return a.client, nil
}

// patient returns a context for one call that may take long.
func (a *app) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, cmp.Or(a.flags.timeout, applyTimeout))
}

func (a *app) close() {
	if a.client != nil {
		a.client.Close() // nothing is under way that could be lost
	}
}

// connected gives a command its connection.
func (a *app) connected(run func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		return run(cmd.Context(), c, args)
	}
}
