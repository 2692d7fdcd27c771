package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/profiles"
)

func renderCommand() *cobra.Command {
	var output string
	var provenance bool
	var q question
	cmd := &cobra.Command{
		Use:   "render --site DIR --mac MAC",
		Short: "show what a machine would get: script, kernel arguments, config",
		Long: `Reads a site directory and shows what a machine with these labels would get from "matchd serve", or everything that keeps it from
getting it.

  -o all       group, profile, kernel, arguments, script and config, for people (the default)
  -o ignition  the Ignition config, byte for byte as it is sent; with config: pointer, as the pointer leads to it
  -o butane    the documents that it is made of, after their templates have run
  -o script    the iPXE script
  -o grub      the GRUB config
  -o json      all of it, for programs; where there is nothing to show, {"ok": false, …} with what validate says, or the reason

Exit status: 0 the machine would boot, 1 it would not, or the site has problems.`,
		Example: "  matchd render --site /srv/site --mac 52:54:00:a1:9c:ae\n" +
			"  matchd render --site . --mac 52:54:00:a1:9c:ae --label os=installed -o ignition | jq .\n" +
			"  matchd render --site . --mac 52:54:00:a1:9c:ae --provenance",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if outputs := []string{"all", "ignition", "butane", "script", "grub", "json"}; !slices.Contains(outputs, output) {
				return usageError{fmt.Errorf("render: --output %q is none of %s", output, strings.Join(outputs, ", "))}
			}
			if provenance && output != "all" && output != "json" {
				return usageError{fmt.Errorf("render: --output %s has no room for --provenance: use it with all or json", output)}
			}
			a, err := q.load(cmd.Context())
			if err == nil {
				err = a.render(cmd.Context(), cmd.OutOrStdout(), output, provenance)
			}
			if err != nil && output == "json" {
				err = refuseJSON(cmd.OutOrStdout(), err)
			}
			return err
		},
	}
	q.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "all", "all, ignition, butane, script, grub or json")
	cmd.Flags().BoolVar(&provenance, "provenance", false, "tell which document each file, unit and user of the config came from")
	return cmd
}

// render writes one form of output.
func (a *answer) render(ctx context.Context, w io.Writer, output string, provenance bool) error {
	selection, err := a.snapshot.Match(a.subject.Labels)
	if err != nil {
		return err
	}
	switch output {
	case "ignition":
		config, err := a.planner.Own(ctx, a.subject.Ask)
		if err == nil {
			_, err = w.Write(config.JSON)
		}
		return err
	case "butane":
		return a.writeDocuments(ctx, w, selection)
	case "script", "grub":
		return a.writeScript(ctx, w, output)
	}
	got := inspect.Render(ctx, a.snapshot, a.planner, a.subject, inspect.RenderOptions{Provenance: provenance})
	if len(got.Problems) > 0 {
		return got.Problems[0]
	}
	shown := a.everything(got)
	if output == "json" {
		return writeJSON(w, shown)
	}
	shown.write(terminal{w, isTerminal(w)})
	return nil
}

func (a *answer) writeScript(ctx context.Context, w io.Writer, output string) error {
	plan, err := a.planner.Plan(ctx, a.subject.Ask)
	if err != nil {
		return err
	}
	script := plan.IPXE()
	if output == "grub" {
		script = plan.GRUB()
	}
	_, err = w.Write(script)
	return err
}

func (a *answer) writeDocuments(ctx context.Context, w io.Writer, selection catalog.Selection) error {
	documents, err := a.snapshot.Documents(ctx, selection, a.subject.Request())
	if err != nil {
		return err
	}
	for _, document := range documents {
		fmt.Fprintf(w, "# %s\n%s\n", document.File, strings.TrimRight(document.Text, "\n"))
	}
	return nil
}

// rendered is all that a machine would get, as JSON.
type rendered struct {
	Labels   map[string]string `json:"labels"`
	Group    string            `json:"group"`
	Profile  string            `json:"profile"`
	Boot     *renderedBoot     `json:"boot,omitempty"`     // absent: the profile configures installed systems only
	Ignition *renderedConfig   `json:"ignition,omitempty"` // absent: the profile has none
	Sources  []render.Source   `json:"provenance,omitempty"`
	Warnings []site.Problem    `json:"warnings"`

	groupFile, profileFile string
}

type renderedBoot struct {
	Kernel  string   `json:"kernel"`
	Initrds []string `json:"initrds"`
	Args    []string `json:"args"`
	Script  string   `json:"script"`
}

type renderedConfig struct {
	Version string          `json:"version"`
	Digest  string          `json:"sha256"`
	Bytes   int             `json:"bytes"`
	Sent    string          `json:"sent,omitempty"` // how it reaches the machine, for people; absent: /ignition answers it
	Config  json.RawMessage `json:"config"`
}

// everything puts what the machine gets into the form for people and programs.
func (a *answer) everything(got *inspect.Rendering) *rendered {
	selection := got.Selection
	shown := &rendered{
		Labels: a.subject.Labels, Group: selection.Group.ID, Profile: selection.Profile.ID, Sources: got.Sources, Warnings: []site.Problem{},
		groupFile: a.snapshot.GroupFile(selection.Group), profileFile: a.snapshot.ProfileFile(selection.Profile),
	}
	if selection.Profile.Boot.Kernel != "" {
		shown.Boot = bootOf(got.Plan)
	}
	if config := got.Config; config != nil {
		shown.Ignition = &renderedConfig{config.Version, config.Digest, len(config.JSON), delivery(selection.Profile, shown.Boot), config.JSON}
		shown.Warnings = append(shown.Warnings, siteProblems(config.Warnings)...)
	}
	return shown
}

// delivery says how a machine gets its config, if not simply by /ignition; boot is nil for a profile that boots nothing.
func delivery(profile *profiles.Profile, boot *renderedBoot) string {
	embedded := boot != nil && slices.Contains(boot.Args, "initrd="+configImage)
	switch {
	case profile.Config == profiles.ConfigPointer && embedded:
		return "by HTTPS, to who has the pointer; the pointer comes in the initrd " + configImage + ", and is what /ignition answers"
	case profile.Config == profiles.ConfigPointer:
		return "by HTTPS, to who has the pointer; the pointer is what /ignition answers"
	case embedded:
		return "in the initrd " + configImage + ", and by /ignition"
	}
	return ""
}

const configImage = boot.ConfigImageName

func bootOf(plan *boot.Plan) *renderedBoot {
	b := &renderedBoot{Kernel: plan.Kernel, Initrds: []string{}, Args: plan.Args, Script: string(plan.IPXE())}
	for _, initrd := range plan.Initrds {
		b.Initrds = append(b.Initrds, initrd.URL)
	}
	return b
}

func (r *rendered) write(t terminal) {
	t.line("group    %s (%s)", r.Group, r.groupFile)
	t.line("profile  %s (%s)", r.Profile, r.profileFile)
	if r.Boot != nil {
		t.line("kernel   %s", r.Boot.Kernel)
		for _, initrd := range r.Boot.Initrds {
			t.line("initrd   %s", initrd)
		}
		for _, arg := range r.Boot.Args {
			t.line("arg      %s", arg)
		}
		t.line("")
		t.heading("script")
		t.indented([]byte(r.Boot.Script))
	}
	for _, warning := range r.Warnings {
		t.warning("warning: %v", warning)
	}
	if r.Ignition == nil {
		return
	}
	t.line("")
	t.heading("config: Ignition %s, %d bytes, SHA-256 %s", r.Ignition.Version, r.Ignition.Bytes, r.Ignition.Digest)
	if r.Ignition.Sent != "" {
		t.line("  sent %s", r.Ignition.Sent)
	}
	var pretty strings.Builder
	if writeJSON(&pretty, r.Ignition.Config) == nil {
		t.indented([]byte(pretty.String()))
	}
	if len(r.Sources) > 0 {
		t.line("")
		t.heading("provenance")
	}
	for _, source := range r.Sources {
		t.line("  %-12s %-36s %s", source.Kind, source.Name, strings.Join(source.Documents, " + "))
	}
}

func (t terminal) indented(text []byte) {
	for line := range strings.Lines(string(text)) {
		t.line("  %s", strings.TrimSuffix(line, "\n"))
	}
}
