package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/rpc/matchboxpb"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// refusing is a service whose writes fail.
type refusing struct {
	matchdpb.UnimplementedGroupsServer
	matchdpb.UnimplementedChangesServer
	matchboxpb.UnimplementedIgnitionServer
	err  error
	seen audit.Call // of the last call
}

func (r *refusing) PutGroup(ctx context.Context, _ *matchdpb.PutGroupRequest) (*matchdpb.PutGroupResponse, error) {
	r.seen = audit.FromContext(ctx)
	return &matchdpb.PutGroupResponse{}, r.err
}

func (r *refusing) GetGroup(context.Context, *matchdpb.GetGroupRequest) (*matchdpb.GetGroupResponse, error) {
	return nil, r.err
}

func (r *refusing) Apply(context.Context, *matchdpb.ApplyRequest) (*matchdpb.ApplyResponse, error) {
	return nil, r.err
}

func (r *refusing) IgnitionPut(context.Context, *matchboxpb.IgnitionPutRequest) (*matchboxpb.IgnitionPutResponse, error) {
	return nil, r.err
}

func (r *refusing) register(s grpc.ServiceRegistrar) {
	matchdpb.RegisterGroupsServer(s, r)
	matchdpb.RegisterChangesServer(s, r)
	matchboxpb.RegisterIgnitionServer(s, r)
}

func TestRefusedWritesAreRecorded(t *testing.T) {
	service := &refusing{}
	f := start(t, nil, service.register)
	operator, viewer := f.dial(t, auth.Operator), f.dial(t, auth.Viewer)
	report := &render.Report{Problems: []render.Problem{{Name: "ignition/a.bu", What: "no", Source: "hunter2"}}}
	var changes []*matchdpb.Change
	for i := range 30 {
		changes = append(changes, &matchdpb.Change{Change: &matchdpb.Change_Delete{Delete: &matchdpb.Ref{Kind: matchdpb.Kind_KIND_PROFILE, Id: fmt.Sprint(i)}}})
	}
	changes[1] = &matchdpb.Change{Change: &matchdpb.Change_Put{Put: &matchdpb.Object{Object: &matchdpb.Object_Template{Template: &matchdpb.Template{Kind: "ignition", Name: "a.bu"}}}}}
	changes[2] = &matchdpb.Change{}
	group := &matchdpb.PutGroupRequest{Group: &matchdpb.Group{Id: "web"}}
	for _, test := range []struct {
		name    string
		call    func(grpc.ClientConnInterface) error
		conn    *grpc.ClientConn
		err     error
		code    string
		text    string
		objects string // first and how many more
	}{
		{"a group", call(matchdpb.NewGroupsClient, matchdpb.GroupsClient.PutGroup, group), operator, fault.New(fault.Conflict, "it has revision 5"), "FAILED_PRECONDITION", "it has revision 5", "group/web 0"},
		{"by a viewer", call(matchdpb.NewGroupsClient, matchdpb.GroupsClient.PutGroup, group), viewer, nil, "PERMISSION_DENIED", "the role viewer, which may not write", "group/web 0"},
		{"a bad document", call(matchdpb.NewGroupsClient, matchdpb.GroupsClient.PutGroup, group), operator, fault.Wrap(fault.Invalid, report), "INVALID_ARGUMENT", "1 problems", "group/web 0"},
		{"a failure", call(matchdpb.NewGroupsClient, matchdpb.GroupsClient.PutGroup, group), operator, fmt.Errorf("open /secret: no"), "INTERNAL", "the server failed", "group/web 0"},
		{"no group", call(matchdpb.NewGroupsClient, matchdpb.GroupsClient.PutGroup, &matchdpb.PutGroupRequest{}), operator, fault.New(fault.Invalid, "no id"), "INVALID_ARGUMENT", "not valid", "group/ 0"},
		{"many changes", call(matchdpb.NewChangesClient, matchdpb.ChangesClient.Apply, &matchdpb.ApplyRequest{Changes: changes}), operator, fault.New(fault.Invalid, "no"), "INVALID_ARGUMENT", "", "profile/0 10"},
		{"matchbox's", call(matchboxpb.NewIgnitionClient, matchboxpb.IgnitionClient.IgnitionPut, &matchboxpb.IgnitionPutRequest{Name: "a.ign"}), operator, fault.New(fault.Invalid, "no"), "INVALID_ARGUMENT", "", "template/ignition/a.ign 0"},
	} {
		service.err = test.err
		before := len(f.audit.refusals())
		if err := test.call(test.conn); err == nil {
			t.Errorf("%s: it was not refused", test.name)
		}
		records := f.audit.refusals()
		if len(records) != before+1 {
			t.Errorf("%s: %d records, want one more than %d", test.name, len(records), before)
			continue
		}
		r := records[before]
		objects := fmt.Sprintf("%s/%s %d", r.Objects[0].Kind, r.Objects[0].ID, r.More)
		if r.Code != test.code || !strings.Contains(r.Error, test.text) || objects != test.objects || strings.Contains(fmt.Sprint(r), "secret") || strings.Contains(fmt.Sprint(r), "hunter2") {
			t.Errorf("%s: got %+v, want %s, %q, %s", test.name, r, test.code, test.text, test.objects)
		}
		if !strings.HasPrefix(r.Peer, "127.0.0.1:") || !strings.HasPrefix(r.Identity, "test-") || r.Role == "" {
			t.Errorf("%s: by %q (%s) from %q", test.name, r.Identity, r.Role, r.Peer)
		}
	}
	changesOf := f.audit.refusals()[5].Objects
	if want := (audit.Object{Kind: "template", ID: "ignition/a.bu"}); changesOf[1] != want || changesOf[2] != (audit.Object{}) {
		t.Errorf("the changes: %v", changesOf[:3])
	}
	if service.seen.Method != "/matchd.v1.Groups/PutGroup" || service.seen.Identity != "test-operator" {
		t.Errorf("a service is told %+v", service.seen)
	}

	// What is read, and what is fine, is not recorded here.
	before := len(f.audit.refusals())
	_, _ = matchdpb.NewGroupsClient(operator).GetGroup(t.Context(), &matchdpb.GetGroupRequest{Id: "none"})
	service.err = nil
	if _, err := matchdpb.NewGroupsClient(operator).PutGroup(t.Context(), group); err != nil || len(f.audit.refusals()) != before {
		t.Errorf("%v, %d records more", err, len(f.audit.refusals())-before)
	}
}

// call binds a method of a client to a request.
func call[C, Q, R any](client func(grpc.ClientConnInterface) C, method func(C, context.Context, Q, ...grpc.CallOption) (R, error), request Q) func(grpc.ClientConnInterface) error {
	return func(conn grpc.ClientConnInterface) error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := method(client(conn), ctx, request)
		return err
	}
}

func TestListAuditRecords(t *testing.T) {
	f := start(t, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var asked audit.Query
	f.audit.answer(func(_ context.Context, q audit.Query) ([]audit.Record, bool, error) {
		asked = q
		return []audit.Record{{
			Seq: 42, Time: at, Identity: "jo", Role: "operator", Peer: "192.0.2.1:5", Method: "/x", Objects: []audit.Object{{Kind: "group", ID: "web"}}, More: 3,
			Before: 7, After: 8, Code: "OK",
		}}, true, nil
	})
	client := matchdpb.NewAuditClient(f.dial(t, auth.Operator))
	first, err := client.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{
		PageSize: 5000, Identity: "jo", Object: &matchdpb.Ref{Kind: matchdpb.Kind_KIND_GROUP, Id: "web"}, Since: timestamppb.New(at),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &matchdpb.AuditRecord{
		Seq: 42, Time: timestamppb.New(at), Identity: "jo", Role: "operator", Peer: "192.0.2.1:5", Method: "/x", MoreObjects: 3, RevisionBefore: 7, RevisionAfter: 8, Code: "OK",
		Objects: []*matchdpb.Ref{{Kind: matchdpb.Kind_KIND_GROUP, Id: "web"}},
	}
	if got := first.GetRecords()[0]; !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if diff := cmp.Diff(audit.Query{Limit: 1000, Identity: "jo", Object: audit.Object{Kind: "group", ID: "web"}, Since: at}, asked); diff != "" {
		t.Error(diff)
	}
	if _, err := client.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{PageToken: first.GetNextPageToken()}); err != nil || asked.Before != 42 || asked.Limit != 100 {
		t.Errorf("the second page: %+v, %v", asked, err)
	}
	for name, request := range map[string]*matchdpb.ListAuditRecordsRequest{
		"a token of others": {PageToken: "%"}, "a token of text": {PageToken: "eHg"}, "a negative size": {PageSize: -1}, "an object of no kind": {Object: &matchdpb.Ref{Id: "x"}},
		"an object of an unknown kind": {Object: &matchdpb.Ref{Kind: 99}},
	} {
		if _, err := client.ListAuditRecords(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	scoped := matchdpb.NewAuditClient(f.dial(t, auth.Operator, "site=fra"))
	if _, err := scoped.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{}); err != nil || asked.Identity != "test-operator" {
		t.Errorf("with a scope: %+v, %v", asked, err)
	}
	if _, err := scoped.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{Identity: "jo"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another's, with a scope: %v", err)
	}
}

// BenchmarkCall is what a call costs besides what it does: TLS, identity, rate, policy, log.
func BenchmarkCall(b *testing.B) {
	f := start(b, nil)
	conn := f.dial(b, auth.Viewer)
	f.ahead.Store(0)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := getStatus(b, conn); err != nil && status.Code(err) != codes.ResourceExhausted {
				b.Error(err)
			}
		}
	})
}
