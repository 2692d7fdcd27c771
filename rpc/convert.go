package rpc

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// maxDepth is how deep metadata may be nested. Templates have no use for more, and what is deeper costs whoever reads it.
const maxDepth = 64

// kinds are the kinds of objects as the wire has them.
var kinds = map[matchdpb.Kind]catalog.Kind{
	matchdpb.Kind_KIND_MACHINE: catalog.Machine, matchdpb.Kind_KIND_GROUP: catalog.Group, matchdpb.Kind_KIND_PROFILE: catalog.Profile,
	matchdpb.Kind_KIND_TEMPLATE: catalog.Template, matchdpb.Kind_KIND_RESERVATION: catalog.Reservation,
}

func kindToProto(kind catalog.Kind) matchdpb.Kind {
	for wire, k := range kinds {
		if k == kind {
			return wire
		}
	}
	return matchdpb.Kind_KIND_UNSPECIFIED
}

func refToProto(ref catalog.Ref) *matchdpb.Ref {
	return &matchdpb.Ref{Kind: kindToProto(ref.Kind), Id: ref.ID}
}

// refFrom reads the name of an object, in the spelling that it is stored by.
func refFrom(ref *matchdpb.Ref) (catalog.Ref, error) {
	kind, known := kinds[ref.GetKind()]
	if !known {
		return catalog.Ref{}, fmt.Errorf("kind: %d is no kind of object", ref.GetKind())
	}
	return refOf(kind, ref.GetId())
}

// refOf names an object as it is stored: addresses are read in any notation. An id that no object can have is an error that starts with the field's name.
func refOf(kind catalog.Kind, id string) (catalog.Ref, error) {
	ref := catalog.Ref{Kind: kind, ID: id}
	switch kind {
	case catalog.Machine:
		mac, err := machine.ParseMAC(id)
		if err != nil {
			return ref, fmt.Errorf("id: %.80q is not a MAC address", id)
		}
		ref.ID = mac.String()
	case catalog.Reservation:
		address, err := netip.ParseAddr(id)
		if err != nil || !address.Unmap().Is4() {
			return ref, fmt.Errorf("id: %.80q is not an IPv4 address", id)
		}
		ref.ID = address.Unmap().String()
	case catalog.Template:
		t := splitTemplate(id)
		if err := t.Validate(); err != nil {
			return ref, fmt.Errorf("id: %.80q is not the KIND/NAME of a template: %w", id, err)
		}
	default:
		if err := groups.ValidID(id); err != nil {
			return ref, fmt.Errorf("id: %w", err)
		}
	}
	return ref, nil
}

func splitTemplate(id string) profiles.Template {
	for i := range id {
		if id[i] == '/' {
			return profiles.Template{Kind: profiles.Kind(id[:i]), Name: id[i+1:]}
		}
	}
	return profiles.Template{Name: id}
}

// objectFrom reads any object. What cannot be read is among the problems, each of which names the field.
func objectFrom(o *matchdpb.Object) (catalog.Object, []change.Problem) {
	switch o.GetObject().(type) {
	case *matchdpb.Object_Machine:
		return machineFrom(o.GetMachine())
	case *matchdpb.Object_Group:
		return groupFrom(o.GetGroup())
	case *matchdpb.Object_Profile:
		return profileFrom(o.GetProfile())
	case *matchdpb.Object_Template:
		return templateFrom(o.GetTemplate())
	case *matchdpb.Object_Reservation:
		return reservationFrom(o.GetReservation())
	}
	return catalog.Object{}, []change.Problem{{Field: "object", What: "there is none"}}
}

// missing is the problem of a request without its object.
func absent(kind catalog.Kind) (catalog.Object, []change.Problem) {
	return catalog.Object{}, []change.Problem{{Field: string(kind), What: "there is none in the request"}}
}

func machineFrom(m *matchdpb.Machine) (catalog.Object, []change.Problem) {
	if m == nil {
		return absent(catalog.Machine)
	}
	mac, err := machine.ParseMAC(m.GetId())
	if err != nil {
		return catalog.Object{}, []change.Problem{{Ref: catalog.Ref{Kind: catalog.Machine, ID: m.GetId()}, Field: "id", What: err.Error()}}
	}
	return catalog.Object{Machine: &machine.Settings{
		MAC: mac, Name: m.GetName(), Labels: filled(m.GetLabels()), Loader: m.GetLoader(), ExitMethod: m.GetExitMethod(), TFTPBlksize: int(m.GetTftpBlksize()),
	}}, nil
}

func machineToProto(item *catalog.Item) *matchdpb.Machine {
	m := item.Machine
	return &matchdpb.Machine{
		Id: m.MAC.String(), Name: m.Name, Labels: m.Labels, Loader: m.Loader, ExitMethod: m.ExitMethod, TftpBlksize: int32(m.TFTPBlksize), Meta: metaToProto(&item.Meta),
	}
}

func groupFrom(g *matchdpb.Group) (catalog.Object, []change.Problem) {
	if g == nil {
		return absent(catalog.Group)
	}
	group := &groups.Group{
		ID: g.GetId(), Name: g.GetName(), Profile: g.GetProfile(), Selector: groups.Selector(filled(g.GetSelector())),
		Priority: int(g.GetPriority()), Snippets: listed(g.GetSnippets()), BootPolicy: groups.BootPolicy(g.GetBootPolicy()),
	}
	if len(g.GetMetadata().GetFields()) > 0 {
		if err := checkMetadata(structpb.NewStructValue(g.GetMetadata()), 0); err != nil {
			return catalog.Object{}, []change.Problem{{Ref: catalog.Ref{Kind: catalog.Group, ID: g.GetId()}, Field: "metadata", What: err.Error()}}
		}
		group.Metadata = g.GetMetadata().AsMap()
	}
	return catalog.Object{Group: group}, nil
}

// checkMetadata refuses what JSON cannot express, or nobody should have to read.
func checkMetadata(v *structpb.Value, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	switch v.GetKind().(type) {
	case nil:
		return fmt.Errorf("a value has no type")
	case *structpb.Value_NumberValue:
		if n := v.GetNumberValue(); math.IsNaN(n) || math.IsInf(n, 0) {
			return fmt.Errorf("%v is no JSON number", n)
		}
	case *structpb.Value_StructValue:
		for _, field := range v.GetStructValue().GetFields() {
			if err := checkMetadata(field, depth+1); err != nil {
				return err
			}
		}
	case *structpb.Value_ListValue:
		for _, element := range v.GetListValue().GetValues() {
			if err := checkMetadata(element, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func groupToProto(item *catalog.Item) *matchdpb.Group {
	g := item.Group
	return &matchdpb.Group{
		Id: g.ID, Name: g.Name, Profile: g.Profile, Selector: g.Selector, Metadata: metadataToProto(g.Metadata), Priority: int32(g.Priority),
		Snippets: g.Snippets, BootPolicy: string(g.BootPolicy), Meta: metaToProto(&item.Meta),
	}
}

// metadataToProto writes metadata, which in the store is JSON and therefore always can be.
func metadataToProto(metadata map[string]any) *structpb.Struct {
	if len(metadata) == 0 {
		return nil
	}
	if s, err := structpb.NewStruct(metadata); err == nil {
		return s
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return nil
	}
	s := &structpb.Struct{}
	if s.UnmarshalJSON(text) != nil {
		return nil
	}
	return s
}

func profileFrom(p *matchdpb.Profile) (catalog.Object, []change.Problem) {
	if p == nil {
		return absent(catalog.Profile)
	}
	profile := &profiles.Profile{
		ID: p.GetId(), Name: p.GetName(), Boot: profiles.Boot{Kernel: p.GetBoot().GetKernel(), Initrd: listed(p.GetBoot().GetInitrd()), Args: listed(p.GetBoot().GetArgs())},
		IgnitionID: p.GetIgnitionId(), GenericID: p.GetGenericId(), CloudID: p.GetCloudId(), Snippets: listed(p.GetSnippets()),
		IgnitionVersion: p.GetIgnitionVersion(), AllowUnhashedSources: p.GetAllowUnhashedSources(), Config: profiles.ConfigMode(p.GetConfig()),
		Cluster: p.GetCluster(), OS: p.GetOs(), Loader: profiles.Loader(p.GetLoader()),
	}
	if len(p.GetPlatformSnippets()) > 0 {
		profile.PlatformSnippets = make(map[string][]string, len(p.GetPlatformSnippets()))
		for platform, names := range p.GetPlatformSnippets() {
			profile.PlatformSnippets[platform] = listed(names.GetNames())
		}
	}
	return catalog.Object{Profile: profile}, nil
}

func profileToProto(item *catalog.Item) *matchdpb.Profile {
	p := item.Profile
	out := &matchdpb.Profile{
		Id: p.ID, Name: p.Name, IgnitionId: p.IgnitionID, GenericId: p.GenericID, CloudId: p.CloudID, Snippets: p.Snippets, IgnitionVersion: p.IgnitionVersion,
		AllowUnhashedSources: p.AllowUnhashedSources, Config: string(p.Config), Cluster: p.Cluster, Os: p.OS, Loader: string(p.Loader), Meta: metaToProto(&item.Meta),
	}
	if p.Boot.Kernel != "" || len(p.Boot.Initrd)+len(p.Boot.Args) > 0 {
		out.Boot = &matchdpb.NetBoot{Kernel: p.Boot.Kernel, Initrd: p.Boot.Initrd, Args: p.Boot.Args}
	}
	if len(p.PlatformSnippets) > 0 {
		out.PlatformSnippets = make(map[string]*matchdpb.Names, len(p.PlatformSnippets))
		for platform, names := range p.PlatformSnippets {
			out.PlatformSnippets[platform] = &matchdpb.Names{Names: names}
		}
	}
	return out
}

func templateFrom(t *matchdpb.Template) (catalog.Object, []change.Problem) {
	if t == nil {
		return absent(catalog.Template)
	}
	return catalog.Object{Template: &profiles.Template{Kind: profiles.Kind(t.GetKind()), Name: t.GetName(), Content: t.GetContent()}}, nil
}

func templateToProto(item *catalog.Item) *matchdpb.Template {
	t := item.Template
	return &matchdpb.Template{Kind: string(t.Kind), Name: t.Name, Content: t.Content, Meta: metaToProto(&item.Meta)}
}

func reservationFrom(r *matchdpb.Reservation) (catalog.Object, []change.Problem) {
	if r == nil {
		return absent(catalog.Reservation)
	}
	ref := catalog.Ref{Kind: catalog.Reservation, ID: r.GetId()}
	var problems []change.Problem
	note := func(field string, err error) {
		if err != nil {
			problems = append(problems, change.Problem{Ref: ref, Field: field, What: err.Error()})
		}
	}
	out := &lease.Reservation{Hostname: r.GetHostname()}
	address, err := netip.ParseAddr(r.GetId())
	if err != nil {
		note("id", fmt.Errorf("%.80q is not an IPv4 address", r.GetId()))
	}
	out.Address = address.Unmap()
	if r.GetMac() != "" {
		out.MAC, err = machine.ParseMAC(r.GetMac())
		note("mac", err)
	}
	if r.GetClientId() != "" {
		out.ClientID, err = lease.ParseClientID(r.GetClientId())
		note("client_id", err)
	}
	if r.GetCircuitId() != "" {
		out.CircuitID, err = lease.ParseCircuitID(r.GetCircuitId())
		note("circuit_id", err)
	}
	return catalog.Object{Reservation: out}, problems
}

func reservationToProto(item *catalog.Item) *matchdpb.Reservation {
	r := item.Reservation
	return &matchdpb.Reservation{
		Id: r.Address.String(), Mac: r.MAC.String(), ClientId: lease.FormatClientID(r.ClientID), CircuitId: lease.FormatCircuitID(r.CircuitID),
		Hostname: r.Hostname, Meta: metaToProto(&item.Meta),
	}
}

// objectToProto writes any object.
func objectToProto(item *catalog.Item) *matchdpb.Object {
	switch {
	case item.Machine != nil:
		return &matchdpb.Object{Object: &matchdpb.Object_Machine{Machine: machineToProto(item)}}
	case item.Group != nil:
		return &matchdpb.Object{Object: &matchdpb.Object_Group{Group: groupToProto(item)}}
	case item.Profile != nil:
		return &matchdpb.Object{Object: &matchdpb.Object_Profile{Profile: profileToProto(item)}}
	case item.Template != nil:
		return &matchdpb.Object{Object: &matchdpb.Object_Template{Template: templateToProto(item)}}
	case item.Reservation != nil:
		return &matchdpb.Object{Object: &matchdpb.Object_Reservation{Reservation: reservationToProto(item)}}
	}
	return nil
}

func metaToProto(m *catalog.Meta) *matchdpb.Meta {
	out := &matchdpb.Meta{Revision: int64(m.Revision), Owner: m.Owner, UpdatedBy: m.UpdatedBy}
	if !m.UpdatedAt.IsZero() {
		out.UpdatedAt = timestamppb.New(m.UpdatedAt)
	}
	return out
}

func problemToProto(p *change.Problem) *matchdpb.Problem {
	out := &matchdpb.Problem{
		Field: p.Field, Line: int32(p.Line), Column: int32(p.Column), What: clip(p.What, maxMessageText), Source: clip(p.Source, maxDetail), Groups: p.Groups,
	}
	if p.Ref != (catalog.Ref{}) {
		out.Ref = refToProto(p.Ref)
	}
	if more := len(p.Groups) - maxGroups; more > 0 {
		out.Groups, out.MoreGroups = p.Groups[:maxGroups], int32(more)
	}
	return out
}

func problemsToProto(list []change.Problem) []*matchdpb.Problem {
	out := make([]*matchdpb.Problem, 0, min(len(list), change.MaxProblems))
	for i := range list[:min(len(list), change.MaxProblems)] {
		out = append(out, problemToProto(&list[i]))
	}
	return out
}

// maxGroups is the number of groups that a problem names.
const maxGroups = 20

// revisionFrom reads a precondition; nil: there is none.
func revisionFrom(revision *int64) (*store.Revision, error) {
	if revision == nil {
		return nil, nil
	}
	if *revision < 0 {
		return nil, fmt.Errorf("revision: %d is negative", *revision)
	}
	r := store.Revision(*revision)
	return &r, nil
}

// filled returns a map, or nil for an empty one: the store does not tell them apart.
func filled(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func listed(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}
