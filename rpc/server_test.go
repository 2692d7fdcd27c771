package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/rpc"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func getStatus(t testing.TB, conn grpc.ClientConnInterface) (*matchdpb.GetStatusResponse, error) {
	t.Helper()
	return matchdpb.NewStatusClient(conn).GetStatus(t.Context(), &matchdpb.GetStatusRequest{})
}

func listAudit(t testing.TB, conn grpc.ClientConnInterface) error {
	t.Helper()
	_, err := matchdpb.NewAuditClient(conn).ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{})
	return err
}

// info returns the ErrorInfo of an error's status.
func info(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			return info
		}
	}
	return nil
}

func TestStatusTellsWhoAsks(t *testing.T) {
	f := start(t, nil)
	for _, test := range []struct {
		role     auth.Role
		scope    []string
		findings int
	}{
		{auth.Admin, nil, 1},
		{auth.Operator, nil, 1},
		{auth.Operator, []string{"site=fra"}, 0},
		{auth.Viewer, nil, 1},
		{auth.Registrar, nil, 0},
	} {
		got, err := getStatus(t, f.dial(t, test.role, test.scope...))
		if err != nil {
			t.Fatalf("%s: %v", test.role, err)
		}
		if got.GetRole() != string(test.role) || got.GetIdentity() != "test-"+string(test.role) || len(got.GetScope()) != len(test.scope) {
			t.Errorf("%s is told to be %v", test.role, got)
		}
		if len(got.GetFindings()) != test.findings || got.GetRevision() != 7 || got.GetCertificateExpiresAt().AsTime().Before(time.Now()) {
			t.Errorf("%s: got %v, want %d findings", test.role, got, test.findings)
		}
	}
}

func TestHealthAndReflection(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Viewer)
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil || !strings.Contains(answer.String(), "matchd.v1.Status") {
		t.Errorf("reflection: %v, %v", answer, err)
	}
}

func TestErrors(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Admin)
	report := &render.Report{Problems: []render.Problem{{Name: "ignition/worker.bu", Line: 7, Column: 12, What: "no such key", Source: "passwd: hunter2"}}}
	for _, test := range []struct {
		name    string
		err     error
		code    codes.Code
		reason  string
		message string
	}{
		{"not found", fault.New(fault.NotFound, "no group web"), codes.NotFound, rpc.ReasonNotFound, "no group web"},
		{"invalid", fault.New(fault.Invalid, "bad MAC"), codes.InvalidArgument, rpc.ReasonInvalid, "bad MAC"},
		{"conflict", fmt.Errorf("putting: %w", fault.New(fault.Conflict, "it has revision 5")), codes.FailedPrecondition, rpc.ReasonConflict, "putting: it has revision 5"},
		{"denied", fault.New(fault.Denied, "not yours"), codes.PermissionDenied, rpc.ReasonDenied, "not yours"},
		{"unavailable", fault.New(fault.Unavailable, "loading"), codes.Unavailable, rpc.ReasonUnavailable, "loading"},
		{"internal", errors.New("open /var/lib/matchd/config.db: input/output error"), codes.Internal, rpc.ReasonInternal, "under call"},
		{"compacted", fmt.Errorf("watching: %w", store.ErrCompacted), codes.OutOfRange, rpc.ReasonCompacted, "list again"},
		{"canceled", fmt.Errorf("listing: %w", context.Canceled), codes.Canceled, "CANCELED", "canceled"},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, "DEADLINE", "deadline"},
		{"status", status.Error(codes.Aborted, "as it is"), codes.Aborted, "", "as it is"},
		{"documents", fault.Wrap(fault.Invalid, report), codes.InvalidArgument, rpc.ReasonInvalid, "ignition/worker.bu:7:12"},
	} {
		f.audit.fail(test.err)
		err := listAudit(t, conn)
		got := status.Convert(err)
		if got.Code() != test.code || !strings.Contains(got.Message(), test.message) || info(err).GetReason() != test.reason {
			t.Errorf("%s: got %v %q %v, want %v with %q and reason %q", test.name, got.Code(), got.Message(), got.Details(), test.code, test.message, test.reason)
		}
		if test.reason != "" && info(err).GetDomain() != "matchd" {
			t.Errorf("%s: domain %q", test.name, info(err).GetDomain())
		}
		if test.code == codes.Internal && strings.Contains(got.String()+fmt.Sprint(got.Details()), "/var/lib") {
			t.Errorf("a path of the server went over the wire: %v", got)
		}
	}
	if !strings.Contains(f.log.String(), "config.db: input/output error") {
		t.Error("the log does not tell the internal error")
	}
	if strings.Contains(f.log.String(), "hunter2") {
		t.Error("the log quotes a document")
	}
}

func TestErrorDetails(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Admin)
	report := &render.Report{}
	for i := range 60 {
		report.Problems = append(report.Problems, render.Problem{Name: "ignition/worker.bu", Line: i + 1, What: strings.Repeat("é", 300)})
	}
	f.audit.fail(fault.Wrap(fault.Invalid, report))
	for _, detail := range status.Convert(listAudit(t, conn)).Details() {
		bad, is := detail.(*errdetails.BadRequest)
		if !is {
			continue
		}
		violations := bad.GetFieldViolations()
		if len(violations) != 50 || violations[1].GetField() != "ignition/worker.bu:2" || len(violations[1].GetDescription()) > 270 {
			t.Errorf("%d violations, the second is %v", len(violations), violations[1])
		}
	}
	f.audit.fail(fault.New(fault.Conflict, "it has revision 5"))
	found := false
	for _, detail := range status.Convert(listAudit(t, conn)).Details() {
		failure, is := detail.(*errdetails.PreconditionFailure)
		found = found || is && failure.GetViolations()[0].GetDescription() == "it has revision 5"
	}
	if !found {
		t.Error("no precondition failure in the details")
	}
}

func TestPanicsEndTheirCallOnly(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Viewer)
	f.status.panics.Store(true)
	_, err := getStatus(t, conn)
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "flames") {
		t.Errorf("got %v", err)
	}
	f.awaitLog(t, "the status is in flames")
	if !strings.Contains(f.log.String(), "fixture_test.go") {
		t.Error("the log has no stack")
	}
	f.status.panics.Store(false)
	if _, err := getStatus(t, conn); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	f := start(t, nil)
	client := matchdpb.NewAuditClient(f.dial(t, auth.Admin))
	var left time.Duration
	f.audit.answer(func(ctx context.Context, _ audit.Query) ([]audit.Record, bool, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil, false, nil
	})
	if _, err := client.ListAuditRecords(context.Background(), &matchdpb.ListAuditRecordsRequest{}); err != nil {
		t.Fatal(err)
	}
	if left < 50*time.Second || left > time.Minute {
		t.Errorf("without a deadline a call has %v, want a minute", left)
	}
	long, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
	defer cancel()
	if _, err := client.ListAuditRecords(long, &matchdpb.ListAuditRecordsRequest{}); err != nil {
		t.Fatal(err)
	}
	if left > 10*time.Minute {
		t.Errorf("a client got %v", left)
	}
	f.audit.answer(func(ctx context.Context, _ audit.Query) ([]audit.Record, bool, error) {
		<-ctx.Done()
		return nil, false, ctx.Err()
	})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.ListAuditRecords(short, &matchdpb.ListAuditRecordsRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

func TestStopLetsCallsEndAndCutsStreams(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Admin)
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	running, goOn := make(chan struct{}), make(chan struct{})
	f.audit.answer(func(context.Context, audit.Query) ([]audit.Record, bool, error) {
		close(running)
		<-goOn
		return []audit.Record{{Seq: 1}}, false, nil
	})
	result := make(chan error, 1)
	go func() { result <- listAudit(t, conn) }()
	<-running
	stopped := make(chan struct{})
	go func() { f.stop(); close(stopped) }()
	for err == nil {
		_, err = stream.Recv() // first that it no longer serves, then the end
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	select {
	case <-stopped:
		t.Error("the server did not wait for a call")
	default:
	}
	close(goOn)
	if err := <-result; err != nil {
		t.Errorf("the running call got %v", err)
	}
	<-stopped
}

func TestRatesAreByIdentity(t *testing.T) {
	f := start(t, func(o *rpc.Options) { o.CallsPerSecond = 20 })
	greedy, modest := f.dial(t, auth.Admin), f.dial(t, auth.Operator)
	var err error
	for range 100 { // a burst of 40 tokens, a listing takes 10
		if err = listAudit(t, greedy); err != nil {
			break
		}
	}
	if status.Code(err) != codes.ResourceExhausted || info(err).GetReason() != rpc.ReasonRate {
		t.Fatalf("got %v", err)
	}
	retry := time.Duration(0)
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.RetryInfo); is {
			retry = info.GetRetryDelay().AsDuration()
		}
	}
	if retry <= 0 || retry > time.Second {
		t.Errorf("told to come again in %v", retry)
	}
	if err := listAudit(t, modest); err != nil {
		t.Errorf("another identity: %v", err)
	}
	f.ahead.Add(int64(retry + time.Second))
	if err := listAudit(t, greedy); err != nil {
		t.Errorf("after the wait: %v", err)
	}
}

// TestRefusedCallsDoNotFillTheLog has somebody without rights call over and over.
func TestRefusedCallsDoNotFillTheLog(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Viewer)
	for range 100 {
		if err := listAudit(t, conn); status.Code(err) != codes.PermissionDenied {
			t.Fatal(err)
		}
	}
	f.ahead.Add(int64(time.Minute))
	_ = listAudit(t, conn)
	f.awaitLog(t, "calls=80")
	if lines := strings.Count(f.log.String(), "code=PERMISSION_DENIED"); lines != 21 {
		t.Errorf("%d lines for 101 refused calls", lines)
	}
}

func TestConstruction(t *testing.T) {
	if _, err := rpc.New(rpc.Options{}); err == nil || !strings.Contains(err.Error(), "never served without TLS") {
		t.Errorf("without keys: %v", err)
	}
}
