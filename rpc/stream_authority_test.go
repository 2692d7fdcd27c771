package rpc_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc"
)

// openStream returns a server whose streams look often, and a stream that says nothing after its first message.
func openStream(t *testing.T) (*fixture, grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse]) {
	t.Helper()
	f := start(t, func(o *rpc.Options) { o.RecheckEvery(5 * time.Millisecond) })
	stream, err := grpc_health_v1.NewHealthClient(f.dial(t, auth.Viewer)).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return f, stream
}

func wantEnd(t *testing.T, stream grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse], reason string) {
	t.Helper()
	_, err := stream.Recv()
	if status.Code(err) != codes.Unauthenticated || info(err).GetReason() != reason {
		t.Errorf("the stream ended with %v, want reason %s", err, reason)
	}
}

func TestStreamDoesNotOutliveItsCertificate(t *testing.T) {
	f, stream := openStream(t)
	f.ahead.Add(int64(2 * time.Hour))
	wantEnd(t, stream, rpc.ReasonExpired)
}

// TestStreamDoesNotOutliveItsAuthority: what is read again takes the authority of an open stream away.
func TestStreamDoesNotOutliveItsAuthority(t *testing.T) {
	f, stream := openStream(t)
	other, err := pki.NewCA("the next CA", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Write(f.files().CA, other.CertPEM(), keyfile.Public); err != nil {
		t.Fatal(err)
	}
	f.ahead.Add(int64(5 * time.Second))
	wantEnd(t, stream, rpc.ReasonUntrusted)
}
