package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// asking is what "explain" and "render" ask: one machine, and what its request tells.
type asking struct {
	labels []string
}

func (q *asking) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&q.labels, "label", nil, "label `NAME=VALUE` that the machine's request tells; may be given again")
}

func (q *asking) query(machine string) (*matchdpb.Query, error) {
	labels, err := parseLabels("--label", q.labels)
	return &matchdpb.Query{Machine: machine, Labels: labels}, err
}

func (a *app) explainCommand() *cobra.Command {
	var q asking
	var limit int32
	cmd := &cobra.Command{
		Use:   "explain MAC",
		Short: "say which group a machine belongs to, which nearly match, and why",
		Long: `Says which group a machine belongs to: the groups that match, in the order in which they are asked, and those that nearly match with
the labels that differ. The machine is named by its hardware address, UUID or hostname; what the server knows of it counts as it does
for a real request, and --label adds what its request would tell.

Exit status: 0 a group matches, 1 none does.`,
		Example: "  matchctl explain 52:54:00:a1:9c:ae\n  matchctl explain 52:54:00:a1:9c:ae --label os=installed -o json",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeMachine,
	}
	output := outputFlag(cmd, "text", "json", "yaml")
	q.flags(cmd)
	cmd.Flags().Int32Var(&limit, "limit", 5, "how many groups besides the winner are told about")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		query, err := q.query(args[0])
		if err != nil {
			return err
		}
		found, err := c.Boot.Explain(ctx, &matchdpb.ExplainRequest{Query: query, Limit: limit})
		if err != nil {
			return err
		}
		if *output == "text" {
			a.writeExplanation(found)
		} else if err := a.writeOne(*output, recordOf(found)); err != nil {
			return err
		}
		if found.GetGroup() == "" {
			return exitCode(exitError)
		}
		return nil
	})
	return cmd
}

func (a *app) writeExplanation(found *matchdpb.ExplainResponse) {
	a.out.painted(bold, "%s", printable(found.GetText()))
	a.out.line("")
	a.out.painted(bold, "Labels")
	for _, name := range sortedKeys(found.GetLabels()) {
		a.out.line("  %-12s %s", printable(name), printable(found.GetLabels()[name]))
	}
	near := false
	for i, candidate := range found.GetCandidates() {
		if candidate.GetMatches() && i == 0 {
			a.out.line("")
			a.out.painted(bold, "Groups that match, in the order in which they are asked")
		}
		if !candidate.GetMatches() && !near {
			near = true
			a.out.line("")
			a.out.painted(bold, "Groups that nearly match")
		}
		a.writeCandidate(candidate, candidate.GetGroup() == found.GetGroup(), found.GetProfile())
	}
}

func (a *app) writeCandidate(candidate *matchdpb.Candidate, wins bool, profile string) {
	text, colour := fmt.Sprintf("  %-20s", candidate.GetGroup()), ""
	if wins {
		text, colour = fmt.Sprintf("* %-20s → profile %s", candidate.GetGroup(), profile), green
	}
	var reasons []string
	for _, d := range candidate.GetDifferences() {
		got := "none"
		if d.GetGot() != "" {
			got = fmt.Sprintf("%q", d.GetGot())
		}
		reasons = append(reasons, fmt.Sprintf("wants %s %q, got %s", d.GetLabel(), d.GetWant(), got))
	}
	if len(reasons) > 0 {
		text += " " + strings.Join(reasons, "; ")
	}
	if candidate.GetOwner() != "" {
		text += "  (" + candidate.GetOwner() + ")"
	}
	a.out.painted(colour, "%s", strings.TrimRight(text, " "))
}

// renderForms are the outputs of "render".
var renderForms = []string{"all", "ignition", "documents", "script", "grub", "generic", "cloud", "metadata", "json", "yaml"}

func (a *app) renderCommand() *cobra.Command {
	var q asking
	var provenance bool
	cmd := &cobra.Command{
		Use:   "render MAC",
		Short: "show what a machine gets: script, kernel arguments, config",
		Long: `Shows what a machine gets from the server now, or what keeps it from getting it.

  -o all        group, profile, script and config, for people (the default)
  -o ignition   the Ignition config, byte for byte as it is sent
  -o documents  the documents that it is made of, after their templates have run
  -o script     the iPXE script; -o grub, generic, cloud and metadata alike
  -o json       all of it, for programs; -o yaml

Exit status: 0 it would boot, 1 it would not, or what was asked for is not there.`,
		Example: "  matchctl render 52:54:00:a1:9c:ae\n  matchctl render 52:54:00:a1:9c:ae -o ignition | jq .\n  matchctl render 52:54:00:a1:9c:ae --provenance",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeMachine,
	}
	output := outputFlag(cmd, renderForms...)
	q.flags(cmd)
	cmd.Flags().BoolVar(&provenance, "provenance", false, "tell which document each file, unit and user of the config came from")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		query, err := q.query(args[0])
		if err != nil {
			return err
		}
		got, err := c.Boot.Render(ctx, &matchdpb.RenderRequest{Query: query, Provenance: provenance})
		if err != nil {
			return err
		}
		return a.writeRendered(got, *output)
	})
	return cmd
}

func (a *app) writeRendered(got *matchdpb.RenderResponse, output string) error {
	parts := map[string][]byte{
		"ignition": got.GetIgnition(), "script": []byte(got.GetScript()), "grub": []byte(got.GetGrub()), "generic": got.GetGeneric(),
		"cloud": got.GetCloud(), "metadata": []byte(got.GetMetadata()), "documents": documentsText(got),
	}
	switch part, single := parts[output]; {
	case output == "all":
		a.writeAll(got)
	case !single:
		if err := a.writeOne(output, recordOf(got)); err != nil {
			return err
		}
	case len(part) == 0:
		a.writeProblems(got.GetProblems())
		return fmt.Errorf("group %q with profile %q gives no %s", got.GetGroup(), got.GetProfile(), output)
	default:
		if _, err := a.out.Write(part); err != nil {
			return err
		}
		a.writeProblems(got.GetProblems())
	}
	if len(got.GetProblems()) > 0 {
		return exitCode(exitError)
	}
	return nil
}

func documentsText(got *matchdpb.RenderResponse) []byte {
	var text strings.Builder
	for _, t := range got.GetDocuments() {
		fmt.Fprintf(&text, "# %s\n%s\n", templateID(t), strings.TrimRight(string(t.GetContent()), "\n"))
	}
	return []byte(text.String())
}

func (a *app) writeAll(got *matchdpb.RenderResponse) {
	a.out.line("group    %s", cmp.Or(got.GetGroup(), "none"))
	a.out.line("profile  %s", cmp.Or(got.GetProfile(), "none"))
	for _, part := range [...][2]string{{"Script", got.GetScript()}, {"Generic", string(got.GetGeneric())}, {"Cloud", string(got.GetCloud())}} {
		if part[1] != "" {
			a.out.line("")
			a.out.painted(bold, "%s", part[0])
			a.out.indented(part[1])
		}
	}
	if len(got.GetIgnition()) > 0 {
		a.out.line("")
		a.out.painted(bold, "Config: Ignition %s, %d bytes", got.GetIgnitionVersion(), len(got.GetIgnition()))
		a.out.indented(indentedJSON(got.GetIgnition()))
	}
	if len(got.GetProvenance()) > 0 {
		a.out.line("")
		a.out.painted(bold, "Provenance")
	}
	for _, p := range got.GetProvenance() {
		a.out.line("  %-12s %-36s %s", p.GetKind(), p.GetName(), strings.Join(p.GetDocuments(), " + "))
	}
	a.writeProblems(got.GetProblems())
}

func (a *app) writeProblems(problems []*matchdpb.Problem) {
	for _, p := range problems {
		a.err.painted(red, "problem: %s", printableLines(client.Describe(p)))
	}
}

// firmwares are those that "simulate" knows.
var firmwares = []string{"bios", "ovmf", "ovmf-http", "ipxe", "arm64"}

func (a *app) simulateCommand() *cobra.Command {
	var firmware string
	var facts []string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "simulate MAC",
		Short: "play a machine's whole boot on the server, without touching anything",
		Long: `Plays a machine's whole boot with pretend firmware against what the server serves now: each packet and what was decided about it, each
file with its size, the script, the config. No network is touched, no lease given, and the machine's own timeline stays as it is.

  --firmware bios       PXE of a BIOS
  --firmware ovmf       PXE of UEFI (the default)
  --firmware ovmf-http  UEFI HTTP Boot
  --firmware ipxe       iPXE in the network card
  --firmware arm64      PXE of UEFI on ARM 64-bit

Exit status: 0 it would boot, 1 it would not.`,
		Example: "  matchctl simulate 52:54:00:a1:9c:ae --firmware bios\n  matchctl simulate 52:54:00:a1:9c:ae --fact serial=CZ123 -v",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeMachine,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.Flags().StringVar(&firmware, "firmware", "ovmf", strings.Join(firmwares, ", "))
	cmd.Flags().StringArrayVar(&facts, "fact", nil, "what SMBIOS tells, `NAME=VALUE`: uuid, serial, manufacturer, product, asset")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print scripts and configs, too")
	_ = cmd.RegisterFlagCompletionFunc("firmware", cobra.FixedCompletions(firmwares, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		if !slices.Contains(firmwares, firmware) {
			return usagef("--firmware %q is none of %s", firmware, strings.Join(firmwares, ", "))
		}
		known, err := parseLabels("--fact", facts)
		if err != nil {
			return err
		}
		s := &simulating{app: a, json: *output == "json", verbose: verbose}
		return s.run(ctx, c, &matchdpb.SimulateRequest{Mac: args[0], Firmware: firmware, Facts: known})
	})
	return cmd
}
