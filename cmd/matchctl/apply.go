package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// defaultCompare is how many machines a plan compares, unless --compare says otherwise.
const defaultCompare = 100

// applying is one "apply" or "diff".
type applying struct {
	*app
	files   []string
	scope   scope
	dryRun  bool
	yes     bool
	compare int32
	output  string
}

func (a *app) applyCommand() *cobra.Command {
	p := &applying{app: a}
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "create and change objects as files say, all in one revision or none",
		Long: `Creates and changes objects as files say: all of them in one revision, or none. Before anything is accepted the server renders what
every machine concerned would get, and lists every problem with file, line and column.

A FILE holds YAML documents or JSON with kind: Machine, Group, Profile, Template or Reservation, as "get -o yaml" writes them. With a
meta.revision in it, an object is written only over that revision: what somebody else changed meanwhile is refused. A DIR is
a site directory (groups/, profiles/, ignition/, generic/, cloud/), or holds such files, or both. "-" is standard input.

--dry-run changes nothing and says what would change, by object and by machine: its group, its profile, its script, its config.

--prune deletes, too, and only what a scope covers that must be given, that this API owns, and that the files do not have:
  -l site=fra   groups that select at least site=fra, machines that have that label, and those profiles and templates that no
                other group leads to once these groups are gone
  --all         everything of the kinds that the files hold
It prints what it deletes and asks; without a terminal it needs --yes.

Exit status: 1 if the server refuses the change; nothing has changed then.`,
		Example: "  matchctl apply -f site/ --dry-run\n  matchctl apply -f site/\n  matchctl apply -f fra/ --prune -l site=fra\n  matchctl get group worker -o yaml | sed s/stable/next/ | matchctl apply -f -",
		Args:    arguments(cobra.NoArgs),
	}
	output := outputFlag(cmd, "text", "json", "yaml", "name")
	p.fileFlags(cmd)
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "change nothing, say what would change")
	cmd.Flags().BoolVarP(&p.yes, "yes", "y", false, "do not ask before something is deleted")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, _ []string) error {
		p.output = *output
		return p.apply(ctx, c)
	})
	return cmd
}

// fileFlags adds what "apply" and "diff" have in common.
func (p *applying) fileFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&p.files, "filename", "f", nil, "`FILE`, directory, or - for standard input; may be given again")
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json") // the flag is there
	cmd.Flags().BoolVar(&p.scope.prune, "prune", false, "delete what the scope covers and the files do not have")
	cmd.Flags().StringArrayVarP(&p.scope.selector, "selector", "l", nil, "scope of --prune: groups and machines with these labels, `NAME=VALUE[,…]`")
	cmd.Flags().BoolVar(&p.scope.all, "all", false, "scope of --prune: every object of the kinds that the files hold")
	cmd.Flags().Int32Var(&p.compare, "compare", defaultCompare, "how many machines at most are compared in a plan")
}

// read gathers the objects of the files, and what they and the scope make of them.
func (p *applying) read(ctx context.Context, c *client.Client) (*changeset, error) {
	if len(p.files) == 0 {
		return nil, usagef("which files? Give -f FILE, -f DIR, or -f -")
	}
	if err := p.scope.check(); err != nil {
		return nil, err
	}
	objects, err := p.readObjects(ctx, p.files)
	if err != nil {
		return nil, err
	}
	set := &changeset{app: p.app, put: objects}
	if p.scope.prune {
		done := p.progress("looking for what is to be deleted")
		set.deleted, err = p.scope.find(ctx, c, objects)
		done()
	}
	return set, err
}

func (p *applying) apply(ctx context.Context, c *client.Client) error {
	set, err := p.read(ctx, c)
	if err != nil {
		return err
	}
	if p.dryRun {
		plan, err := set.send(ctx, c, sending{dryRun: true, compare: p.compare})
		if err != nil {
			return err
		}
		return p.writePlan(plan, p.output)
	}
	if err := p.confirm(set.deleted, p.yes); err != nil {
		return err
	}
	result, err := set.send(ctx, c, sending{})
	if err != nil {
		return err
	}
	return p.writeResult(result, p.output)
}

// confirm shows what will be deleted and asks whether that is meant.
func (a *app) confirm(deleted []*matchdpb.Ref, yes bool) error {
	if len(deleted) == 0 {
		return nil
	}
	a.err.painted(yellow, "Will be deleted:")
	for _, ref := range deleted {
		a.err.line("  %s", client.Name(ref))
	}
	if yes {
		return nil
	}
	if !isTerminal(a.in) {
		return usagef("nobody can be asked whether that is meant: add --yes, or look first with --dry-run")
	}
	fmt.Fprintf(a.err, "Delete %s? [y/N] ", count(len(deleted), "object"))
	answer, _ := bufio.NewReader(a.in).ReadString('\n') // an end without an answer is a no
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		a.err.line("Nothing has changed.")
		return exitCode(exitError)
	}
	return nil
}

// changeset is what shall be changed in one revision.
type changeset struct {
	*app
	put      []object
	deleted  []*matchdpb.Ref
	revision *int64         // precondition of the one object that is put; nil: what its file says
	places   map[string]int // of put, by name; see index
}

// sending says how a changeset is sent.
type sending struct {
	dryRun  bool
	compare int32
}

// send hands everything to the server. Problems that it finds are told of the files that things came from.
func (s *changeset) send(ctx context.Context, c *client.Client, how sending) (*matchdpb.ApplyResponse, error) {
	request := &matchdpb.ApplyRequest{DryRun: how.dryRun, CompareMachines: how.compare}
	for i := range s.put {
		request.Changes = append(request.Changes, &matchdpb.Change{Change: &matchdpb.Change_Put{Put: s.put[i].pb}, Revision: s.precondition(i)})
	}
	for _, ref := range s.deleted {
		request.Changes = append(request.Changes, &matchdpb.Change{Change: &matchdpb.Change_Delete{Delete: ref}})
	}
	verb := "applying"
	if how.dryRun {
		verb = "trying"
	}
	done := s.progress("%s %s", verb, count(len(request.Changes), "object"))
	defer done()
	ctx, cancel := s.patient(ctx)
	defer cancel()
	response, err := c.Changes.Apply(ctx, request)
	return response, s.placed(err)
}

// precondition is the revision that the n-th object must be of: the one that its file was made from. nil: any.
func (s *changeset) precondition(n int) *int64 {
	if s.revision != nil {
		return s.revision
	}
	if seen := metaOf(s.put[n].pb).GetRevision(); seen != 0 {
		return &seen
	}
	return nil
}
