package main

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/profiles"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// object is an object of the API with the file that says it; an object of the server has none.
type object struct {
	pb     *matchdpb.Object
	origin origin
}

// origin is where a file says something. The zero value is nowhere.
type origin struct {
	file string // as it was named
	// problem returns a problem of a field with its place; nil if fields have none.
	problem func(field, what string) site.Problem
	whole   bool // the file is a template's content: lines of one are lines of the other
}

// wrap makes an object of one of its sorts.
func wrap(m proto.Message) *matchdpb.Object {
	switch m := m.(type) {
	case *matchdpb.Machine:
		return &matchdpb.Object{Object: &matchdpb.Object_Machine{Machine: m}}
	case *matchdpb.Group:
		return &matchdpb.Object{Object: &matchdpb.Object_Group{Group: m}}
	case *matchdpb.Profile:
		return &matchdpb.Object{Object: &matchdpb.Object_Profile{Profile: m}}
	case *matchdpb.Template:
		return &matchdpb.Object{Object: &matchdpb.Object_Template{Template: m}}
	case *matchdpb.Reservation:
		return &matchdpb.Object{Object: &matchdpb.Object_Reservation{Reservation: m}}
	}
	return nil
}

// inner returns the one message that an object holds; nil for an empty object.
func inner(o *matchdpb.Object) proto.Message {
	switch o := o.GetObject().(type) {
	case *matchdpb.Object_Machine:
		return o.Machine
	case *matchdpb.Object_Group:
		return o.Group
	case *matchdpb.Object_Profile:
		return o.Profile
	case *matchdpb.Object_Template:
		return o.Template
	case *matchdpb.Object_Reservation:
		return o.Reservation
	}
	return nil
}

// refOf names an object.
func refOf(o *matchdpb.Object) *matchdpb.Ref {
	switch o := o.GetObject().(type) {
	case *matchdpb.Object_Machine:
		return &matchdpb.Ref{Kind: matchdpb.Kind_KIND_MACHINE, Id: o.Machine.GetId()}
	case *matchdpb.Object_Group:
		return &matchdpb.Ref{Kind: matchdpb.Kind_KIND_GROUP, Id: o.Group.GetId()}
	case *matchdpb.Object_Profile:
		return &matchdpb.Ref{Kind: matchdpb.Kind_KIND_PROFILE, Id: o.Profile.GetId()}
	case *matchdpb.Object_Template:
		return &matchdpb.Ref{Kind: matchdpb.Kind_KIND_TEMPLATE, Id: o.Template.GetKind() + "/" + o.Template.GetName()}
	case *matchdpb.Object_Reservation:
		return &matchdpb.Ref{Kind: matchdpb.Kind_KIND_RESERVATION, Id: o.Reservation.GetId()}
	}
	return &matchdpb.Ref{}
}

// metaOf returns what the server knows of an object.
func metaOf(o *matchdpb.Object) *matchdpb.Meta {
	if holder, ok := inner(o).(interface{ GetMeta() *matchdpb.Meta }); ok {
		return holder.GetMeta()
	}
	return nil
}

// documentOf is the document that a file or output has for a message: what decodeObject reads.
func documentOf(kind string, m proto.Message) record {
	fields := recordOf(m)
	if template, ok := m.(*matchdpb.Template); ok {
		fields = record{{"id", template.GetKind() + "/" + template.GetName()}}
		switch content := template.GetContent(); {
		case len(content) == 0:
		case utf8.Valid(content):
			fields = append(fields, entry{"content", string(content)})
		default:
			fields = append(fields, entry{"content_base64", base64.StdEncoding.EncodeToString(content)})
		}
		if template.GetMeta() != nil {
			fields = append(fields, entry{"meta", recordOf(template.GetMeta())})
		}
	}
	return append(record{{"kind", kind}}, fields...)
}

// desired is an object's document without what the server adds, to write files and to compare.
func desired(o *matchdpb.Object) record {
	return documentOf(kindNames[refOf(o).GetKind()], inner(o)).without("meta")
}

// kindNames are the kinds of documents.
var kindNames = map[matchdpb.Kind]string{
	matchdpb.Kind_KIND_MACHINE: "Machine", matchdpb.Kind_KIND_GROUP: "Group", matchdpb.Kind_KIND_PROFILE: "Profile",
	matchdpb.Kind_KIND_TEMPLATE: "Template", matchdpb.Kind_KIND_RESERVATION: "Reservation",
}

// metaDocument is what output adds to an object. In a file the revision is a precondition; the rest is allowed and not looked at.
type metaDocument struct {
	Revision  int64  `json:"revision"`
	Owner     string `json:"owner"`
	UpdatedBy string `json:"updated_by"`
	UpdatedAt string `json:"updated_at"`
}

// message keeps what is looked at. nil: nothing is.
func (d *metaDocument) message() *matchdpb.Meta {
	if d.Revision == 0 {
		return nil
	}
	return &matchdpb.Meta{Revision: d.Revision}
}

type machineDocument struct {
	Kind        string            `json:"kind"`
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Loader      string            `json:"loader"`
	ExitMethod  string            `json:"exit_method"`
	TFTPBlksize int32             `json:"tftp_blksize"`
	Meta        metaDocument      `json:"meta"`
}

type groupDocument struct {
	Kind string `json:"kind"`
	groups.Group
	Meta metaDocument `json:"meta"`
}

type profileDocument struct {
	Kind string `json:"kind"`
	profiles.Profile
	Meta metaDocument `json:"meta"`
}

type templateDocument struct {
	Kind    string       `json:"kind"`
	ID      string       `json:"id"`
	Content string       `json:"content"`
	Base64  string       `json:"content_base64"`
	Meta    metaDocument `json:"meta"`
}

type reservationDocument struct {
	Kind      string       `json:"kind"`
	ID        string       `json:"id"`
	MAC       string       `json:"mac"`
	ClientID  string       `json:"client_id"`
	CircuitID string       `json:"circuit_id"`
	Hostname  string       `json:"hostname"`
	Meta      metaDocument `json:"meta"`
}

// fieldError is something wrong with one field of a document.
type fieldError struct{ field, what string }

func (e *fieldError) Error() string { return e.field + ": " + e.what }

// decodeObject reads one document of a known kind.
func decodeObject(document *site.Document) (proto.Message, error) {
	switch document.Kind {
	case "Machine":
		var d machineDocument
		err := document.Decode(&d)
		if mac, wrong := machine.ParseMAC(d.ID); wrong == nil {
			d.ID = mac.String() // as the server names it, so that its answers can be told of this file
		}
		return &matchdpb.Machine{Id: d.ID, Name: d.Name, Labels: d.Labels, Loader: d.Loader, ExitMethod: d.ExitMethod, TftpBlksize: d.TFTPBlksize, Meta: d.Meta.message()}, err
	case "Group":
		var d groupDocument
		if err := document.Decode(&d); err != nil {
			return nil, err
		}
		message, err := groupMessage(&d.Group)
		if err != nil {
			return nil, err
		}
		message.Meta = d.Meta.message()
		return message, nil
	case "Profile":
		var d profileDocument
		err := document.Decode(&d)
		message := profileMessage(&d.Profile)
		message.Meta = d.Meta.message()
		return message, err
	case "Template":
		var d templateDocument
		if err := document.Decode(&d); err != nil {
			return nil, err
		}
		return d.message()
	default: // readers have checked the kind
		var d reservationDocument
		err := document.Decode(&d)
		return &matchdpb.Reservation{Id: d.ID, Mac: d.MAC, ClientId: d.ClientID, CircuitId: d.CircuitID, Hostname: d.Hostname, Meta: d.Meta.message()}, err
	}
}

func (d *templateDocument) message() (proto.Message, error) {
	kind, name, found := strings.Cut(d.ID, "/")
	if !found {
		return nil, &fieldError{"id", `a template's id is KIND/NAME, such as "ignition/worker.yaml"`}
	}
	content := []byte(d.Content)
	if d.Base64 != "" {
		var err error
		if content, err = base64.StdEncoding.DecodeString(d.Base64); err != nil || d.Content != "" {
			return nil, &fieldError{"content_base64", "is not Base64, or there is a content, too"}
		}
	}
	return &matchdpb.Template{Kind: kind, Name: name, Content: content, Meta: d.Meta.message()}, nil
}

func groupMessage(g *groups.Group) (*matchdpb.Group, error) {
	message := &matchdpb.Group{
		Id: g.ID, Name: g.Name, Profile: g.Profile, Selector: g.Selector, Priority: int32(g.Priority), Snippets: g.Snippets, BootPolicy: string(g.BootPolicy),
	}
	if g.Priority < math.MinInt32 || g.Priority > math.MaxInt32 {
		return nil, &fieldError{"priority", fmt.Sprintf("is a whole number from %d to %d", math.MinInt32, math.MaxInt32)}
	}
	if len(g.Metadata) > 0 {
		metadata, err := structpb.NewStruct(g.Metadata)
		if err != nil {
			return nil, &fieldError{"metadata", err.Error()}
		}
		message.Metadata = metadata
	}
	return message, nil
}

func profileMessage(p *profiles.Profile) *matchdpb.Profile {
	message := &matchdpb.Profile{
		Id: p.ID, Name: p.Name, IgnitionId: p.IgnitionID, GenericId: p.GenericID, CloudId: p.CloudID, Snippets: p.Snippets,
		IgnitionVersion: p.IgnitionVersion, AllowUnhashedSources: p.AllowUnhashedSources, Config: string(p.Config), Cluster: p.Cluster,
		Os: p.OS, Loader: string(p.Loader),
	}
	if p.Boot.Kernel != "" || len(p.Boot.Initrd) > 0 || len(p.Boot.Args) > 0 {
		message.Boot = &matchdpb.NetBoot{Kernel: p.Boot.Kernel, Initrd: p.Boot.Initrd, Args: p.Boot.Args}
	}
	for platform, names := range p.PlatformSnippets {
		if message.PlatformSnippets == nil {
			message.PlatformSnippets = map[string]*matchdpb.Names{}
		}
		message.PlatformSnippets[platform] = &matchdpb.Names{Names: names}
	}
	return message
}
