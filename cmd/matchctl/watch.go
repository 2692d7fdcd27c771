package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// pollEvery is how often what cannot be watched is looked at.
const pollEvery = 2 * time.Second

// follow shows what there is, and then what changes, until ctx ends.
func (g *getting) follow(ctx context.Context, c *client.Client, t target, q query, show *show) error {
	var err error
	switch {
	case t.noun.kind != 0:
		err = g.followObjects(ctx, c, t, q, show)
	case t.noun.document == "Event":
		err = g.followEvents(ctx, c, t, q, show)
	default:
		err = g.poll(ctx, c, t, q, show)
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// followObjects watches objects from one listing on.
func (g *getting) followObjects(ctx context.Context, c *client.Client, t target, q query, show *show) error {
	var first []proto.Message
	listing := true
	for change, err := range c.Watch(ctx, client.WatchOptions{Kinds: []matchdpb.Kind{t.noun.kind}}) {
		switch {
		case err != nil:
			return err
		case change.Complete && listing:
			listing = false
			if err := g.told(show, t.noun, first); err != nil {
				return err
			}
		case change.Put != nil:
			m := inner(change.Put)
			wanted, err := t.wants(m, q)
			if err != nil {
				return err
			}
			if wanted && listing {
				first = append(first, m)
			} else if wanted {
				err = g.told(show, t.noun, []proto.Message{m})
			}
			if err != nil {
				return err
			}
		case change.Deleted != nil && (len(t.ids) == 0 || slices.Contains(t.ids, change.Deleted.GetId())):
			g.gone(t.noun, change.Deleted.GetId(), change.Revision)
		}
	}
	return nil
}

// wants reports whether a target names a message.
func (t target) wants(m proto.Message, q query) (bool, error) {
	if len(t.ids) > 0 && !slices.Contains(t.ids, t.noun.id(m)) {
		return false, nil
	}
	return hasAll(t.noun, m, q.labels)
}

// told shows things that are there or have changed.
func (g *getting) told(show *show, n *noun, items []proto.Message) error {
	switch g.output {
	case "json":
		for _, m := range items {
			line, err := json.Marshal(record{{"type", "put"}, {"object", documentOf(n.document, m)}})
			if err != nil {
				return err
			}
			g.out.line("%s", line)
		}
		return nil
	case "yaml":
		for _, m := range items {
			g.out.line("---")
			if err := writeYAML(g.out, documentOf(n.document, m)); err != nil {
				return err
			}
		}
		return nil
	}
	return show.add(n, items)
}

// gone shows that something is there no more.
func (g *getting) gone(n *noun, id string, revision int64) {
	switch g.output {
	case "json":
		line, _ := json.Marshal(record{{"type", "deleted"}, {"kind", n.document}, {"id", id}, {"revision", revision}}) // of text and a number
		g.out.line("%s", line)
	case "yaml":
		g.out.line("---\n# deleted: %s/%s", n.name, id)
	case "name":
		g.out.line("%s/%s deleted", n.name, id)
	default:
		g.out.painted(dim, "%s  (deleted)", id)
	}
}

// followEvents shows events as they happen.
func (g *getting) followEvents(ctx context.Context, c *client.Client, t target, q query, show *show) error {
	request := &matchdpb.WatchEventsRequest{}
	switch len(t.ids) {
	case 0:
	case 1:
		request.Machine, request.FromStart = t.ids[0], true
	default:
		return usagef("-w follows the events of one machine, or of all")
	}
	stream, err := c.Timelines.WatchEvents(ctx, request)
	if err != nil {
		return err
	}
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := got.GetEvent()
		matches, err := hasAll(t.noun, e, q.labels)
		if err != nil {
			return err
		}
		if e != nil && matches {
			if err := g.told(show, t.noun, []proto.Message{e}); err != nil {
				return err
			}
		}
	}
}

// poll looks from time to time and shows what is new or differs.
func (g *getting) poll(ctx context.Context, c *client.Client, t target, q query, show *show) error {
	known := map[string]string{}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		items, err := g.items(ctx, c, t, q)
		if err != nil {
			return err
		}
		before := known
		known = make(map[string]string, len(items))
		var fresh []proto.Message
		for _, m := range items {
			id, text := t.noun.id(m), fmt.Sprint(recordOf(m))
			if before[id] != text {
				fresh = append(fresh, m)
			}
			known[id] = text
		}
		if err := g.told(show, t.noun, fresh); err != nil {
			return err
		}
		for _, id := range sortedKeys(before) {
			if _, there := known[id]; !there {
				g.gone(t.noun, id, 0)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
