package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func machineNoun() *noun {
	return &noun{
		name: "machine", plural: "machines", short: "m", document: "Machine", kind: matchdpb.Kind_KIND_MACHINE, labelled: true,
		head: []string{"MAC", "NAME", "LABELS", "OWNER"}, wide: []string{"LOADER", "EXIT METHOD", "REVISION", "UPDATED"},
		row: row(func(m *matchdpb.Machine, now time.Time) []string {
			meta := m.GetMeta()
			return []string{m.GetId(), m.GetName(), pairs(m.GetLabels()), owned(meta), m.GetLoader(), m.GetExitMethod(), fmt.Sprint(meta.GetRevision()), ago(now, meta.GetUpdatedAt())}
		}),
		id: id((*matchdpb.Machine).GetId),
		list: func(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error] {
			return messages(c.AllMachines(ctx, q.labels))
		},
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			got, err := c.Machines.GetMachine(ctx, &matchdpb.GetMachineRequest{Id: id})
			return got.GetMachine(), err
		},
	}
}

// describeMachine tells everything about one machine, whether an operator has said anything of it or not.
func (a *app) describeMachine(ctx context.Context, d *description, id string) error {
	told, err := d.client.Machines.GetMachine(ctx, &matchdpb.GetMachineRequest{Id: id})
	seen, seenErr := d.client.Timelines.GetTimeline(ctx, &matchdpb.GetTimelineRequest{Machine: id})
	switch {
	case err != nil && !client.IsNotFound(err) && !client.IsInvalid(err):
		return err
	case seenErr != nil && !client.IsNotFound(seenErr):
		return seenErr
	case err != nil && seenErr != nil:
		return err
	}
	if err == nil {
		d.fields(documentOf("Machine", told.GetMachine()))
	} else {
		d.line("%s  nobody has said anything of it; it was seen", d.paint(bold, id))
	}
	if seenErr == nil {
		d.section("Seen")
		d.fields(recordOf(seen.GetTimeline()))
	}
	explained, err := d.client.Boot.Explain(ctx, &matchdpb.ExplainRequest{Query: &matchdpb.Query{Machine: id}, Limit: 1})
	switch {
	case err == nil:
		d.section("Group")
		d.line("  %s", printable(explained.GetText()))
	case client.IsUnreachable(err):
		return err
	default:
		d.note("group", err)
	}
	return d.machineAddresses(ctx, seen.GetTimeline().GetMac(), told.GetMachine().GetId())
}

// machineAddresses tells which addresses a machine has.
func (d *description) machineAddresses(ctx context.Context, macs ...string) error {
	for lease, err := range d.client.AllLeases(ctx, false) {
		if err != nil {
			d.note("leases", err)
			return unreachableOnly(err)
		}
		for _, mac := range macs {
			if mac != "" && lease.GetMac() == mac {
				d.section("Lease")
				d.fields(recordOf(lease))
				return nil
			}
		}
	}
	return nil
}

// unreachableOnly lets pass what a description can do without.
func unreachableOnly(err error) error {
	if client.IsUnreachable(err) {
		return err
	}
	return nil
}

// pairs writes labels as "a=1,b=2".
func pairs(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for _, name := range sortedKeys(labels) {
		list = append(list, name+"="+labels[name])
	}
	return strings.Join(list, ",")
}

// errNoLabels says that -l has nothing to look at.
var errNoLabels = errors.New("has no labels and no such field")
