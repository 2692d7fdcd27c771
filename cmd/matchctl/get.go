package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// defaultSince is how far back "get events" looks.
const defaultSince = time.Hour

// getting is one "get".
type getting struct {
	*app
	output string
	labels []string
	watch  bool
	all    bool
	since  time.Duration
}

func (a *app) getCommand() *cobra.Command {
	g := &getting{app: a}
	cmd := &cobra.Command{
		Use:   "get NOUN [ID]... | get NOUN/ID...",
		Short: "list objects, leases, timelines, events, assets, audit records",
		Long: `Lists what there is of a noun, or the ones that are named.

  -o table  for people, times as distances from now (the default)
  -o wide   the same with more columns, nothing cut
  -o json   for programs, times in RFC 3339; one thing is a document, several are a List
  -o yaml   the same as YAML; objects can be given to "apply" again
  -o name   NOUN/ID, one a line

-l filters groups by their selectors and machines by their labels; of everything else by fields as JSON has them, such as -l
state=active or -l level=error.

-w goes on with what changes, until interrupted: objects and events as it happens, the others by looking every two seconds. With
-o json each change is one line.

"get events" takes machines as ids, and shows the last hour unless --since says otherwise. "get audit" takes objects as ids, such as
group/worker.`,
		Example: "  matchctl get timelines\n  matchctl get groups -l site=fra -o wide\n  matchctl get group/worker profile/worker -o yaml\n" +
			"  matchctl get events 52:54:00:a1:9c:ae --since 10m\n  matchctl get leases -l state=active -w\n  matchctl get audit group/worker",
		Args: arguments(cobra.MinimumNArgs(1)), ValidArgsFunction: a.completeTargets,
	}
	output := outputFlag(cmd, "table", "wide", "json", "yaml", "name")
	cmd.Flags().StringArrayVarP(&g.labels, "selector", "l", nil, "only those with these labels, `NAME=VALUE[,…]`")
	cmd.Flags().BoolVarP(&g.watch, "watch", "w", false, "go on with what changes")
	cmd.Flags().BoolVar(&g.all, "all", false, "also leases that are over")
	cmd.Flags().DurationVar(&g.since, "since", 0, "only events and audit records that are not older")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		g.output = *output
		return g.run(ctx, c, args)
	})
	return cmd
}

func (g *getting) run(ctx context.Context, c *client.Client, args []string) error {
	targets, err := parseTargets(args)
	if err != nil {
		return err
	}
	if g.watch && len(targets) > 1 {
		return usagef("-w watches one noun at a time")
	}
	labels, err := parseLabels("-l", g.labels)
	if err != nil {
		return err
	}
	q := query{labels: labels, all: g.all}
	if g.since != 0 {
		q.since = g.now().Add(-g.since)
	}
	show := g.newShow()
	for _, t := range targets {
		if err := g.target(ctx, c, t, q, show); err != nil {
			return err
		}
	}
	return show.finish()
}

// target shows one noun.
func (g *getting) target(ctx context.Context, c *client.Client, t target, q query, show *show) error {
	if t.noun.document == "Event" && q.since.IsZero() && len(t.ids) == 0 {
		q.since = g.now().Add(-defaultSince)
	}
	if g.watch {
		return g.follow(ctx, c, t, q, show)
	}
	items, err := g.items(ctx, c, t, q)
	if err != nil {
		return err
	}
	if len(items) == 0 && (g.output == "table" || g.output == "wide") {
		g.nothing(t.noun, q)
	}
	return show.add(t.noun, items)
}

// nothing says on the other stream that a table is empty.
func (g *getting) nothing(n *noun, q query) {
	switch {
	case len(q.labels) > 0:
		g.err.line("There are no %s with %s.", n.things(), pairs(q.labels))
	case n.name == "machine":
		g.err.line("Nobody has said anything of single machines. Those that were seen: matchctl get timelines")
	case n.name == "event":
		g.err.line("There were no events since %s. Further back: --since 24h", q.since.Format(time.DateTime))
	default:
		g.err.line("There are no %s.", n.things())
	}
}

// items fetches what a target names.
func (g *getting) items(ctx context.Context, c *client.Client, t target, q query) ([]proto.Message, error) {
	var found []proto.Message
	if len(t.ids) > 0 && t.noun.get != nil {
		for _, id := range t.ids {
			m, err := t.noun.get(ctx, c, id)
			if err != nil {
				return nil, g.notFound(ctx, c, t.noun, id, err)
			}
			found = append(found, m)
		}
		return filter(t.noun, found, q.labels)
	}
	q.ids = t.ids
	for m, err := range t.noun.list(ctx, c, q) {
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return filter(t.noun, found, q.labels)
}

// filter keeps what has all the labels, or of nouns without labels all the fields.
func filter(n *noun, items []proto.Message, labels map[string]string) ([]proto.Message, error) {
	if len(labels) == 0 {
		return items, nil
	}
	var kept []proto.Message
	for _, m := range items {
		matches, err := hasAll(n, m, labels)
		if err != nil {
			return nil, err
		}
		if matches {
			kept = append(kept, m)
		}
	}
	return kept, nil
}

func hasAll(n *noun, m proto.Message, labels map[string]string) (bool, error) {
	for name, want := range labels {
		var got string
		switch m := m.(type) {
		case *matchdpb.Machine:
			got = m.GetLabels()[name]
		case *matchdpb.Group:
			got, want = sameNotation(name, m.GetSelector()[name], want)
		default:
			field := m.ProtoReflect().Descriptor().Fields().ByTextName(name)
			if field == nil || field.IsList() || field.IsMap() || field.Message() != nil {
				return false, usagef("-l %s: a %s %w", name, n.name, errNoLabels)
			}
			got = fmt.Sprint(single(field, m.ProtoReflect().Get(field)))
		}
		if got != want {
			return false, nil
		}
	}
	return true, nil
}

// sameNotation makes two values of a label comparable: a hardware address may be written in any notation.
func sameNotation(name, x, y string) (string, string) {
	if strings.EqualFold(name, "mac") {
		normalX, err := groups.NormalizeMAC(x)
		normalY, err2 := groups.NormalizeMAC(y)
		if err == nil && err2 == nil {
			return normalX, normalY
		}
	}
	return x, y
}

// show writes items in the form that was asked for.
type show struct {
	*app
	output string
	watch  bool
	items  []record // for json and yaml
	tables map[string]*table
}

func (g *getting) newShow() *show {
	return &show{app: g.app, output: g.output, watch: g.watch, tables: map[string]*table{}}
}

// add shows items, or keeps them for finish.
func (s *show) add(n *noun, items []proto.Message) error {
	switch s.output {
	case "name":
		for _, m := range items {
			s.out.line("%s/%s", n.name, n.id(m))
		}
	case "json", "yaml":
		for _, m := range items {
			s.items = append(s.items, documentOf(n.document, m))
		}
	default:
		s.table(n, items)
	}
	return nil
}

// table shows rows; further ones of the noun keep to the columns.
func (s *show) table(n *noun, items []proto.Message) {
	t := s.tables[n.name]
	if t == nil {
		t = &table{head: n.head, whole: s.output == "wide"}
		if s.output == "wide" {
			t.head = slices.Concat(n.head, n.wide)
		}
		if len(s.tables) > 0 {
			s.out.line("")
		}
		s.tables[n.name] = t
		if len(items) == 0 && !s.watch {
			return
		}
	}
	for _, m := range items {
		tint := ""
		if n.tint != nil {
			tint = n.tint(m)
		}
		t.add(tint, n.row(m, s.now()))
	}
	t.write(s.out)
}

// finish writes what json and yaml have gathered.
func (s *show) finish() error {
	switch {
	case s.watch:
		return nil
	case s.output == "json" && len(s.items) == 1:
		return writeJSON(s.out, s.items[0])
	case s.output == "json":
		items := s.items
		if items == nil {
			items = []record{}
		}
		return writeJSON(s.out, record{{"kind", "List"}, {"items", items}})
	case s.output == "yaml":
		return writeStream(s.out, s.items)
	}
	return nil
}

// writeStream writes YAML documents.
func writeStream(out terminal, items []record) error {
	for i, item := range items {
		if i > 0 {
			out.line("---")
		}
		if err := writeYAML(out, item); err != nil {
			return err
		}
	}
	return nil
}

// writeOne writes a message as JSON or YAML.
func (a *app) writeOne(output string, r record) error {
	if output == "yaml" {
		return writeYAML(a.out, r)
	}
	return writeJSON(a.out, r)
}

func (a *app) writeVersion(output string) error {
	if output == "text" {
		a.out.line("matchctl %s", cmp.Or(version, "unknown"))
		return nil
	}
	return a.writeOne(output, record{{"version", version}, {"built", built}})
}
