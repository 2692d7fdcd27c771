package main

import (
	"bytes"
	"context"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func (a *app) diffCommand() *cobra.Command {
	p := &applying{app: a}
	cmd := &cobra.Command{
		Use:   "diff -f FILE|DIR|-",
		Short: "show how files differ from what is served, down to each machine's config",
		Long: `Shows how files differ from what is served: a unified diff of every object that would change, and of the script and the config of
every machine that would get something else. Nothing is changed. Files, --prune and its scope are those of "apply".

Exit status: 0 no difference, 6 there is one, 1 the server would refuse it.`,
		Example: "  matchctl diff -f site/\n  matchctl diff -f fra/ --prune -l site=fra\n  matchctl diff -f site/ --color always | less -R",
		Args:    arguments(cobra.NoArgs),
	}
	p.fileFlags(cmd)
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, _ []string) error { return p.diff(ctx, c) })
	return cmd
}

func (p *applying) diff(ctx context.Context, c *client.Client) error {
	set, err := p.read(ctx, c)
	if err != nil {
		return err
	}
	plan, err := set.send(ctx, c, sending{dryRun: true, compare: p.compare})
	if err != nil {
		return err
	}
	differs, err := set.diffObjects(ctx, c, plan)
	if err != nil {
		return err
	}
	for _, m := range plan.GetMachines() {
		differs = true
		p.diffMachine(m)
	}
	if n := plan.GetMachinesOmitted(); n > 0 {
		p.err.painted(yellow, "%s not compared: --compare takes more", count(int(n), "machine"))
	}
	p.writeWarnings(plan.GetWarnings())
	if differs {
		return exitCode(exitDifferent)
	}
	return nil
}

// diffObjects shows every object that would change, and reports whether there is one.
func (s *changeset) diffObjects(ctx context.Context, c *client.Client, plan *matchdpb.ApplyResponse) (differs bool, err error) {
	for i, result := range plan.GetObjects() {
		if result.GetAction() == matchdpb.Action_ACTION_UNCHANGED {
			continue
		}
		differs = true
		before, after := "", ""
		name, place := client.Name(result.GetRef()), "deleted"
		if result.GetAction() != matchdpb.Action_ACTION_CREATED {
			served, err := nounOf(result.GetRef().GetKind()).get(ctx, c, result.GetRef().GetId())
			if err != nil {
				return differs, err
			}
			before = plainText(wrap(served))
		}
		if i < len(s.put) {
			after, place = plainText(s.put[i].pb), s.put[i].origin.file
		}
		s.writeDiff(name+" (served)", before, name+" ("+place+")", after)
	}
	return differs, nil
}

// plainText is an object as it is compared: a template's content, of others the YAML.
func plainText(o *matchdpb.Object) string {
	if t := o.GetTemplate(); t != nil {
		return string(t.GetContent())
	}
	var text bytes.Buffer
	_ = writeYAML(&text, desired(o)) // a buffer takes it
	return text.String()
}

// diffMachine shows what one machine would get instead.
func (a *app) diffMachine(m *matchdpb.MachineResult) {
	before, after := m.GetBefore(), m.GetAfter()
	head := func(o *matchdpb.MachineOutcome) string {
		text := "group: " + o.GetGroup() + "\nprofile: " + o.GetProfile() + "\n"
		if o.GetError() != "" {
			text += "error: " + o.GetError() + "\n"
		}
		return text
	}
	for _, part := range [...][3]string{
		{"", head(before), head(after)}, {" script", before.GetScript(), after.GetScript()}, {" config", before.GetConfig(), after.GetConfig()},
	} {
		a.writeDiff("machine "+m.GetMachine()+part[0]+" (now)", part[1], "machine "+m.GetMachine()+part[0]+" (then)", part[2])
	}
}

// writeDiff writes a unified diff; nothing if there is no difference.
func (a *app) writeDiff(oldName, before, newName, after string) {
	for line := range strings.Lines(string(diff.Diff(oldName, []byte(before), newName, []byte(after)))) {
		colour := ""
		switch {
		case strings.HasPrefix(line, "diff "):
			continue
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
			colour = bold
		case strings.HasPrefix(line, "@@"):
			colour = cyan
		case line[0] == '+':
			colour = green
		case line[0] == '-':
			colour = red
		}
		a.out.line("%s", a.out.paint(colour, printable(strings.TrimSuffix(line, "\n"))))
	}
}
