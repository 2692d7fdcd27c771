package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// server plays one stream after the other: lines such as "put 3 a", "deleted 4 a", "bookmark 4", or an error.
type server struct {
	matchdpb.ChangesClient
	streams [][]any
	asked   []int64
}

func (s *server) Watch(_ context.Context, r *matchdpb.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[matchdpb.WatchResponse], error) {
	s.asked = append(s.asked, r.GetAfterRevision())
	if len(s.streams) == 0 {
		return nil, errFinal
	}
	played := &stream{lines: s.streams[0]}
	s.streams = s.streams[1:]
	return played, nil
}

type stream struct {
	grpc.ServerStreamingClient[matchdpb.WatchResponse]
	lines []any
}

func (s *stream) Recv() (*matchdpb.WatchResponse, error) {
	if len(s.lines) == 0 {
		return nil, io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	if err, is := line.(error); is {
		return nil, err
	}
	var what, id string
	var revision int64
	_, _ = fmt.Sscan(line.(string), &what, &revision, &id) // a bookmark has no id
	response := &matchdpb.WatchResponse{Revision: revision}
	switch what {
	case "put":
		response.Event = &matchdpb.WatchResponse_Put{Put: &matchdpb.Object{Object: &matchdpb.Object_Group{Group: &matchdpb.Group{Id: id}}}}
	case "deleted":
		response.Event = &matchdpb.WatchResponse_Deleted{Deleted: &matchdpb.Ref{Kind: matchdpb.Kind_KIND_GROUP, Id: id}}
	default:
		response.Event = &matchdpb.WatchResponse_Bookmark{Bookmark: &matchdpb.Bookmark{}}
	}
	return response, nil
}

var (
	errFinal     = fault.New(fault.Denied, "no more")
	errBroken    = &client.Error{Kind: fault.Unavailable, Unreachable: true, Message: "gone"}
	errCompacted = &client.Error{Kind: fault.Invalid, Reason: client.ReasonCompacted, Message: "too old"}
)

func TestWatch(t *testing.T) {
	tests := []struct {
		name    string
		after   int64
		streams [][]any
		want    string // what is told
		asked   string // from which revisions
	}{
		{"lists, then follows", 0, [][]any{{"put 1 a", "put 1 b", "bookmark 1", "put 2 a", "deleted 3 b"}}, "put a,put b,complete,put a,deleted b", "[0 2]"},
		{"goes on where it was", 5, [][]any{{"put 6 a", "bookmark 6", errBroken}, {"put 7 b"}}, "put a,complete,put b", "[5 6 6]"},
		{"tells a revision again that it told in part", 5, [][]any{{"put 6 a", "put 7 b", errBroken}, {"put 7 b", "put 7 c"}}, "put a,put b,put b,put c", "[5 6 6]"},
		{"lists again when it was away too long", 5, [][]any{{"put 6 a", "bookmark 6", errBroken}, {errCompacted}, {"put 9 b", "bookmark 9", "put 10 c"}}, "put a,complete,reset,put b,complete,put c", "[5 6 0 9]"},
		{"begins a listing again that broke off", 0, [][]any{{"put 4 a", errBroken}, {"put 5 a", "bookmark 5"}}, "put a,reset,put a,complete", "[0 0 5]"},
		{"waits for a server that is not there", 0, [][]any{{errBroken}, {errBroken}, {"bookmark 1"}}, "complete", "[0 0 0 1]"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			played := &server{streams: tt.streams}
			c := &client.Client{Changes: played}
			var told []string
			var last error
			for change, err := range c.Watch(t.Context(), client.WatchOptions{After: tt.after}) {
				switch {
				case err != nil:
					last = err
				case change.Reset:
					told = append(told, "reset")
				case change.Complete:
					told = append(told, "complete")
				case change.Put != nil:
					told = append(told, "put "+change.Put.GetGroup().GetId())
				default:
					told = append(told, "deleted "+change.Deleted.GetId())
				}
			}
			if got := strings.Join(told, ","); got != tt.want || fmt.Sprint(played.asked) != tt.asked || !errors.Is(last, errFinal) {
				t.Errorf("%s: told %s (%v), asked from %v; want %s, %s", tt.name, got, last, played.asked, tt.want, tt.asked)
			}
		})
	}
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &client.Client{Changes: &server{streams: [][]any{{"put 1 a"}, {"put 1 a"}, {errBroken}, {errBroken}}}}
		for change := range c.Watch(ctx, client.WatchOptions{}) {
			if change.Put != nil {
				break
			}
		}
		cancel()
		var last error
		for _, err := range c.Watch(ctx, client.WatchOptions{}) {
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("%v", last)
		}
	})
}

// TestDescribe reads a status as an error does.
func TestDescribe(t *testing.T) {
	problem := &matchdpb.Problem{Ref: &matchdpb.Ref{Kind: matchdpb.Kind_KIND_GROUP, Id: "web"}, Field: "selector.mac", What: "is no address"}
	if got := client.Describe(problem); got != "group/web selector.mac: is no address" {
		t.Errorf("%s", got)
	}
	detailed, err := status.New(codes.InvalidArgument, "refused").WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "id", Description: "is too long"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Translate(detailed.Err()).Error(); got != "refused\n  id: is too long" {
		t.Errorf("%q", got)
	}
}
