package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// deleting is one "delete".
type deleting struct {
	*app
	files, labels              []string
	dryRun, yes, ignoreMissing bool
	output                     string
}

func (a *app) deleteCommand() *cobra.Command {
	d := &deleting{app: a}
	cmd := &cobra.Command{
		Use:   "delete NOUN ID... | delete NOUN/ID... | delete -f FILE",
		Short: "delete objects, all in one revision or none",
		Long: `Deletes machines, groups, profiles, templates and reservations: all that are named in one revision, or none. What other objects still
name cannot be deleted. -l deletes groups or machines by their labels, prints which, and asks.`,
		Example:           "  matchctl delete group old-rack\n  matchctl delete group/a profile/a template/ignition/a.yaml --dry-run\n  matchctl delete groups -l site=fra",
		ValidArgsFunction: a.completeTargets,
	}
	output := outputFlag(cmd, "text", "json", "yaml", "name")
	cmd.Flags().StringArrayVarP(&d.files, "filename", "f", nil, "delete the objects of a `FILE`, directory or - for standard input")
	cmd.Flags().StringArrayVarP(&d.labels, "selector", "l", nil, "delete groups or machines with these labels, `NAME=VALUE[,…]`")
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "change nothing, say what would change")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&d.ignoreMissing, "ignore-not-found", false, "what is not there is no failure")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		d.output = *output
		return d.run(ctx, c, args)
	})
	return cmd
}

func (d *deleting) run(ctx context.Context, c *client.Client, args []string) error {
	refs, err := d.refs(ctx, c, args)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		d.err.line("There is nothing to delete.")
		return nil
	}
	if len(d.labels) > 0 && !d.dryRun {
		if err := d.confirm(refs, d.yes); err != nil {
			return err
		}
	}
	set := &changeset{app: d.app, deleted: refs}
	result, err := set.send(ctx, c, sending{dryRun: d.dryRun, compare: defaultCompare})
	if err != nil {
		return err
	}
	if d.dryRun {
		return d.writePlan(result, d.output)
	}
	return d.writeResult(result, d.output)
}

// refs finds what is to be deleted.
func (d *deleting) refs(ctx context.Context, c *client.Client, args []string) ([]*matchdpb.Ref, error) {
	if len(d.files) > 0 {
		if len(args)+len(d.labels) > 0 {
			return nil, usagef("delete takes -f, or objects by name or by -l")
		}
		objects, err := d.readObjects(ctx, d.files)
		if err != nil {
			return nil, err
		}
		return d.existing(ctx, c, objects)
	}
	if len(args) == 0 {
		return nil, usagef("delete what? Give NOUN ID, NOUN/ID or -f FILE")
	}
	targets, err := parseTargets(args)
	if err != nil {
		return nil, err
	}
	var refs []*matchdpb.Ref
	for _, t := range targets {
		found, err := d.target(ctx, c, t)
		if err != nil {
			return nil, err
		}
		refs = append(refs, found...)
	}
	return refs, nil
}

func (d *deleting) target(ctx context.Context, c *client.Client, t target) ([]*matchdpb.Ref, error) {
	switch {
	case t.noun.kind == 0:
		return nil, usagef("%s cannot be deleted: they tell what happened", t.noun.plural)
	case len(d.labels) > 0 && (len(t.ids) > 0 || !t.noun.labelled):
		return nil, usagef("-l deletes groups or machines, without ids")
	case len(d.labels) > 0:
		labels, err := parseLabels("-l", d.labels)
		if err != nil {
			return nil, err
		}
		var refs []*matchdpb.Ref
		for m, err := range t.noun.list(ctx, c, query{labels: labels}) {
			if err != nil {
				return nil, err
			}
			matches, err := hasAll(t.noun, m, labels)
			if err != nil {
				return nil, err
			}
			if o := wrap(m); matches && metaOf(o).GetOwner() == "" {
				refs = append(refs, refOf(o))
			}
		}
		return refs, nil
	case len(t.ids) == 0:
		return nil, usagef("which %s? Give ids, or -l", t.noun.plural)
	}
	var refs []*matchdpb.Ref
	for _, id := range t.ids {
		ref, err := d.find(ctx, c, t.noun, id)
		if err != nil {
			return nil, err
		}
		if ref != nil {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// find names an object as the server does; nil if it may be missing and is.
func (d *deleting) find(ctx context.Context, c *client.Client, n *noun, id string) (*matchdpb.Ref, error) {
	m, err := n.get(ctx, c, id)
	switch {
	case client.IsNotFound(err) && d.ignoreMissing:
		return nil, nil
	case err != nil:
		return nil, d.notFound(ctx, c, n, id, err)
	}
	return refOf(wrap(m)), nil
}

func (d *deleting) existing(ctx context.Context, c *client.Client, objects []object) ([]*matchdpb.Ref, error) {
	var refs []*matchdpb.Ref
	var missing []error
	for i := range objects {
		wanted := refOf(objects[i].pb)
		ref, err := d.find(ctx, c, nounOf(wanted.GetKind()), wanted.GetId())
		switch {
		case client.IsNotFound(err):
			missing = append(missing, err)
		case err != nil:
			return nil, err
		case ref != nil:
			refs = append(refs, ref)
		}
	}
	return refs, errors.Join(missing...)
}
