package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func timelineNoun() *noun {
	return &noun{
		name: "timeline", plural: "timelines", short: "tl", document: "Timeline",
		head: []string{"MAC", "HOSTNAME", "GROUP", "LAST", "WHEN", "DIAGNOSIS"}, wide: []string{"ADDRESS", "PROFILE", "UUID"},
		row: row(func(t *matchdpb.Timeline, now time.Time) []string {
			return []string{t.GetMac(), printable(t.GetHostname()), t.GetGroup(), t.GetLastStage(), ago(now, t.GetLastTime()), printable(t.GetDiagnosis()),
				t.GetAddress(), t.GetProfile(), printable(t.GetUuid())}
		}),
		tint: func(m proto.Message) string { return stageColour(m.(*matchdpb.Timeline).GetLastStage()) },
		id:   id((*matchdpb.Timeline).GetMac),
		list: lister((*client.Client).AllTimelines),
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			got, err := c.Timelines.GetTimeline(ctx, &matchdpb.GetTimelineRequest{Machine: id})
			return got.GetTimeline(), err
		},
		describe: func(ctx context.Context, d *description, m proto.Message) error {
			got, err := d.client.Timelines.GetTimeline(ctx, &matchdpb.GetTimelineRequest{Machine: m.(*matchdpb.Timeline).GetMac()})
			if err != nil {
				return err
			}
			d.section("Events")
			for _, e := range got.GetEvents() {
				d.line("  %s", eventLine(d.terminal, e))
			}
			return nil
		},
	}
}

// stageColour is the colour of what a machine did last.
func stageColour(stage string) string {
	switch stage {
	case "booted":
		return green
	case "failed", "error", "config-refused", "looping", "refused":
		return red
	case "not-matched", "held":
		return yellow
	}
	return ""
}
