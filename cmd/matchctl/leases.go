package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func leaseNoun() *noun {
	return &noun{
		name: "lease", plural: "leases", short: "l", document: "Lease",
		head: []string{"ADDRESS", "CLIENT", "HOSTNAME", "STATE", "EXPIRES"}, wide: []string{"STARTED", "FIRMWARE", "RESERVED"},
		row: row(func(l *matchdpb.Lease, now time.Time) []string {
			return []string{l.GetAddress(), cmp.Or(l.GetMac(), prefixed("client-id ", l.GetClientId())), printable(l.GetHostname()), l.GetState(),
				ago(now, l.GetExpiresAt()), ago(now, l.GetStartAt()), fmt.Sprint(l.GetFirmware()), fmt.Sprint(l.GetReserved())}
		}),
		id: id((*matchdpb.Lease).GetAddress),
		list: func(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error] {
			return messages(c.AllLeases(ctx, q.all))
		},
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			for lease, err := range c.AllLeases(ctx, true) {
				if err != nil || lease.GetAddress() == id || lease.GetMac() == id {
					return lease, err
				}
			}
			return nil, fault.New(fault.NotFound, "there is no lease %q", id)
		},
	}
}
