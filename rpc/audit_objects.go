package rpc

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// objectsOf returns which objects a writing request is about, by its type; a request of any other type is about none.
func objectsOf(request any) []audit.Object {
	if apply, is := request.(*matchdpb.ApplyRequest); is {
		return objectsOfChanges(apply.GetChanges())
	}
	message, is := request.(proto.Message)
	if !is || message == nil || !message.ProtoReflect().IsValid() {
		return nil
	}
	name := string(message.ProtoReflect().Descriptor().Name())
	for _, kind := range [...]string{"Machine", "Group", "Profile", "Template", "Reservation", "Ignition", "Generic"} {
		if strings.Contains(name, kind) {
			return []audit.Object{objectOf(strings.ToLower(kind), message.ProtoReflect())}
		}
	}
	return nil
}

func objectsOfChanges(changes []*matchdpb.Change) []audit.Object {
	objects := make([]audit.Object, 0, min(len(changes), audit.MaxObjects))
	for i, change := range changes {
		if i >= audit.MaxObjects {
			// Those that follow are only counted.
			objects = append(objects, audit.Object{})
			continue
		}
		switch {
		case change.GetDelete() != nil:
			objects = append(objects, audit.Object{Kind: kindName(change.GetDelete().GetKind()), ID: change.GetDelete().GetId()})
		default:
			objects = append(objects, objectOfPut(change.GetPut()))
		}
	}
	return objects
}

func objectOfPut(put *matchdpb.Object) audit.Object {
	message := put.ProtoReflect()
	if put == nil {
		return audit.Object{}
	}
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("object"))
	if field == nil {
		return audit.Object{}
	}
	return objectOf(string(field.Name()), message.Get(field).Message())
}

// objectOf reads the id of a request: its own field, or that of the object in it. A document of matchbox is a template with its kind before the name.
func objectOf(kind string, message protoreflect.Message) audit.Object {
	object := audit.Object{Kind: kind, ID: text(message, "id")}
	inner := message.Descriptor().Fields().ByName(protoreflect.Name(kind))
	if object.ID == "" && inner != nil && inner.Message() != nil {
		return objectOf(kind, message.Get(inner).Message())
	}
	name := text(message, "name")
	switch {
	case kind == "ignition" || kind == "generic":
		return audit.Object{Kind: "template", ID: kind + "/" + name}
	case kind == "template" && object.ID == "":
		object.ID = text(message, "kind") + "/" + name
	}
	return object
}

func text(message protoreflect.Message, field protoreflect.Name) string {
	descriptor := message.Descriptor().Fields().ByName(field)
	if descriptor == nil || descriptor.Kind() != protoreflect.StringKind || descriptor.IsList() {
		return ""
	}
	return message.Get(descriptor).String()
}
