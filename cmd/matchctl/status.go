package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "tell who you are to the server, and whether it is well",
		Long: `Tells which server answers, its version and revision, who you are to it and what you may see, and what is not well there, with what
to do about it.

Exit status: 0 it is ready, 1 it is not.`,
		Example: "  matchctl status\n  matchctl status --context lab -o json",
		Args:    arguments(cobra.NoArgs),
	}
	output := outputFlag(cmd, "text", "json", "yaml")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, _ []string) error {
		got, err := c.Status.GetStatus(ctx, &matchdpb.GetStatusRequest{})
		if err != nil {
			return err
		}
		if *output == "text" {
			a.writeStatus(got)
		} else if err := a.writeOne(*output, recordOf(got)); err != nil {
			return err
		}
		if !got.GetReady() {
			return exitCode(exitError)
		}
		return nil
	})
	return cmd
}

func (a *app) writeStatus(s *matchdpb.GetStatusResponse) {
	a.out.line("server    %s, version %s", a.used.Endpoint, s.GetVersion())
	if s.GetSite() != "" {
		a.out.line("site      %s", s.GetSite())
	}
	a.out.line("revision  %d", s.GetRevision())
	a.out.line("you       %s", identityText(s))
	if at := s.GetCertificateExpiresAt(); at != nil {
		a.out.line("expires   %s (its certificate, %s)", at.AsTime().Format(time.RFC3339), ago(a.now(), at))
	}
	if s.GetReady() {
		a.out.line("ready     %s", a.out.paint(green, "yes"))
	} else {
		a.out.line("ready     %s", a.out.paint(red, "no"))
	}
	for _, f := range s.GetFindings() {
		a.out.painted(levelColour(f.GetLevel()), "%-8s  %s", f.GetLevel(), printable(f.GetWhat()))
		if f.GetAdvice() != "" {
			a.out.line("          %s", printable(f.GetAdvice()))
		}
	}
}

func identityText(s *matchdpb.GetStatusResponse) string {
	text := fmt.Sprintf("%s, role %s", s.GetIdentity(), s.GetRole())
	if len(s.GetScope()) > 0 {
		text += ", bound to " + pairs(s.GetScope())
	}
	return text
}
