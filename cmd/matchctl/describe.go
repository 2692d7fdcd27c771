package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/rpc/client"
)

// description writes everything about one thing, for people.
type description struct {
	terminal
	client *client.Client
	now    time.Time
}

func (a *app) describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe NOUN ID... | describe NOUN/ID...",
		Short: "tell everything about one thing, and what uses it",
		Long: `Tells everything about the things that are named: their fields, and what uses them or belongs to them. A machine is described
whether an operator has said anything of it or not: labels, group, lease, what it did last and why it did not boot.`,
		Example: "  matchctl describe machine 52:54:00:a1:9c:ae\n  matchctl describe profile worker\n  matchctl describe template/ignition/worker.yaml",
		Args:    arguments(cobra.MinimumNArgs(1)), ValidArgsFunction: a.completeTargets,
	}
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		targets, err := parseTargets(args)
		if err != nil {
			return err
		}
		d := &description{a.out, c, a.now()}
		first := true
		for _, t := range targets {
			if t.noun.get == nil {
				return usagef("single %s cannot be described: matchctl get %s -o yaml", t.noun.plural, t.noun.plural)
			}
			if len(t.ids) == 0 {
				return usagef("which %s? Give an id: matchctl get %s", t.noun.name, t.noun.plural)
			}
			for _, id := range t.ids {
				if !first {
					d.line("")
				}
				first = false
				if err := a.describe(ctx, d, t.noun, id); err != nil {
					return a.notFound(ctx, c, t.noun, id, err)
				}
			}
		}
		return nil
	})
	return cmd
}

func (a *app) describe(ctx context.Context, d *description, n *noun, id string) error {
	if n.name == "machine" {
		return a.describeMachine(ctx, d, id)
	}
	m, err := n.get(ctx, d.client, id)
	if err != nil {
		return err
	}
	d.fields(documentOf(n.document, m))
	if n.describe == nil {
		return nil
	}
	return n.describe(ctx, d, m)
}

// fields writes a record, one field a line.
func (d *description) fields(r record) { d.nested(r, "") }

func (d *description) nested(r record, indent string) {
	for _, e := range r {
		name := d.paint(cyan, e.name+":")
		switch value := e.value.(type) {
		case record:
			d.line("%s%s", indent, name)
			d.nested(value, indent+"  ")
		case map[string]any:
			d.line("%s%s", indent, name)
			for _, key := range sortedKeys(value) {
				d.line("%s  %s: %v", indent, printable(key), printable(fmt.Sprint(value[key])))
			}
		case []any:
			d.line("%s%s", indent, name)
			for _, element := range value {
				d.line("%s  - %s", indent, printable(fmt.Sprint(element)))
			}
		case string:
			d.text(indent, name, value)
		default:
			d.line("%s%s %v", indent, name, value)
		}
	}
}

// text writes a string: a time with its distance from now, several lines below each other.
func (d *description) text(indent, name, value string) {
	if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
		how := distance(d.now.Sub(at)) + " ago"
		if at.After(d.now) {
			how = "in " + distance(at.Sub(d.now))
		}
		d.line("%s%s %s (%s)", indent, name, value, how)
		return
	}
	if !strings.Contains(value, "\n") {
		d.line("%s%s %s", indent, name, printable(value))
		return
	}
	d.line("%s%s", indent, name)
	for line := range strings.Lines(value) {
		d.line("%s  %s", indent, printable(strings.TrimRight(line, "\r\n")))
	}
}

func (d *description) section(title string) {
	d.line("")
	d.painted(bold, "%s", title)
}

// list writes names below a title.
func (d *description) list(title string, items []string) {
	d.section(title)
	if len(items) == 0 {
		d.line("  none")
	}
	for _, item := range items {
		d.line("  %s", item)
	}
}

// note says that a part could not be told.
func (d *description) note(what string, err error) {
	d.painted(yellow, "(%s: %s)", what, printableLines(err.Error()))
}

// nearest is how many ids that are alike are suggested.
const nearest = 3

// notFound adds ids that are alike to an error that says that there is no such thing.
func (a *app) notFound(ctx context.Context, c *client.Client, n *noun, id string, err error) error {
	if !client.IsNotFound(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	known := n.ids(ctx, c)
	var near []string
	for len(near) < nearest {
		next := trial.Suggest(id, known)
		if next == "" {
			break
		}
		near = append(near, fmt.Sprintf("%q", next))
		known = without(known, next)
	}
	switch {
	case len(near) > 0:
		return fmt.Errorf("%w\nDid you mean %s?", err, strings.Join(near, " or "))
	case len(known) == 0:
		return fmt.Errorf("%w (there are no %s at all)", err, n.plural)
	}
	return fmt.Errorf("%w\nWhat there is: matchctl get %s", err, n.plural)
}

func without(words []string, word string) []string {
	var kept []string
	for _, w := range words {
		if w != word {
			kept = append(kept, w)
		}
	}
	return kept
}
