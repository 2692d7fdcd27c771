package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func eventNoun() *noun {
	return &noun{
		name: "event", plural: "events", short: "ev", document: "Event",
		head: []string{"WHEN", "MACHINE", "STAGE", "MESSAGE"}, wide: []string{"PEER", "BYTES", "ERROR"},
		row: row(func(e *matchdpb.Event, now time.Time) []string {
			sent := ""
			if e.GetBytes() > 0 {
				sent = size(e.GetBytes())
			}
			return []string{ago(now, e.GetTime()), cmp.Or(e.GetMac(), e.GetUuid()), e.GetStage(), printable(e.GetMessage()), e.GetPeer(), sent, printable(e.GetError())}
		}),
		tint: func(m proto.Message) string { return levelColour(m.(*matchdpb.Event).GetLevel()) },
		id:   id(func(e *matchdpb.Event) string { return fmt.Sprint(e.GetSeq()) }),
		list: listEvents,
	}
}

// listEvents gathers the events of the given machines, else of all that were seen since the query's time, oldest first.
func listEvents(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		events, err := gatherEvents(ctx, c, q)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func gatherEvents(ctx context.Context, c *client.Client, q query) ([]*matchdpb.Event, error) {
	machines := q.ids
	if len(machines) == 0 {
		for timeline, err := range c.AllTimelines(ctx) {
			if err != nil {
				return nil, err
			}
			if timeline.GetLastTime().AsTime().Before(q.since) {
				break // the last seen come first
			}
			machines = append(machines, cmp.Or(timeline.GetMac(), timeline.GetUuid()))
		}
	}
	var events []*matchdpb.Event
	for _, machine := range machines {
		got, err := c.Timelines.GetTimeline(ctx, &matchdpb.GetTimelineRequest{Machine: machine})
		if client.IsNotFound(err) && len(q.ids) == 0 {
			continue // forgotten meanwhile
		}
		if err != nil {
			return nil, err
		}
		events = append(events, got.GetEvents()...)
	}
	events = slices.DeleteFunc(events, func(e *matchdpb.Event) bool { return e.GetTime().AsTime().Before(q.since) })
	slices.SortFunc(events, func(x, y *matchdpb.Event) int { return cmp.Compare(x.GetSeq(), y.GetSeq()) })
	return events, nil
}

// levelColour is the colour of an event.
func levelColour(level string) string {
	switch level {
	case "warn", "warning":
		return yellow
	case "error":
		return red
	}
	return ""
}

// eventLine writes one event for people, as "trace" does.
func eventLine(t terminal, e *matchdpb.Event) string {
	line := fmt.Sprintf("%s  %-14s  %s", e.GetTime().AsTime().Local().Format("15:04:05.000"), e.GetStage(), printable(e.GetMessage()))
	if e.GetBytes() > 0 {
		line += "  (" + progressOf(e) + ")"
	}
	if e.GetError() != "" {
		line += ": " + printable(e.GetError())
	}
	return t.paint(cmp.Or(levelColour(e.GetLevel()), stageColour(e.GetStage())), line)
}

// progressOf says how much was sent, and of how much.
func progressOf(e *matchdpb.Event) string {
	text := size(e.GetBytes())
	if e.GetTotal() > e.GetBytes() {
		text = fmt.Sprintf("%s of %s", text, size(e.GetTotal()))
	}
	if e.GetDurationMs() > 0 {
		text += fmt.Sprintf(" in %s", time.Duration(e.GetDurationMs())*time.Millisecond)
	}
	return text
}
