package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func profileNoun() *noun {
	return &noun{
		name: "profile", plural: "profiles", short: "p", document: "Profile", kind: matchdpb.Kind_KIND_PROFILE,
		head: []string{"ID", "KERNEL", "IGNITION", "OWNER"}, wide: []string{"GENERIC", "CLOUD", "SNIPPETS", "OS", "CONFIG", "REVISION", "UPDATED", "NAME"},
		row: row(func(p *matchdpb.Profile, now time.Time) []string {
			kernel, meta := p.GetBoot().GetKernel(), p.GetMeta()
			if kernel == "" {
				kernel = "(boots from disk)"
			}
			return []string{p.GetId(), kernel, p.GetIgnitionId(), owned(meta), p.GetGenericId(), p.GetCloudId(), list(p.GetSnippets()), p.GetOs(), p.GetConfig(),
				fmt.Sprint(meta.GetRevision()), ago(now, meta.GetUpdatedAt()), p.GetName()}
		}),
		id:   id((*matchdpb.Profile).GetId),
		list: lister((*client.Client).AllProfiles),
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			got, err := c.Profiles.GetProfile(ctx, &matchdpb.GetProfileRequest{Id: id})
			return got.GetProfile(), err
		},
		describe: describeProfile,
	}
}

// describeProfile adds the groups that use it.
func describeProfile(ctx context.Context, d *description, m proto.Message) error {
	var users []string
	for g, err := range d.client.AllGroups(ctx, nil) {
		if err != nil {
			d.note("groups", err)
			return unreachableOnly(err)
		}
		if g.GetProfile() == m.(*matchdpb.Profile).GetId() {
			users = append(users, fmt.Sprintf("%s  %s", g.GetId(), pairs(g.GetSelector())))
		}
	}
	d.list("Groups that use it", users)
	return nil
}

// templatesOf are the ids of the templates that a profile names.
func templatesOf(p *matchdpb.Profile) []string {
	var ids []string
	add := func(kind string, names ...string) {
		for _, name := range names {
			if name != "" {
				ids = append(ids, kind+"/"+name)
			}
		}
	}
	add("ignition", p.GetIgnitionId())
	add("ignition", p.GetSnippets()...)
	for _, names := range p.GetPlatformSnippets() {
		add("ignition", names.GetNames()...)
	}
	add("generic", p.GetGenericId())
	add("cloud", p.GetCloudId())
	slices.Sort(ids)
	return slices.Compact(ids)
}

// list writes names in one cell.
func list(names []string) string { return strings.Join(names, ",") }
