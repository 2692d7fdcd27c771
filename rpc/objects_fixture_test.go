package rpc_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/rpc"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// objects is a server with a store of objects behind it.
type objects struct {
	*fixture
	t       testing.TB
	store   store.Store
	catalog *catalog.Catalog
}

type noLoaders struct{}

func (noLoaders) For(string, string) []string { return nil }

func startObjects(t testing.TB) *objects {
	t.Helper()
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := boltstore.Open(filepath.Join(t.TempDir(), "leases.db"), boltstore.Options{History: -1})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := lease.Open(t.Context(), lease.Options{Store: leases, Subnets: []lease.Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}}})
	if err != nil {
		t.Fatal(err)
	}
	o := &objects{t: t, store: opened}
	o.catalog = catalog.New(opened, catalog.Options{Fixed: []catalog.Item{{
		Object: catalog.Object{Machine: &machine.Settings{MAC: "52:54:00:00:00:99"}}, Meta: catalog.Meta{Owner: "/etc/matchd/matchd.yaml"},
	}}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = o.catalog.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); opened.Close(); leases.Close() })
	planner := boot.NewPlanner(boot.Options{Catalog: o.catalog, Machines: machine.NewRegistry(0), Loaders: noLoaders{}, HTTPPort: 8080})
	applier := change.New(change.Options{Catalog: o.catalog, Store: opened, Planner: planner, Addresses: pool})
	o.fixture = start(t, func(options *rpc.Options) {
		options.Objects = rpc.ObjectParts{Catalog: o.catalog, Applier: applier, Store: opened}
		options.CallsPerSecond = 1_000_000
	})
	return o
}

// clients are those of one connection.
type clients struct {
	machines     pb.MachinesClient
	groups       pb.GroupsClient
	profiles     pb.ProfilesClient
	templates    pb.TemplatesClient
	reservations pb.ReservationsClient
	changes      pb.ChangesClient
}

func clientsOf(conn grpc.ClientConnInterface) *clients {
	return &clients{pb.NewMachinesClient(conn), pb.NewGroupsClient(conn), pb.NewProfilesClient(conn), pb.NewTemplatesClient(conn), pb.NewReservationsClient(conn), pb.NewChangesClient(conn)}
}

func (o *objects) as(role auth.Role, scope ...string) *clients {
	o.t.Helper()
	return clientsOf(o.dial(o.t, role, scope...))
}

const hostname = "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/hostname, contents: {inline: \"{{.name}}\"}}]}\n"

func template(name, content string) *pb.Template {
	return &pb.Template{Kind: "ignition", Name: name, Content: []byte(content)}
}

func profile(id string) *pb.Profile {
	return &pb.Profile{Id: id, Boot: &pb.NetBoot{Kernel: "/assets/" + id}, IgnitionId: "host.bu"}
}

func group(id, profile string, selector map[string]string) *pb.Group {
	return &pb.Group{Id: id, Profile: profile, Selector: selector, Metadata: metadataOf(id)}
}

func putting(object any) *pb.Change {
	o := &pb.Object{}
	switch v := object.(type) {
	case *pb.Machine:
		o.Object = &pb.Object_Machine{Machine: v}
	case *pb.Group:
		o.Object = &pb.Object_Group{Group: v}
	case *pb.Profile:
		o.Object = &pb.Object_Profile{Profile: v}
	case *pb.Template:
		o.Object = &pb.Object_Template{Template: v}
	case *pb.Reservation:
		o.Object = &pb.Object_Reservation{Reservation: v}
	}
	return &pb.Change{Change: &pb.Change_Put{Put: o}}
}

func deleting(kind pb.Kind, id string) *pb.Change {
	return &pb.Change{Change: &pb.Change_Delete{Delete: &pb.Ref{Kind: kind, Id: id}}}
}

// seed puts a template, a profile and n groups g0000, g0001, …
func (o *objects) seed(n int) {
	o.t.Helper()
	changes := []*pb.Change{putting(template("host.bu", hostname)), putting(profile("web"))}
	for i := range n {
		changes = append(changes, putting(group(fmt.Sprintf("g%04d", i), "web", map[string]string{"mac": fmt.Sprintf("52:54:01:00:%02x:%02x", i>>8, i&255)})))
	}
	if _, err := o.as(auth.Admin).changes.Apply(o.t.Context(), &pb.ApplyRequest{Changes: changes}); err != nil {
		o.t.Fatal(err)
	}
}

func metadataOf(name string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue(name)}}
}
