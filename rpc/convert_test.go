package rpc_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/rpc"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// FuzzObject decodes any bytes as an object: whatever is accepted reads back as it was put, and through the store's record as well.
func FuzzObject(f *testing.F) {
	for _, object := range []any{
		template("host.bu", hostname), profile("web"), group("g", "web", map[string]string{"mac": "52-54-00-00-00-01"}),
		&pb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"role": "db"}, TftpBlksize: 1024}, &pb.Reservation{Id: "10.0.0.1", CircuitId: "0x00ff"},
		&pb.Reservation{Id: "::ffff:10.0.0.1", ClientId: "01:02"}, &pb.Machine{Id: "../x"}, &pb.Group{Id: "../x", Metadata: metadataOf("\x00")},
	} {
		seed, err := proto.Marshal(putting(object).GetPut())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add([]byte{0x12, 0x03, 0x0a, 0x01, 0xff}) // an id that is not UTF-8
	f.Fuzz(func(t *testing.T, data []byte) {
		wire := &pb.Object{}
		if proto.Unmarshal(data, wire) != nil {
			return
		}
		object, problems := rpc.ObjectFrom(wire)
		if len(problems) > 0 || object.Validate() != nil {
			return
		}
		ref, err := rpc.RefOf(object.Ref().Kind, object.Ref().ID)
		if err != nil || ref != object.Ref() || strings.Contains(ref.ID, "..") && strings.Contains(ref.ID, "/../") {
			t.Fatalf("accepted as %v, which is %v, %v", object.Ref(), ref, err)
		}
		first := rpc.ObjectToProto(&catalog.Item{Object: object})
		again, problems := rpc.ObjectFrom(first)
		if len(problems) > 0 || !proto.Equal(first, rpc.ObjectToProto(&catalog.Item{Object: again})) {
			t.Fatalf("%v reads back as %v, %v", first, again, problems)
		}
		if _, err := catalog.Encode(&object, catalog.Meta{}); err != nil {
			t.Fatalf("accepted, and cannot be stored: %v", err)
		}
	})
}

// TestAbusiveObjects: what no honest client sends is refused in words, and the server goes on.
func TestAbusiveObjects(t *testing.T) {
	o := startObjects(t)
	o.seed(1)
	c := o.as(auth.Admin)
	ctx := t.Context()
	huge := strings.Repeat("x", 5<<20)
	many := map[string]string{}
	for i := range 2000 {
		many[strings.Repeat("k", 1+i%50)+string(rune('a'+i%26))+strings.Repeat("z", i/50)] = "v"
	}
	for name, call := range map[string]func() error{
		"5 MiB of an id": func() error { _, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: huge}); return err },
		"5 MiB of a name": func() error {
			_, err := c.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:01", Name: huge}})
			return err
		},
		"5 MiB of metadata": func() error {
			_, err := c.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: &pb.Group{Id: "x", Profile: "web", Metadata: metadataOf(huge)}})
			return err
		},
		"5 MiB of a template": func() error {
			_, err := c.templates.PutTemplate(ctx, &pb.PutTemplateRequest{Template: template("x", huge)})
			return err
		},
		"a selector of many": func() error {
			_, err := c.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: group("x", "web", many)})
			return err
		},
		"nothing to put":     func() error { _, err := c.profiles.PutProfile(ctx, &pb.PutProfileRequest{}); return err },
		"nothing to reserve": func() error { _, err := c.reservations.PutReservation(ctx, &pb.PutReservationRequest{}); return err },
		"an id that leaves": func() error {
			_, err := c.templates.GetTemplate(ctx, &pb.GetTemplateRequest{Id: "ignition/../../etc/passwd"})
			return err
		},
		"another that leaves": func() error {
			_, err := c.profiles.DeleteProfile(ctx, &pb.DeleteProfileRequest{Id: "../web"})
			return err
		},
		"a machine of nowhere": func() error {
			_, err := c.machines.DeleteMachine(ctx, &pb.DeleteMachineRequest{Id: "../../52:54:00:00:00:01"})
			return err
		},
	} {
		if r := refusal(call()); r.code != codes.InvalidArgument {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := c.groups.GetGroup(ctx, &pb.GetGroupRequest{Id: "g0000"}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
