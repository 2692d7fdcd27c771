package rpc_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/profiles"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// same compares what was put with what is read back, whose meta is the server's.
func same(t *testing.T, put, got proto.Message) {
	t.Helper()
	if diff := cmp.Diff(put, got, protocmp.Transform(), protocmp.IgnoreFields(got, "meta")); diff != "" {
		t.Errorf("(-put +got):\n%s", diff)
	}
}

func TestEveryKindIsPutReadAndDeleted(t *testing.T) {
	o := startObjects(t)
	c := o.as(auth.Operator)
	ctx := t.Context()

	wantTemplate := template("host.bu", hostname)
	putTemplate, err := c.templates.PutTemplate(ctx, &pb.PutTemplateRequest{Template: wantTemplate})
	if err != nil {
		t.Fatal(err)
	}
	same(t, wantTemplate, putTemplate.GetTemplate())
	if meta := putTemplate.GetTemplate().GetMeta(); meta.GetRevision() != 1 || meta.GetUpdatedBy() != "test-operator" || meta.GetUpdatedAt() == nil {
		t.Errorf("meta %v", meta)
	}
	gotTemplate, err := c.templates.GetTemplate(ctx, &pb.GetTemplateRequest{Id: "ignition/host.bu"})
	if err != nil || !proto.Equal(gotTemplate.GetTemplate(), putTemplate.GetTemplate()) {
		t.Errorf("got %v, %v", gotTemplate, err)
	}

	wantProfile := &pb.Profile{
		Id: "web", Name: "Web", Boot: &pb.NetBoot{Kernel: "/k", Initrd: []string{"/i"}, Args: []string{"a", "b"}}, IgnitionId: "host.bu", Snippets: nil,
		PlatformSnippets: map[string]*pb.Names{"aws": {Names: []string{"host.bu"}}}, IgnitionVersion: "3.4.0", AllowUnhashedSources: true, Config: "initrd", Os: "flatcar", Loader: "grub",
	}
	putProfile, err := c.profiles.PutProfile(ctx, &pb.PutProfileRequest{Profile: wantProfile})
	if err != nil {
		t.Fatal(err)
	}
	same(t, wantProfile, putProfile.GetProfile())
	gotProfile, err := c.profiles.GetProfile(ctx, &pb.GetProfileRequest{Id: "web"})
	if err != nil || !proto.Equal(gotProfile.GetProfile(), putProfile.GetProfile()) {
		t.Errorf("got %v, %v", gotProfile, err)
	}

	metadata, err := structpb.NewStruct(map[string]any{"name": "n", "list": []any{1.5, true, nil}, "deep": map[string]any{"x": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	wantGroup := &pb.Group{Id: "g", Name: "G", Profile: "web", Selector: map[string]string{"mac": "52-54-00-00-00-01"}, Metadata: metadata, Priority: -3, Snippets: []string{"host.bu"}, BootPolicy: "always"}
	putGroup, err := c.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: wantGroup})
	if err != nil {
		t.Fatal(err)
	}
	same(t, wantGroup, putGroup.GetGroup())
	gotGroup, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: "g"})
	if err != nil || !proto.Equal(gotGroup.GetGroup(), putGroup.GetGroup()) {
		t.Errorf("got %v, %v", gotGroup, err)
	}

	wantMachine := &pb.Machine{Id: "52-54-00-00-00-01", Name: "n1", Labels: map[string]string{"role": "db"}, Loader: "ipxe", ExitMethod: "sanboot", TftpBlksize: 1024}
	putMachine, err := c.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: wantMachine})
	if err != nil {
		t.Fatal(err)
	}
	wantMachine.Id = "52:54:00:00:00:01"
	same(t, wantMachine, putMachine.GetMachine())
	gotMachine, err := c.machines.GetMachine(ctx, &pb.GetMachineRequest{Id: "5254.0000.0001"})
	if err != nil || !proto.Equal(gotMachine.GetMachine(), putMachine.GetMachine()) {
		t.Errorf("got %v, %v", gotMachine, err)
	}

	for _, want := range []*pb.Reservation{
		{Id: "10.0.0.5", Mac: "52:54:00:00:00:01", Hostname: "n1"}, {Id: "10.0.0.6", ClientId: "0102"}, {Id: "10.0.0.7", CircuitId: "port 1"}, {Id: "10.0.0.8", CircuitId: "0x00ff"},
	} {
		put, err := c.reservations.PutReservation(ctx, &pb.PutReservationRequest{Reservation: want})
		if err != nil {
			t.Fatal(err)
		}
		same(t, want, put.GetReservation())
		got, err := c.reservations.GetReservation(ctx, &pb.GetReservationRequest{Id: want.GetId()})
		if err != nil || !proto.Equal(got.GetReservation(), put.GetReservation()) {
			t.Errorf("got %v, %v", got, err)
		}
	}

	deletes := []func() error{
		func() error {
			_, err := c.machines.DeleteMachine(ctx, &pb.DeleteMachineRequest{Id: "525400000001"})
			return err
		},
		func() error { _, err := c.groups.DeleteGroup(ctx, &pb.DeleteGroupRequest{Id: "g"}); return err },
		func() error { _, err := c.profiles.DeleteProfile(ctx, &pb.DeleteProfileRequest{Id: "web"}); return err },
		func() error {
			_, err := c.templates.DeleteTemplate(ctx, &pb.DeleteTemplateRequest{Id: "ignition/host.bu"})
			return err
		},
		func() error {
			_, err := c.reservations.DeleteReservation(ctx, &pb.DeleteReservationRequest{Id: "10.0.0.5"})
			return err
		},
	}
	for i, remove := range deletes {
		for range 2 { // deleting what is gone succeeds
			if err := remove(); err != nil {
				t.Errorf("delete %d: %v", i, err)
			}
		}
	}
	if _, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: "g"}); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}

// refused is what an error tells.
type refused struct {
	code       codes.Code
	reason     string
	violations []string
}

func refusal(err error) refused {
	s := status.Convert(err)
	r := refused{code: s.Code()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			r.reason = d.GetReason()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				r.violations = append(r.violations, v.GetField()+": "+v.GetDescription())
			}
		case *errdetails.PreconditionFailure:
			for _, v := range d.GetViolations() {
				r.violations = append(r.violations, v.GetType()+" "+v.GetSubject()+": "+v.GetDescription())
			}
		}
	}
	return r
}

func TestRefusedPuts(t *testing.T) {
	o := startObjects(t)
	o.seed(2)
	c := o.as(auth.Admin)
	ctx := t.Context()
	revision := func(r int64) *int64 { return &r }
	putGroup := func(g *pb.Group, r *int64) error {
		_, err := c.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: g, Revision: r})
		return err
	}
	big := make([]byte, profiles.MaxTemplateSize+1)
	deep := structpb.NewStringValue("x")
	for range 70 {
		deep = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"x": deep}})
	}
	withMetadata := func(v *structpb.Value) *pb.Group {
		return &pb.Group{Id: "m", Profile: "web", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"x": v}}}
	}
	putMachine := func(m *pb.Machine) error {
		_, err := c.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: m})
		return err
	}
	tests := []struct {
		name   string
		err    error
		code   codes.Code
		reason string
		want   string
	}{
		{"no group", putGroup(nil, nil), codes.InvalidArgument, "INVALID", "group: there is none in the request"},
		{"an id that leaves", putGroup(&pb.Group{Id: "../x", Profile: "web"}, nil), codes.InvalidArgument, "INVALID", `group/../x.id: "../x" may hold letters, digits and _ . : @ - only, and starts with a letter, a digit or _`},
		{"a bad MAC", putGroup(&pb.Group{Id: "x", Profile: "web", Selector: map[string]string{"mac": "zz"}}, nil), codes.InvalidArgument, "INVALID", `group/x.selector.mac: "zz" is not a MAC address`},
		{"a number that is none", putGroup(withMetadata(structpb.NewNumberValue(math.NaN())), nil), codes.InvalidArgument, "INVALID", "group/m.metadata: NaN is no JSON number"},
		{"a value of no type", putGroup(withMetadata(&structpb.Value{}), nil), codes.InvalidArgument, "INVALID", "group/m.metadata: a value has no type"},
		{"too deep", putGroup(withMetadata(deep), nil), codes.InvalidArgument, "INVALID", "group/m.metadata: it is nested more than 64 deep"},
		{"dangling", putGroup(group("x", "wed", nil), nil), codes.InvalidArgument, "INVALID", `group/x.profile: there is no profile "wed": did you mean "web"?`},
		{"a template that it cannot fill", putGroup(&pb.Group{Id: "x", Profile: "web"}, nil), codes.InvalidArgument, "INVALID",
			`ignition/host.bu:3:63: .name: there is no "name" in the group's metadata, its selector or the request: storage: {files: [{path: /etc/hostname, contents: {inline: "{{.name}}"}}]}`},
		{"another revision", putGroup(group("g0000", "web", nil), revision(9)), codes.FailedPrecondition, "STALE", "REVISION group/g0000: group g0000 is at revision 1, not at 9: somebody changed it meanwhile"},
		{"there already", putGroup(group("g0000", "web", nil), revision(0)), codes.FailedPrecondition, "STALE", "REVISION group/g0000: group g0000 exists already, at revision 1"},
		{"a negative revision", putGroup(group("g0000", "web", nil), revision(-1)), codes.InvalidArgument, "INVALID", "revision: -1 is negative"},
		{"the configuration file's", putMachine(&pb.Machine{Id: "52:54:00:00:00:99", Name: "x"}), codes.FailedPrecondition, "OWNED",
			"OWNER machine/52:54:00:00:00:99: machine 52:54:00:00:00:99 belongs to the file /etc/matchd/matchd.yaml: change it there"},
		{"no MAC", putMachine(&pb.Machine{Id: "x"}), codes.InvalidArgument, "INVALID", `machine/x.id: "x" is not a MAC address`},
		{"an exit method", putMachine(&pb.Machine{Id: "52:54:00:00:00:01", ExitMethod: "x"}), codes.InvalidArgument, "INVALID",
			`machine/52:54:00:00:00:01.exit_method: "x" is none of exit1, exit0, sanboot, http404, grub-find`},
		{"a template in no YAML", func() error {
			_, err := c.templates.PutTemplate(ctx, &pb.PutTemplateRequest{Template: template("x.bu", "variant: fcos\nversion: 1.5.0\nstorage: {file: 1}\n")})
			return err
		}(), codes.InvalidArgument, "INVALID", "ignition/x.bu:3:11: storage.file: unused key file: storage: {file: 1}"},
		{"a template too large", func() error {
			_, err := c.templates.PutTemplate(ctx, &pb.PutTemplateRequest{Template: &pb.Template{Kind: "generic", Name: "x", Content: big}})
			return err
		}(), codes.InvalidArgument, "INVALID", "template/generic/x.content: has 262145 bytes, at most 262144 are allowed"},
		{"a template of no kind", func() error {
			_, err := c.templates.PutTemplate(ctx, &pb.PutTemplateRequest{Template: &pb.Template{Kind: "../..", Name: "x"}})
			return err
		}(), codes.InvalidArgument, "INVALID", `template/../../x.kind: "../.." is none of ignition, generic, cloud`},
		{"a profile in use", func() error {
			_, err := c.profiles.DeleteProfile(ctx, &pb.DeleteProfileRequest{Id: "web"})
			return err
		}(), codes.InvalidArgument, "INVALID", `group/g0000.profile: there is no profile "web"`},
		{"an address elsewhere", func() error {
			_, err := c.reservations.PutReservation(ctx, &pb.PutReservationRequest{Reservation: &pb.Reservation{Id: "10.9.9.9", Mac: "52:54:00:00:00:01"}})
			return err
		}(), codes.InvalidArgument, "INVALID", ""},
		{"a reservation for two", func() error {
			_, err := c.reservations.PutReservation(ctx, &pb.PutReservationRequest{Reservation: &pb.Reservation{Id: "10.0.0.9", Mac: "52:54:00:00:00:01", ClientId: "zz"}})
			return err
		}(), codes.InvalidArgument, "INVALID", `reservation/10.0.0.9.client_id: "zz" is not a client id in hexadecimal`},
		{"a get of no id", func() error { _, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{}); return err }(), codes.InvalidArgument, "INVALID", "group/.id: is empty"},
		{"a get of what is not there", func() error { _, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: "x"}); return err }(), codes.NotFound, "NOT_FOUND", ""},
		{"a delete of another revision", func() error {
			_, err := c.groups.DeleteGroup(ctx, &pb.DeleteGroupRequest{Id: "g0000", Revision: revision(5)})
			return err
		}(), codes.FailedPrecondition, "STALE", "REVISION group/g0000: group g0000 is at revision 1, not at 5: somebody changed it meanwhile"},
		{"a token of somebody else", func() error {
			_, err := c.groups.ListGroups(ctx, &pb.ListGroupsRequest{PageToken: "x"})
			return err
		}(), codes.InvalidArgument, "INVALID", ""},
		{"a negative page", func() error {
			_, err := c.groups.ListGroups(ctx, &pb.ListGroupsRequest{PageSize: -1})
			return err
		}(), codes.InvalidArgument, "INVALID", ""},
	}
	for _, tc := range tests {
		got := refusal(tc.err)
		if got.code != tc.code || got.reason != tc.reason || tc.want != "" && !slices.Contains(got.violations, tc.want) {
			t.Errorf("%s: got %v %s %q\nwant %v %s %q", tc.name, got.code, got.reason, got.violations, tc.code, tc.reason, tc.want)
		}
	}
	if r := o.catalog.Current().Revision; r != 1 {
		t.Errorf("revision %d after refusals", r)
	}
}

func TestPages(t *testing.T) {
	o := startObjects(t)
	o.seed(25)
	c := o.as(auth.Viewer)
	var ids []string
	token := ""
	for pages := 1; ; pages++ {
		page, err := c.groups.ListGroups(t.Context(), &pb.ListGroupsRequest{PageSize: 10, PageToken: token})
		if err != nil || page.GetRevision() == 0 {
			t.Fatal(page.GetRevision(), err)
		}
		for _, g := range page.GetGroups() {
			ids = append(ids, g.GetId())
		}
		if pages == 1 { // what comes and goes meanwhile neither repeats nor hides anything
			admin := o.as(auth.Admin)
			for _, remove := range []string{"g0003", "g0009"} {
				if _, err := admin.groups.DeleteGroup(t.Context(), &pb.DeleteGroupRequest{Id: remove}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := admin.groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: group("g0001a", "web", map[string]string{"a": "b"})}); err != nil {
				t.Fatal(err)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if len(ids) != 25 || !slices.IsSorted(ids) || ids[24] != "g0024" {
		t.Errorf("got %d: %v", len(ids), ids)
	}
	found, err := c.groups.ListGroups(t.Context(), &pb.ListGroupsRequest{Labels: map[string]string{"a": "b"}})
	if err != nil || len(found.GetGroups()) != 1 {
		t.Errorf("by label: %v, %v", found, err)
	}
	if byMAC, err := c.groups.ListGroups(t.Context(), &pb.ListGroupsRequest{Labels: map[string]string{"mac": "5254.0100.000A"}}); err != nil || len(byMAC.GetGroups()) != 1 {
		t.Errorf("by MAC address in another notation: %v, %v", byMAC, err)
	}
	if _, err := c.groups.ListGroups(t.Context(), &pb.ListGroupsRequest{Labels: map[string]string{"mac": "52-54"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("by half a MAC address: %v", err)
	}
	names, err := c.templates.ListTemplates(t.Context(), &pb.ListTemplatesRequest{NamesOnly: true, Kind: "ignition"})
	if err != nil || len(names.GetTemplates()) != 1 || names.GetTemplates()[0].GetContent() != nil {
		t.Errorf("names: %v, %v", names, err)
	}
	if none, err := c.templates.ListTemplates(t.Context(), &pb.ListTemplatesRequest{Kind: "cloud"}); err != nil || len(none.GetTemplates()) != 0 {
		t.Errorf("cloud: %v, %v", none, err)
	}
}

func TestApplyChanges(t *testing.T) {
	o := startObjects(t)
	c := o.as(auth.Admin)
	ctx := t.Context()
	o.seed(2)
	dry, err := c.changes.Apply(ctx, &pb.ApplyRequest{DryRun: true, CompareMachines: 10, Changes: []*pb.Change{
		putting(template("host.bu", strings.Replace(hostname, "{{", "x-{{", 1))), putting(profile("web")), putting(profile("new")), deleting(pb.Kind_KIND_GROUP, "g0001"), deleting(pb.Kind_KIND_MACHINE, "52-54-00-00-00-01"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range dry.GetObjects() {
		got = append(got, fmt.Sprint(r.GetRef().GetId(), " ", r.GetAction()))
	}
	want := "ignition/host.bu ACTION_CHANGED, web ACTION_UNCHANGED, new ACTION_CREATED, g0001 ACTION_DELETED, 52:54:00:00:00:01 ACTION_UNCHANGED"
	if strings.Join(got, ", ") != want || dry.GetRevision() != 1 || len(dry.GetMachines()) != 2 {
		t.Errorf("got %v at %d, machines %v", got, dry.GetRevision(), dry.GetMachines())
	}
	if m := dry.GetMachines()[0]; m.GetMachine() != "52:54:01:00:00:00" || !strings.Contains(m.GetBefore().GetConfig(), "data:,g0000") || !strings.Contains(m.GetAfter().GetConfig(), "data:,x-g0000") {
		t.Errorf("got %v", m)
	}
	if m := dry.GetMachines()[1]; m.GetAfter().GetGroup() != "" || m.GetBefore().GetGroup() != "g0001" || !strings.Contains(m.GetBefore().GetScript(), "/assets/web") {
		t.Errorf("got %v", m)
	}
	bad, err := c.changes.Apply(ctx, &pb.ApplyRequest{CompareMachines: -1, Changes: []*pb.Change{nil, {}, {Change: &pb.Change_Put{}}, {Change: &pb.Change_Delete{}}, putting(&pb.Reservation{Id: "x"}), deleting(77, "x")}})
	r := refusal(err)
	wantProblems := []string{
		"compare_machines: it is negative", "changes[0].change: it neither puts nor deletes anything", "changes[1].change: it neither puts nor deletes anything",
		"changes[2].object: there is none", "changes[3].kind: 0 is no kind of object", `reservation/x.id: "x" is not an IPv4 address`, "changes[5].kind: 77 is no kind of object",
	}
	if bad != nil || r.code != codes.InvalidArgument || !slices.Equal(r.violations, wantProblems) {
		t.Errorf("got %v %q", bad, r.violations)
	}
	if o.catalog.Current().Revision != 1 {
		t.Error("something was changed")
	}
}

// TestScope: who is bound to site=fra sees and changes nothing else.
func TestScope(t *testing.T) {
	o := startObjects(t)
	ctx := t.Context()
	admin := o.as(auth.Admin)
	if _, err := admin.changes.Apply(ctx, &pb.ApplyRequest{Changes: []*pb.Change{
		putting(template("host.bu", hostname)), putting(template("other.bu", hostname)), putting(profile("fra")), putting(&pb.Profile{Id: "ber", IgnitionId: "other.bu"}),
		putting(group("fra", "fra", map[string]string{"site": "fra"})), putting(group("ber", "ber", map[string]string{"site": "ber"})), putting(group("all", "fra", nil)),
		putting(&pb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"site": "fra"}}), putting(&pb.Machine{Id: "52:54:00:00:00:02", Labels: map[string]string{"site": "ber"}}),
	}}); err != nil {
		t.Fatal(err)
	}
	fra := o.as(auth.Operator, "site=fra")
	seen := func(ids []string, err error) string {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		return strings.Join(ids, " ")
	}
	groups, err := fra.groups.ListGroups(ctx, &pb.ListGroupsRequest{})
	var ids []string
	for _, g := range groups.GetGroups() {
		ids = append(ids, g.GetId())
	}
	if got := seen(ids, err); got != "fra" {
		t.Errorf("groups %s", got)
	}
	machines, err := fra.machines.ListMachines(ctx, &pb.ListMachinesRequest{})
	if err != nil || len(machines.GetMachines()) != 1 {
		t.Errorf("machines %v, %v", machines, err)
	}
	profiles, err := fra.profiles.ListProfiles(ctx, &pb.ListProfilesRequest{})
	if err != nil || len(profiles.GetProfiles()) != 1 || profiles.GetProfiles()[0].GetId() != "fra" {
		t.Errorf("profiles %v, %v", profiles, err)
	}
	templates, err := fra.templates.ListTemplates(ctx, &pb.ListTemplatesRequest{})
	if err != nil || len(templates.GetTemplates()) != 1 || templates.GetTemplates()[0].GetName() != "host.bu" {
		t.Errorf("templates %v, %v", templates, err)
	}
	if _, err := fra.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: "ber"}); status.Code(err) != codes.NotFound {
		t.Errorf("another's group: %v", err)
	}
	if _, err := fra.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: group("mine", "fra", map[string]string{"site": "fra", "os": "x"})}); err != nil {
		t.Errorf("its own: %v", err)
	}
	for name, c := range map[string]*pb.Change{
		"another's": putting(group("ber2", "ber", map[string]string{"site": "ber"})), "everybody's": putting(group("any", "fra", nil)),
		"taking over": putting(group("ber", "fra", map[string]string{"site": "fra"})), "giving away": putting(group("fra", "fra", map[string]string{"site": "ber"})),
		"deleting": deleting(pb.Kind_KIND_GROUP, "ber"), "a profile": putting(profile("fra")), "a template": putting(template("host.bu", hostname)),
		"a reservation": putting(&pb.Reservation{Id: "10.0.0.9", Mac: "52:54:00:00:00:01"}), "a machine": deleting(pb.Kind_KIND_MACHINE, "52:54:00:00:00:02"),
		"an absent profile": deleting(pb.Kind_KIND_PROFILE, "none"),
	} {
		_, err := fra.changes.Apply(ctx, &pb.ApplyRequest{Changes: []*pb.Change{c}})
		if r := refusal(err); r.code != codes.PermissionDenied || r.reason != "SCOPE" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := fra.reservations.ListReservations(ctx, &pb.ListReservationsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("reservations: %v", err)
	}
	if _, found := o.catalog.Current().Get(catalog.Ref{Kind: catalog.Group, ID: "any"}); found {
		t.Error("it is there")
	}
}
