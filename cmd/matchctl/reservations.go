package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func reservationNoun() *noun {
	return &noun{
		name: "reservation", plural: "reservations", short: "r", document: "Reservation", kind: matchdpb.Kind_KIND_RESERVATION,
		head: []string{"ADDRESS", "CLIENT", "HOSTNAME", "OWNER"}, wide: []string{"REVISION", "UPDATED"},
		row: row(func(r *matchdpb.Reservation, now time.Time) []string {
			who, meta := cmp.Or(r.GetMac(), prefixed("client-id ", r.GetClientId()), prefixed("circuit ", r.GetCircuitId())), r.GetMeta()
			return []string{r.GetId(), who, r.GetHostname(), owned(meta), fmt.Sprint(meta.GetRevision()), ago(now, meta.GetUpdatedAt())}
		}),
		id:   id((*matchdpb.Reservation).GetId),
		list: lister((*client.Client).AllReservations),
		get: func(ctx context.Context, c *client.Client, id string) (proto.Message, error) {
			got, err := c.Reservations.GetReservation(ctx, &matchdpb.GetReservationRequest{Id: id})
			return got.GetReservation(), err
		},
	}
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
