package main

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func groupNoun() *noun {
	return &noun{
		name: "group", plural: "groups", short: "g", document: "Group", kind: matchdpb.Kind_KIND_GROUP, labelled: true,
		head: []string{"ID", "PROFILE", "SELECTOR", "OWNER"}, wide: []string{"PRIORITY", "SNIPPETS", "REVISION", "UPDATED", "NAME"},
		row: row(func(g *matchdpb.Group, now time.Time) []string {
			selector, meta := pairs(g.GetSelector()), g.GetMeta()
			if selector == "" {
				selector = "(every machine)"
			}
			return []string{g.GetId(), g.GetProfile(), selector, owned(meta), fmt.Sprint(g.GetPriority()), list(g.GetSnippets()),
				fmt.Sprint(meta.GetRevision()), ago(now, meta.GetUpdatedAt()), g.GetName()}
		}),
		id: id((*matchdpb.Group).GetId),
		list: func(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error] {
			labels := maps.Clone(q.labels)
			// The server compares text; a hardware address may be written otherwise in the group, and "get" looks at that itself.
			maps.DeleteFunc(labels, func(name, _ string) bool { return strings.EqualFold(name, "mac") })
			return messages(c.AllGroups(ctx, labels))
		},
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			got, err := c.Groups.GetGroup(ctx, &matchdpb.GetGroupRequest{Id: id})
			return got.GetGroup(), err
		},
		describe: describeGroup,
	}
}

// describeGroup adds the profile, and the machines that were given to the group last.
func describeGroup(ctx context.Context, d *description, m proto.Message) error {
	g := m.(*matchdpb.Group)
	d.section("Profile")
	got, err := d.client.Profiles.GetProfile(ctx, &matchdpb.GetProfileRequest{Id: g.GetProfile()})
	if err != nil {
		d.note("profile/"+g.GetProfile(), err)
		return unreachableOnly(err)
	}
	d.fields(documentOf("Profile", got.GetProfile()).without("kind").without("meta"))
	var machines []string
	for timeline, err := range d.client.AllTimelines(ctx) {
		if err != nil {
			d.note("machines", err)
			return unreachableOnly(err)
		}
		if timeline.GetGroup() == g.GetId() {
			machines = append(machines, fmt.Sprintf("%s  %s", timeline.GetMac(), printable(timeline.GetDiagnosis())))
		}
	}
	d.list("Machines that were last matched to it", machines)
	return nil
}
