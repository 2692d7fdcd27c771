package matchd_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func TestAPITellsWhoAsks(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{API: true, Config: func(c *matchd.Config) {}})
	conn, err := grpc.NewClient(d.RPC, grpc.WithTransportCredentials(credentials.NewTLS(d.ClientTLS(t, auth.Viewer, "site=fra"))))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	status, err := matchdpb.NewStatusClient(conn).GetStatus(t.Context(), &matchdpb.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if status.GetRole() != "viewer" || status.GetScope()["site"] != "fra" || !strings.HasPrefix(status.GetIdentity(), "test-") || !status.GetReady() {
		t.Errorf("got %v", status)
	}
	if _, body := d.GetAdmin(t, "/metrics"); !strings.Contains(body, `matchd_certificate_expires_timestamp_seconds{certificate="rpc-server",use="rpc"}`) {
		t.Error("the metrics do not tell when the certificate ends")
	}
}
