package matchd_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func dial(t testing.TB, d *matchdtest.Daemon, role auth.Role, scope ...string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(d.RPC, grpc.WithTransportCredentials(credentials.NewTLS(d.ClientTLS(t, role, scope...))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestAPITellsWhoAsks(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{API: true})
	got, err := matchdpb.NewStatusClient(dial(t, d, auth.Viewer, "site=fra")).GetStatus(t.Context(), &matchdpb.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetRole() != "viewer" || got.GetScope()["site"] != "fra" || !strings.HasPrefix(got.GetIdentity(), "test-") || !got.GetReady() {
		t.Errorf("got %v", got)
	}
	if _, body := d.GetAdmin(t, "/metrics"); !strings.Contains(body, `matchd_certificate_expires_timestamp_seconds{certificate="rpc-server",use="rpc"}`) {
		t.Error("the metrics do not tell when the certificate ends")
	}
}

// offered asks a daemon for its methods, and which of them stream, as any client could.
func offered(t *testing.T, conn *grpc.ClientConn) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	services := ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	files := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	for _, service := range services.GetListServicesResponse().GetService() {
		answer := ask(&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service.GetName()},
		})
		for _, raw := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
			file := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(raw, file); err != nil {
				t.Fatal(err)
			}
			if !seen[file.GetName()] {
				seen[file.GetName()] = true
				files.File = append(files.File, file)
			}
		}
	}
	registry, err := protodesc.NewFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	methods := map[string]protoreflect.MethodDescriptor{}
	for _, service := range services.GetListServicesResponse().GetService() {
		found, err := registry.FindDescriptorByName(protoreflect.FullName(service.GetName()))
		if err != nil {
			t.Fatal(err)
		}
		list := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range list.Len() {
			methods["/"+service.GetName()+"/"+string(list.Get(i).Name())] = list.Get(i)
		}
	}
	return methods
}

// TestRolesByMethod calls every method that a daemon offers in every role, and compares with the table of docs/security.md.
func TestRolesByMethod(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{API: true})
	document, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{} // by method: admin, operator, instance-registrar, viewer, with a scope
	for line := range strings.Lines(string(document)) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) == 8 && strings.Contains(cells[1], "/") {
			for i := range cells {
				cells[i] = strings.Trim(cells[i], " `")
			}
			table["/"+cells[1]] = cells[2:7]
		}
	}
	methods := offered(t, dial(t, d, auth.Viewer))
	for method := range table {
		if methods[method] == nil && !strings.Contains(method, "v1alpha") {
			t.Errorf("%s is documented and not offered", method)
		}
	}
	for column, role := range auth.Roles() {
		conn := dial(t, d, role)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			if table[method] == nil {
				t.Errorf("%s is offered and not documented", method)
				continue
			}
			code, reason := try(t, conn, method, methods[method])
			if refused := code == codes.PermissionDenied; refused == (table[method][column] == "yes") {
				t.Errorf("%s calls %s: %v %s, documented %q", role, method, code, reason, table[method][column])
			}
			if code == codes.Internal || code == codes.Unknown {
				t.Errorf("%s calls %s with an empty message: %v", role, method, code)
			}
		}
	}
	scoped := dial(t, d, auth.Operator, "site=fra")
	for method, descriptor := range methods {
		if _, reason := try(t, scoped, method, descriptor); (reason == "SCOPE") != (table[method][4] == "refused") {
			t.Errorf("with a scope, %s: reason %q, documented %q", method, reason, table[method][4])
		}
	}
}

// try calls a method with an empty message. A stream that has not ended after a moment was let in.
func try(t *testing.T, conn *grpc.ClientConn, method string, descriptor protoreflect.MethodDescriptor) (code codes.Code, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	if descriptor.IsStreamingServer() {
		ctx, cancel = context.WithTimeout(t.Context(), time.Second/5)
	}
	defer cancel()
	var err error
	if descriptor.IsStreamingServer() || descriptor.IsStreamingClient() {
		var stream grpc.ClientStream
		stream, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: descriptor.IsStreamingClient()}, method)
		if err == nil {
			_ = stream.SendMsg(&emptypb.Empty{})
			_ = stream.CloseSend()
			err = stream.RecvMsg(&emptypb.Empty{})
		}
	} else {
		err = conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			reason = info.GetReason()
		}
	}
	return status.Code(err), reason
}

// TestAuditAndSecrets writes documents with a secret in them, good and bad, and looks for the secret in log, audit and metrics.
func TestAuditAndSecrets(t *testing.T) {
	const secret = "hunter2-hunter2"
	log := &lockedBuffer{}
	d := matchdtest.Start(t, matchdtest.Options{API: true, Log: log, Config: func(c *matchd.Config) { c.Site, c.LogLevel = "", "debug" }, Unready: true})
	operator, viewer := dial(t, d, auth.Operator), dial(t, d, auth.Viewer)
	good := fmt.Sprintf("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/secret\n      contents: {inline: %q}\n", secret)
	bad := fmt.Sprintf("variant: fcos\nversion: 1.5.0\npasswd: %q\n", secret)
	put := func(conn *grpc.ClientConn, name, content string) error {
		_, err := matchdpb.NewTemplatesClient(conn).PutTemplate(t.Context(), &matchdpb.PutTemplateRequest{Template: &matchdpb.Template{Kind: "ignition", Name: name, Content: []byte(content)}})
		return err
	}
	if err := put(operator, "good.bu", good); err != nil {
		t.Fatal(err)
	}
	if err := put(operator, "good.bu", good+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := put(operator, "bad.bu", bad); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("a bad document: %v", err)
	}
	if err := put(viewer, "good.bu", good); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("a viewer: %v", err)
	}
	records := awaitRecords(t, operator, 4)
	for i, want := range []string{"PERMISSION_DENIED test-viewer good.bu", "INVALID_ARGUMENT test-operator bad.bu", "OK test-operator good.bu", "OK test-operator good.bu"} {
		r := records[i]
		got := fmt.Sprintf("%s %s %s", r.GetCode(), r.GetIdentity(), strings.TrimPrefix(r.GetObjects()[0].GetId(), "ignition/"))
		if got != want || r.GetMethod() != "/matchd.v1.Templates/PutTemplate" || !strings.HasPrefix(r.GetPeer(), "127.0.0.1:") || r.GetObjects()[0].GetKind() != matchdpb.Kind_KIND_TEMPLATE {
			t.Errorf("record %d is %v, want %s", i, r, want)
		}
	}
	if second := records[2]; second.GetRevisionBefore() != records[3].GetRevisionAfter() || second.GetRevisionAfter() <= second.GetRevisionBefore() {
		t.Errorf("revisions: first %v, second %v", records[3], second)
	}
	_, metrics := d.GetAdmin(t, "/metrics")
	for name, text := range map[string]string{"log": log.String(), "audit": fmt.Sprint(records), "metrics": metrics} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s holds a secret of a document", name)
		}
	}
	if !strings.Contains(log.String(), "method=/matchd.v1.Templates/PutTemplate") {
		t.Error("the log does not tell of a write")
	}
	own, err := matchdpb.NewAuditClient(dial(t, d, auth.Operator, "site=fra")).ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{})
	if err != nil || len(own.GetRecords()) != 3 { // the same name: its own
		t.Errorf("of its own: %v, %v", own, err)
	}
}

// awaitRecords waits until there are as many records: refused calls are written behind the answer.
func awaitRecords(t *testing.T, conn *grpc.ClientConn, count int) []*matchdpb.AuditRecord {
	t.Helper()
	for {
		got, err := matchdpb.NewAuditClient(conn).ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.GetRecords()) >= count {
			return got.GetRecords()
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%d records, want %d", len(got.GetRecords()), count)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestCertificatesOfTheAPI starts daemons with certificates that are missing in one way or another.
func TestCertificatesOfTheAPI(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.Names{DNS: []string{"localhost"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*matchd.Config)
		want   string
	}{
		"a key that is not there": {func(c *matchd.Config) { c.RPCKey = filepath.Join(dir, "none.key") }, "none.key"},
		"a key for an authority":  {func(c *matchd.Config) { c.RPCCA = c.RPCKey }, "there is no certificate"},
		"nothing where it is said to be": {func(c *matchd.Config) {
			c.RPCCert, c.RPCKey, c.RPCCA = filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
		}, "matchd pki init"},
	} {
		cfg := matchd.DefaultConfig()
		cfg.StateDir, cfg.BootHTTP, cfg.Admin, cfg.TFTP, cfg.MachineHTTPS, cfg.RPC = t.TempDir(), "127.0.0.1:0", "", "", "", "127.0.0.1:0"
		cfg.RPCCert, cfg.RPCKey, cfg.RPCCA = filepath.Join(dir, pki.ServerCert), filepath.Join(dir, pki.ServerKey), filepath.Join(dir, pki.CACert)
		test.change(&cfg)
		server, err := matchd.New(t.Context(), cfg, matchd.Options{Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			server.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// TestAPIFindings has a certificate that ends soon.
func TestAPIFindings(t *testing.T) {
	log := &lockedBuffer{}
	d := matchdtest.Start(t, matchdtest.Options{API: true, Log: log, Config: func(c *matchd.Config) {
		dir := filepath.Dir(c.RPCCert)
		if _, err := pki.RenewServer(dir, pki.Names{}, time.Now().Add(20*24*time.Hour-pki.ServerLifetime)); err != nil {
			t.Fatal(err)
		}
	}})
	if _, health := d.GetAdmin(t, "/v1/health"); !strings.Contains(health, "rpc.expiry") || !strings.Contains(health, "matchd pki server") {
		t.Errorf("health does not tell: %s", health)
	}
	got, err := matchdpb.NewStatusClient(dial(t, d, auth.Admin)).GetStatus(t.Context(), &matchdpb.GetStatusRequest{})
	if err != nil || !strings.Contains(fmt.Sprint(got.GetFindings()), "expires in") {
		t.Errorf("the status: %v, %v", got, err)
	}
	if !strings.Contains(log.String(), "rpc-server") {
		t.Error("the log does not tell")
	}
}

func TestConfigOfTheAPI(t *testing.T) {
	for name, change := range map[string]func(*matchd.Config){
		"rpc_default_role": func(c *matchd.Config) { c.RPCDefaultRole = "root" },
		"rpc_key":          func(c *matchd.Config) { c.RPCKey = "" },
		"rpc:":             func(c *matchd.Config) { c.RPC = "8081" },
	} {
		cfg := matchd.DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
