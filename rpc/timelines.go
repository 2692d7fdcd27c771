package rpc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// EventLog keeps the timelines. An [event.Log] does.
type EventLog interface {
	// Machines returns every machine, the last heard of first.
	Machines() []event.Summary
	// Timeline returns one machine's by MAC address, UUID or hostname.
	Timeline(name string) (event.Timeline, bool)
	// Subscribe returns all events from now on, until ctx ends. Unavailable: too many follow already.
	Subscribe(ctx context.Context) (<-chan event.Delivery, error)
}

type timelineService struct {
	matchdpb.UnimplementedTimelinesServer
	events    EventLog
	inspector Inspector
	sendTime  time.Duration // how long a message may wait for its reader
}

// timelineToken says where a listing goes on. Machines with news since the listing began have left their place in it: they come last, by address,
// perhaps for the second time.
type timelineToken struct {
	Began time.Time   `json:"b"`           // time of the first machine of the first page
	Last  time.Time   `json:"l,omitzero"`  // of the last machine that was listed; zero: the rest is newer than Began
	MAC   machine.MAC `json:"m,omitempty"` // that machine
}

func (t timelineToken) String() string {
	text, _ := json.Marshal(t) // times and text cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseTimelineToken(token string) (t timelineToken, err error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil || t.Began.IsZero() {
		return t, fault.New(fault.Invalid, "page_token: %.40q is none of ours", token)
	}
	return t, nil
}

// ListTimelines implements matchdpb.TimelinesServer.
func (s *timelineService) ListTimelines(ctx context.Context, request *matchdpb.ListTimelinesRequest) (*matchdpb.ListTimelinesResponse, error) {
	size, err := pageOf(request.GetPageSize(), usualPage, mostPage)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(s.events.Machines(), func(m event.Summary) bool { return !s.visible(ctx, m.MAC) })
	response := &matchdpb.ListTimelinesResponse{}
	if len(list) == 0 {
		return response, nil
	}
	token := timelineToken{Began: list[0].LastTime, Last: list[0].LastTime.Add(1)}
	if given := request.GetPageToken(); given != "" {
		if token, err = parseTimelineToken(given); err != nil {
			return nil, err
		}
	}
	rest := token.rest(list)
	page := rest[:min(size, len(rest))]
	for i := range page {
		response.Timelines = append(response.Timelines, timelineMessage(ctx, &page[i]))
	}
	if len(page) < len(rest) {
		last := &page[len(page)-1]
		token.MAC, token.Last = last.MAC, last.LastTime
		if last.LastTime.After(token.Began) {
			token.Last = time.Time{}
		}
		response.NextPageToken = token.String()
	}
	return response, nil
}

// rest returns what is still to be listed, in its order.
func (t timelineToken) rest(list []event.Summary) []event.Summary {
	var old, fresh []event.Summary
	for _, m := range list {
		switch {
		case m.LastTime.After(t.Began):
			if !t.Last.IsZero() || m.MAC > t.MAC {
				fresh = append(fresh, m)
			}
		case t.Last.IsZero():
		case m.LastTime.Before(t.Last), m.LastTime.Equal(t.Last) && m.MAC > t.MAC:
			old = append(old, m)
		}
	}
	slices.SortFunc(fresh, func(a, b event.Summary) int { return strings.Compare(string(a.MAC), string(b.MAC)) })
	return append(old, fresh...)
}

func (s *timelineService) visible(ctx context.Context, mac machine.MAC) bool {
	return visible(ctx, s.inspector, mac)
}

// GetTimeline implements matchdpb.TimelinesServer.
func (s *timelineService) GetTimeline(ctx context.Context, request *matchdpb.GetTimelineRequest) (*matchdpb.GetTimelineResponse, error) {
	timeline, err := s.timeline(ctx, request.GetMachine())
	if err != nil {
		return nil, err
	}
	response := &matchdpb.GetTimelineResponse{Timeline: timelineMessage(ctx, &timeline.Summary)}
	response.Timeline.Diagnosis = conceal(ctx, timeline.Diagnosed.Text)
	for i := range timeline.Events {
		response.Events = append(response.Events, eventMessage(ctx, &timeline.Events[i]))
	}
	return response, nil
}

func (s *timelineService) timeline(ctx context.Context, name string) (event.Timeline, error) {
	timeline, found := s.events.Timeline(name)
	if !found || !s.visible(ctx, timeline.MAC) {
		return event.Timeline{}, fault.New(fault.NotFound, "there is no timeline of a machine %.80q: it was never heard of, or too long ago", name)
	}
	return timeline, nil
}

// WatchEvents implements matchdpb.TimelinesServer.
func (s *timelineService) WatchEvents(request *matchdpb.WatchEventsRequest, stream grpc.ServerStreamingServer[matchdpb.WatchEventsResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel() // ends the subscription as soon as the client is given up
	w := &eventWatch{service: s, ctx: ctx, name: request.GetMachine(), fromStart: request.GetFromStart(), last: map[machine.MAC]uint64{}}
	if err := w.find(); err != nil {
		return err
	}
	deliveries, err := s.events.Subscribe(ctx) // before the past is read, so that nothing is missed between
	if err != nil {
		return err
	}
	return guarded(stream, s.sendTime, func(send func(*matchdpb.WatchEventsResponse) error) error {
		w.send = send
		return w.run(deliveries)
	})
}

// eventWatch is one client that follows events.
type eventWatch struct {
	service   *timelineService
	ctx       context.Context
	name      string      // as the client has it; empty: all machines
	mac       machine.MAC // that it stands for; empty while a name stands for nobody
	fromStart bool
	send      func(*matchdpb.WatchEventsResponse) error
	last      map[machine.MAC]uint64 // sequence number of the last event that was sent from a machine's past
}

// find resolves the name. A MAC address need not have been heard of yet, a name must.
func (w *eventWatch) find() error {
	if w.name == "" {
		return nil
	}
	m, found := w.service.inspector.Find(w.name)
	if !found || m.MAC == "" || !sees(w.ctx, m) {
		return errUnseen(w.name)
	}
	w.mac = m.MAC
	return nil
}

func (w *eventWatch) run(deliveries <-chan event.Delivery) error {
	if err := w.past(); err != nil {
		return err
	}
	for {
		select {
		case <-w.ctx.Done():
			return w.ctx.Err()
		case d, open := <-deliveries:
			switch {
			case !open:
				return w.ctx.Err()
			case d.Missed > 0:
				return errSlow("events came faster than they were read")
			case d.Seq <= w.last[d.MAC] || !w.wants(&d.Event):
				continue
			}
			if err := w.tell(&d.Event); err != nil {
				return err
			}
		}
	}
}

// past sends what is on the timelines already, one machine after the other, each oldest first.
func (w *eventWatch) past() error {
	if !w.fromStart {
		return nil
	}
	names := []string{w.mac.String()}
	if w.mac == "" {
		names = names[:0]
		for _, m := range w.service.events.Machines() {
			names = append(names, m.MAC.String())
		}
	}
	for _, name := range names {
		timeline, found := w.service.events.Timeline(name)
		if !found || !w.service.visible(w.ctx, timeline.MAC) {
			continue
		}
		for i := range timeline.Events {
			if err := w.tell(&timeline.Events[i]); err != nil {
				return err
			}
			w.last[timeline.MAC] = timeline.Events[i].Seq
		}
	}
	return nil
}

func (w *eventWatch) wants(e *event.Event) bool {
	if w.mac != "" && e.MAC != w.mac {
		return false
	}
	return w.service.visible(w.ctx, e.MAC)
}

// tell sends an event; of one machine, with its diagnosis as it is now.
func (w *eventWatch) tell(e *event.Event) error {
	response := &matchdpb.WatchEventsResponse{Event: eventMessage(w.ctx, e)}
	if w.mac != "" {
		if timeline, found := w.service.events.Timeline(w.mac.String()); found {
			response.Diagnosis = conceal(w.ctx, event.Diagnose(upTo(timeline.Events, e.Seq), e.Time).Text)
		}
	}
	return w.send(response)
}

// upTo returns the events up to a sequence number.
func upTo(events []event.Event, seq uint64) []event.Event {
	for len(events) > 1 && events[len(events)-1].Seq > seq {
		events = events[:len(events)-1]
	}
	return events
}

func timelineMessage(ctx context.Context, m *event.Summary) *matchdpb.Timeline {
	return &matchdpb.Timeline{
		Mac: m.MAC.String(), Uuid: m.UUID, Hostname: m.Hostname, Address: m.Address, Group: m.Group, Profile: m.Profile,
		LastStage: string(m.LastStage), LastTime: timestamppb.New(m.LastTime), Diagnosis: conceal(ctx, m.Diagnosis),
	}
}

func eventMessage(ctx context.Context, e *event.Event) *matchdpb.Event {
	message := &matchdpb.Event{
		Seq: e.Seq, Time: timestamppb.New(e.Time), Mac: e.MAC.String(), Uuid: valid([]byte(e.UUID)), Stage: string(e.Stage), Level: string(e.Level), Peer: e.Peer,
		Message: conceal(ctx, valid([]byte(e.Message))), Bytes: e.Bytes, Total: e.Total, DurationMs: e.DurationMS, Error: conceal(ctx, valid([]byte(e.Error))),
	}
	if len(e.Attrs) > 0 {
		message.Attrs = make(map[string]string, len(e.Attrs))
		for name, value := range e.Attrs {
			message.Attrs[valid([]byte(name))] = conceal(ctx, valid([]byte(value)))
		}
	}
	return message
}
