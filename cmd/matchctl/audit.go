package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func auditNoun() *noun {
	return &noun{
		name: "audit", plural: "audit", short: "au", document: "AuditRecord",
		head: []string{"WHEN", "WHO", "ROLE", "CALL", "OBJECTS", "CODE"}, wide: []string{"PEER", "BEFORE", "AFTER", "ERROR"},
		row: row(func(r *matchdpb.AuditRecord, now time.Time) []string {
			_, method, _ := strings.Cut(r.GetMethod(), "/matchd.v1.")
			if method == "" {
				method = r.GetMethod()
			}
			return []string{ago(now, r.GetTime()), r.GetIdentity(), r.GetRole(), method, auditObjects(r), r.GetCode(), r.GetPeer(),
				fmt.Sprint(r.GetRevisionBefore()), fmt.Sprint(r.GetRevisionAfter()), printable(r.GetError())}
		}),
		tint: func(m proto.Message) string {
			if m.(*matchdpb.AuditRecord).GetCode() != "OK" {
				return yellow
			}
			return ""
		},
		id:   id(func(r *matchdpb.AuditRecord) string { return fmt.Sprint(r.GetSeq()) }),
		list: listAudit,
	}
}

func auditObjects(r *matchdpb.AuditRecord) string {
	names := make([]string, 0, len(r.GetObjects()))
	for _, ref := range r.GetObjects() {
		names = append(names, client.Name(ref))
	}
	if r.GetMoreObjects() > 0 {
		names = append(names, fmt.Sprintf("and %d more", r.GetMoreObjects()))
	}
	return strings.Join(names, ",")
}

// listAudit lists records, the latest first; those about single objects if some are named.
func listAudit(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		refs := []*matchdpb.Ref{nil}
		if len(q.ids) > 0 {
			refs = nil
			for _, name := range q.ids {
				word, id, _ := strings.Cut(name, "/")
				n, err := findNoun(word)
				if err != nil || id == "" || n.kind == 0 {
					yield(nil, usagef("audit is about objects, such as group/worker, not %q", name))
					return
				}
				refs = append(refs, &matchdpb.Ref{Kind: n.kind, Id: id})
			}
		}
		for _, ref := range refs {
			if !listAuditOf(ctx, c, q, ref, yield) {
				return
			}
		}
	}
}

func listAuditOf(ctx context.Context, c *client.Client, q query, about *matchdpb.Ref, yield func(proto.Message, error) bool) bool {
	request := &matchdpb.ListAuditRecordsRequest{Object: about, Identity: q.labels["identity"]}
	if !q.since.IsZero() {
		request.Since = timestamppb.New(q.since)
	}
	for {
		got, err := c.Audit.ListAuditRecords(ctx, request)
		if err != nil {
			return yield(nil, err)
		}
		for _, r := range got.GetRecords() {
			if !yield(r, nil) {
				return false
			}
		}
		if request.PageToken = got.GetNextPageToken(); request.PageToken == "" {
			return true
		}
	}
}
