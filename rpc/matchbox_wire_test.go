package rpc_test

import (
	"crypto/tls"
	"fmt"
	"sort"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/matchdtest"
)

// The tests in this file know matchbox's wire as it was measured: paths of methods, numbers of fields. They share nothing with the generated code.

// matchboxDaemon serves an empty data directory as "matchd serve --matchbox" does.
func matchboxDaemon(t testing.TB, files map[string]string) *matchdtest.Daemon {
	t.Helper()
	return matchdtest.Start(t, matchdtest.Options{API: true, Files: files, Config: asMatchbox})
}

func asMatchbox(cfg *matchd.Config) {
	cfg.Matchbox, cfg.Unmatched, cfg.RPCDefaultRole = true, boot.UnmatchedIgnore, string(auth.Admin)
}

// rawCodec leaves messages as the bytes that they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}

var _ encoding.Codec = rawCodec{}

// wire is a connection that knows no messages.
type wire struct {
	t    testing.TB
	conn *grpc.ClientConn
}

func dialWire(t testing.TB, address string, secure *tls.Config) *wire {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(secure)), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t, conn}
}

func (w *wire) call(method string, request []byte) ([]byte, error) {
	var response []byte
	err := w.conn.Invoke(w.t.Context(), method, &request, &response)
	return response, err
}

// ok calls a method that must succeed.
func (w *wire) ok(method string, fields ...[]byte) []byte {
	w.t.Helper()
	response, err := w.call(method, message(fields...))
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return response
}

// fails calls a method that must not succeed, and returns its status.
func (w *wire) fails(method string, fields ...[]byte) *status.Status {
	w.t.Helper()
	_, err := w.call(method, message(fields...))
	if err == nil {
		w.t.Fatalf("%s succeeded", method)
	}
	return status.Convert(err)
}

func message(fields ...[]byte) (m []byte) {
	for _, f := range fields {
		m = append(m, f...)
	}
	return m
}

// field is a field of text, bytes or a message.
func field[T string | []byte](number protowire.Number, value T) []byte {
	b := protowire.AppendTag(nil, number, protowire.BytesType)
	return protowire.AppendBytes(b, []byte(value))
}

// pair is an entry of a map of texts.
func pair(number protowire.Number, key, value string) []byte {
	return field(number, message(field(1, key), field(2, value)))
}

// taken is a message taken apart: "number:value" in order of numbers; entries keep the order in which they came.
func taken(t testing.TB, m []byte) map[protowire.Number][]string {
	t.Helper()
	fields := map[protowire.Number][]string{}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		if n < 0 || kind != protowire.BytesType {
			t.Fatalf("field %d of type %d in %x", number, kind, m)
		}
		value, size := protowire.ConsumeBytes(m[n:])
		if size < 0 {
			t.Fatalf("field %d is cut off in %x", number, m)
		}
		fields[number] = append(fields[number], string(value))
		m = m[n+size:]
	}
	return fields
}

// pairs reads the entries of a map of texts.
func pairs(t testing.TB, entries []string) string {
	t.Helper()
	var list []string
	for _, entry := range entries {
		kv := taken(t, []byte(entry))
		list = append(list, strings.Join(kv[1], "")+"="+strings.Join(kv[2], ""))
	}
	sort.Strings(list)
	return strings.Join(list, ",")
}

// TestMatchboxWire puts, gets, lists, selects and deletes everything by the numbers of matchbox's fields.
func TestMatchboxWire(t *testing.T) {
	d := matchboxDaemon(t, nil)
	w := dialWire(t, d.RPC, d.ClientTLS(t, auth.Operator))

	// Profile: 1 id, 2 name, 3 ignition_id, 4 cloud_id, 5 boot{1 kernel, 2 initrd, 4 args}, 6 generic_id.
	netBoot := message(field(1, "/assets/vmlinuz"), field(2, "--name main http://m/initrd"), field(2, "/second"), field(4, "initrd=main"), field(4, "quiet"))
	profile := message(field(1, "node"), field(2, "Node"), field(3, "node.ign"), field(4, "cloud"), field(5, netBoot), field(6, "node"))
	// Group: 1 id, 2 name, 3 profile, 4 selector, 5 metadata.
	group := message(field(1, "g1"), field(2, "Group"), field(3, "node"), pair(4, "mac", "52-54-00-B2-2F-86"), pair(4, "os", "installed"), field(5, `{"b":"<1>","a":{"n":12345678901234567890}}`))
	config := "{\"ignition\":{\"version\":\"3.3.0\"}}\r\n\t"

	for method, fields := range map[string][][]byte{
		"/rpcpb.Groups/GroupPut":       {field(1, group)},
		"/rpcpb.Profiles/ProfilePut":   {field(1, profile)},
		"/rpcpb.Ignition/IgnitionPut":  {field(1, "node.ign"), field(2, config)},
		"/rpcpb.Generic/GenericPut":    {field(1, "node"), field(2, "generic \x00\xff")},
		"/rpcpb.Groups/GroupDelete":    {field(1, "never-was")},
		"/rpcpb.Generic/GenericDelete": {field(1, "never-was")},
	} {
		if response := w.ok(method, fields...); len(response) != 0 {
			t.Errorf("%s answers %x, want nothing", method, response)
		}
	}

	wantGroup := func(from string, m string) {
		t.Helper()
		got := taken(t, []byte(m))
		if fmt.Sprint(got[1], got[2], got[3], got[5]) != `[g1] [Group] [node] [{"a":{"n":12345678901234567000},"b":"\u003c1\u003e"}]` {
			t.Errorf("%s: %v", from, got)
		}
		if selector := pairs(t, got[4]); selector != "mac=52-54-00-B2-2F-86,os=installed" {
			t.Errorf("%s: selector %s, want it as it was put", from, selector)
		}
	}
	wantProfile := func(from, m string) {
		t.Helper()
		got := taken(t, []byte(m))
		if fmt.Sprint(got[1], got[2], got[3], got[4], got[6]) != "[node] [Node] [node.ign] [cloud] [node]" {
			t.Errorf("%s: %v", from, got)
		}
		if b := taken(t, []byte(got[5][0])); fmt.Sprint(b[1], b[2], b[4]) != "[/assets/vmlinuz] [--name main http://m/initrd /second] [initrd=main quiet]" {
			t.Errorf("%s: boot %v", from, b)
		}
	}
	wantGroup("GroupGet", taken(t, w.ok("/rpcpb.Groups/GroupGet", field(1, "g1")))[1][0])
	wantGroup("GroupList", taken(t, w.ok("/rpcpb.Groups/GroupList"))[1][0])
	wantProfile("ProfileGet", taken(t, w.ok("/rpcpb.Profiles/ProfileGet", field(1, "node")))[1][0])
	wantProfile("ProfileList", taken(t, w.ok("/rpcpb.Profiles/ProfileList"))[1][0])
	labels := [][]byte{pair(1, "mac", "52:54:00:b2:2f:86"), pair(1, "os", "installed"), pair(1, "more", "x")}
	wantGroup("SelectGroup", taken(t, w.ok("/rpcpb.Select/SelectGroup", labels...))[1][0])
	wantProfile("SelectProfile", taken(t, w.ok("/rpcpb.Select/SelectProfile", labels...))[1][0])
	if got := taken(t, w.ok("/rpcpb.Ignition/IgnitionGet", field(1, "node.ign")))[1][0]; got != config {
		t.Errorf("IgnitionGet: %q, want %q", got, config)
	}
	if got := taken(t, w.ok("/rpcpb.Generic/GenericGet", field(1, "node")))[1][0]; got != "generic \x00\xff" {
		t.Errorf("GenericGet: %q", got)
	}

	for method, name := range map[string]string{
		"/rpcpb.Groups/GroupDelete": "g1", "/rpcpb.Profiles/ProfileDelete": "node", "/rpcpb.Ignition/IgnitionDelete": "node.ign", "/rpcpb.Generic/GenericDelete": "node",
	} {
		w.ok(method, field(1, name))
		w.ok(method, field(1, name)) // again
		get := strings.Replace(method, "Delete", "Get", 1)
		if s := w.fails(get, field(1, name)); s.Code() != codes.NotFound || strings.Contains(s.Message(), d.Site) {
			t.Errorf("%s after its end: %v", get, s)
		}
	}
	if list := w.ok("/rpcpb.Groups/GroupList"); len(list) != 0 {
		t.Errorf("GroupList of none: %x", list)
	}
}

// TestMatchboxWireRefusals holds what is refused, with which code and which text.
func TestMatchboxWireRefusals(t *testing.T) {
	d := matchboxDaemon(t, nil)
	w := dialWire(t, d.RPC, d.ClientTLS(t, auth.Admin))
	group := func(fields ...[]byte) []byte { return field(1, message(fields...)) }
	id, profile := field(1, "g"), field(3, "p")
	tests := []struct {
		name, method string
		request      []byte
		code         codes.Code
		text         string
	}{
		{"no group", "/rpcpb.Groups/GroupPut", nil, codes.InvalidArgument, "group"},
		{"no profile message", "/rpcpb.Profiles/ProfilePut", nil, codes.InvalidArgument, "profile"},
		{"empty id", "/rpcpb.Groups/GroupPut", group(profile), codes.InvalidArgument, "id"},
		{"group without a profile", "/rpcpb.Groups/GroupPut", group(id), codes.InvalidArgument, "profile"},
		{"id that escapes", "/rpcpb.Groups/GroupPut", group(field(1, "../profiles/evil"), profile), codes.InvalidArgument, "id"},
		{"id with a slash", "/rpcpb.Profiles/ProfilePut", field(1, field(1, "a/b")), codes.InvalidArgument, "id"},
		{"metadata that is no JSON", "/rpcpb.Groups/GroupPut", group(id, profile, field(5, "{")), codes.InvalidArgument, "metadata"},
		{"metadata that is no object", "/rpcpb.Groups/GroupPut", group(id, profile, field(5, `["a"]`)), codes.InvalidArgument, "metadata"},
		{"bad MAC address", "/rpcpb.Groups/GroupPut", group(id, profile, pair(4, "MAC", "zz")), codes.InvalidArgument, "selector.MAC"},
		{"get nothing", "/rpcpb.Groups/GroupGet", nil, codes.InvalidArgument, "id"},
		{"get what is not there", "/rpcpb.Profiles/ProfileGet", field(1, "x"), codes.NotFound, `x`},
		{"get by a path", "/rpcpb.Ignition/IgnitionGet", field(1, "../groups/g.json"), codes.InvalidArgument, "name"},
		{"delete by a path", "/rpcpb.Generic/GenericDelete", field(1, "../x"), codes.InvalidArgument, "name"},
		{"delete the directory", "/rpcpb.Ignition/IgnitionDelete", nil, codes.InvalidArgument, "name"},
		{"document without a name", "/rpcpb.Ignition/IgnitionPut", field(2, "{}"), codes.InvalidArgument, "name"},
		{"template that does not parse", "/rpcpb.Ignition/IgnitionPut", message(field(1, "t.yaml"), field(2, "variant: fcos\nversion: 1.5.0\n{{ broken")), codes.InvalidArgument, "t.yaml"},
		{"config that does not parse", "/rpcpb.Ignition/IgnitionPut", message(field(1, "t.ign"), field(2, "{")), codes.InvalidArgument, "t.ign"},
		{"config of a version that is unknown", "/rpcpb.Ignition/IgnitionPut", message(field(1, "t.ign"), field(2, `{"ignition":{"version":"2.3.0"}}`)), codes.InvalidArgument, "2.3.0"},
		{"no match", "/rpcpb.Select/SelectGroup", nil, codes.NotFound, "matchbox: No matching Group"},
		{"no match for a profile", "/rpcpb.Select/SelectProfile", nil, codes.NotFound, "matchbox: No matching Group"},
		{"unknown method", "/rpcpb.Groups/GroupWatch", nil, codes.Unimplemented, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.call(tt.method, tt.request)
			got := status.Convert(err)
			if got.Code() != tt.code || !strings.Contains(got.Message(), tt.text) || strings.Contains(got.Message(), d.Site) {
				t.Errorf("%v, want %v with %q and without the server's paths", got, tt.code, tt.text)
			}
		})
	}
	w.ok("/rpcpb.Groups/GroupPut", group(field(1, "dangling"), field(3, "gone"), field(5, "null")))
	if s := w.fails("/rpcpb.Select/SelectProfile"); s.Code() != codes.NotFound || s.Message() != "matchbox: No matching Profile" {
		t.Errorf("a group whose profile is missing: %v", s)
	}
	if got := taken(t, []byte(taken(t, w.ok("/rpcpb.Groups/GroupGet", field(1, "dangling")))[1][0])); len(got[5]) != 0 {
		t.Errorf("metadata null comes back as %q, want nothing", got[5])
	}
	w.ok("/rpcpb.Profiles/ProfilePut", field(1, field(1, "bare")))
	if got := taken(t, []byte(taken(t, w.ok("/rpcpb.Profiles/ProfileGet", field(1, "bare")))[1][0])); len(got[5]) != 1 {
		t.Errorf("a profile that was put without boot: %v, want boot set", got)
	}
}

// TestMatchboxRegistration holds the names under which the messages are registered, by which reflection gives them to clients.
func TestMatchboxRegistration(t *testing.T) {
	for file, names := range map[string][]string{
		"matchbox/rpc/rpcpb/rpc.proto":             {"rpcpb.Groups", "rpcpb.Profiles", "rpcpb.Ignition", "rpcpb.Generic", "rpcpb.Select"},
		"matchbox/server/serverpb/messages.proto":  {"serverpb.GroupPutRequest", "serverpb.SelectProfileResponse", "serverpb.IgnitionGetResponse"},
		"matchbox/storage/storagepb/storage.proto": {"storagepb.Group", "storagepb.Profile", "storagepb.NetBoot"},
	} {
		descriptor, err := protoregistry.GlobalFiles.FindFileByPath(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range names {
			found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
			if err != nil || found.ParentFile() != descriptor {
				t.Errorf("%s: %v, want it in %s", name, err, file)
			}
		}
	}
}

// TestMatchboxTLS: the port speaks h2 from TLS 1.2 on, and to nobody whom the CA does not know.
func TestMatchboxTLS(t *testing.T) {
	d := matchboxDaemon(t, nil)
	secure := d.ClientTLS(t, auth.Viewer)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := secure.Clone()
		cfg.NextProtos, cfg.MinVersion, cfg.MaxVersion = []string{"h2"}, version, version
		conn, err := tls.Dial("tcp", d.RPC, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState(); got.NegotiatedProtocol != "h2" || got.Version != version {
			t.Errorf("%#x: %+v", version, got)
		}
		_ = conn.Close()
	}
	w := dialWire(t, d.RPC, &tls.Config{RootCAs: secure.RootCAs, ServerName: "localhost"})
	if s := w.fails("/rpcpb.Groups/GroupList"); s.Code() != codes.Unavailable {
		t.Errorf("without a certificate: %v", s)
	}
	viewer := dialWire(t, d.RPC, secure)
	viewer.ok("/rpcpb.Groups/GroupList")
	if s := viewer.fails("/rpcpb.Groups/GroupDelete", field(1, "x")); s.Code() != codes.PermissionDenied {
		t.Errorf("a viewer that deletes: %v", s)
	}
}

// storeOnly is a daemon whose objects come from the API alone.
func storeOnly(cfg *matchd.Config) { cfg.Site, cfg.Unmatched = "", boot.UnmatchedIgnore }
