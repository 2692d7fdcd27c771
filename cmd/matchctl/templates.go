package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func templateNoun() *noun {
	return &noun{
		name: "template", plural: "templates", short: "t", document: "Template", kind: matchdpb.Kind_KIND_TEMPLATE,
		head: []string{"ID", "SIZE", "OWNER"}, wide: []string{"REVISION", "UPDATED"},
		row: row(func(t *matchdpb.Template, now time.Time) []string {
			meta := t.GetMeta()
			return []string{templateID(t), size(int64(len(t.GetContent()))), owned(meta), fmt.Sprint(meta.GetRevision()), ago(now, meta.GetUpdatedAt())}
		}),
		id:   id(templateID),
		list: lister((*client.Client).AllTemplates),
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			if !strings.Contains(id, "/") {
				return nil, usagef("a template's id is KIND/NAME, such as ignition/%s", id)
			}
			got, err := c.Templates.GetTemplate(ctx, &matchdpb.GetTemplateRequest{Id: id})
			return got.GetTemplate(), err
		},
		describe: describeTemplate,
	}
}

func templateID(t *matchdpb.Template) string { return t.GetKind() + "/" + t.GetName() }

// templateNames lists ids without contents.
func templateNames(ctx context.Context, c *client.Client) iter.Seq2[*matchdpb.Template, error] {
	return func(yield func(*matchdpb.Template, error) bool) {
		for token := ""; ; {
			got, err := c.Templates.ListTemplates(ctx, &matchdpb.ListTemplatesRequest{PageToken: token, NamesOnly: true})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, t := range got.GetTemplates() {
				if !yield(t, nil) {
					return
				}
			}
			if token = got.GetNextPageToken(); token == "" {
				return
			}
		}
	}
}

// describeTemplate adds the profiles and groups that name it.
func describeTemplate(ctx context.Context, d *description, m proto.Message) error {
	wanted := templateID(m.(*matchdpb.Template))
	var profiles, groups []string
	for p, err := range d.client.AllProfiles(ctx) {
		if err != nil {
			d.note("profiles", err)
			return unreachableOnly(err)
		}
		if slices.Contains(templatesOf(p), wanted) {
			profiles = append(profiles, p.GetId())
		}
	}
	for g, err := range d.client.AllGroups(ctx, nil) {
		if err != nil {
			d.note("groups", err)
			return unreachableOnly(err)
		}
		if slices.ContainsFunc(g.GetSnippets(), func(name string) bool { return "ignition/"+name == wanted }) {
			groups = append(groups, g.GetId())
		}
	}
	d.list("Profiles that name it", profiles)
	d.list("Groups that name it as a snippet", groups)
	return nil
}
