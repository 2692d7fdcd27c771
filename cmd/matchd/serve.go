package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "answer DHCP, TFTP and HTTP until stopped",
		Long: `Serves machines until it gets SIGTERM or SIGINT; running transfers are then finished.

Without settings it is a proxy: it never gives an address, answers boot clients on the default route's interface beside the
DHCP server that is there, and sends machines that no group wants to their disk. It needs root, or CAP_NET_BIND_SERVICE and
CAP_NET_RAW.

A site directory is watched. A change is applied as a whole once it is free of problems; until then the last good state
goes on being served, and the log, /readyz and /metrics on the admin listener say what is wrong.`,
		Example: `  sudo matchd serve --site /srv/site
  sudo matchd serve --site /var/lib/matchbox --dhcp-interfaces eth1=proxy
  sudo matchd serve --site /srv/site --dhcp-interfaces eth1=server \
      --dhcp-subnets '{subnet: 10.0.0.0/24, pools: [10.0.0.100-10.0.0.200], options: {router: [10.0.0.1]}}'`,
		Args: arguments(cobra.NoArgs),
	}
	matchbox := addMatchbox(cmd)
	return matchbox.versioned(configured(cmd, func(cmd *cobra.Command, cfg matchd.Config, _ []string) error {
		return serve(cmd.Context(), cfg, cmd.ErrOrStderr())
	}, matchbox.adjust))
}

// gcPercent trades a little time for memory: most of what a daemon holds is snapshots and timelines that live long.
const gcPercent = 50

func serve(ctx context.Context, cfg matchd.Config, stderr io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log, err := newLogger(stderr, cfg.LogLevel, cfg.LogFormat)
	if err != nil {
		return err
	}
	server, err := matchd.New(ctx, cfg, matchd.Options{Logger: log, Version: version, Built: buildTime()})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return server.Run(ctx)
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var min slog.Level
	if err := min.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log_level: %w", err)
	}
	options := &slog.HandlerOptions{Level: min}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// buildTime returns when this binary's source was committed; zero if it was built without make.
func buildTime() time.Time {
	t, err := time.Parse(time.RFC3339, built)
	if err != nil {
		return time.Time{}
	}
	return t
}
