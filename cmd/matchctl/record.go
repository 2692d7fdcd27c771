package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/rpc/matchdpb"
)

// record is a message as JSON and YAML show it: fields in the order of the API's definition, by their names there, without those that
// are empty.
type record []entry

type entry struct {
	name  string
	value any // nil, bool, float64, int64, uint64, string, []any, map[string]any or record
}

// MarshalJSON writes an object in the record's order.
func (r record) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, e := range r {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := writeMember(&out, e); err != nil {
			return nil, err
		}
	}
	return append(append([]byte{'{'}, out.Bytes()...), '}'), nil
}

func writeMember(out *bytes.Buffer, e entry) error {
	name, err := json.Marshal(e.name)
	if err != nil {
		return err
	}
	out.Write(name)
	out.WriteByte(':')
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(e.value)
}

// without returns a copy that lacks a field.
func (r record) without(name string) record {
	var kept record
	for _, e := range r {
		if e.name != name {
			kept = append(kept, e)
		}
	}
	return kept
}

// recordOf reads a message.
func recordOf(m proto.Message) record {
	var r record
	if m == nil || !m.ProtoReflect().IsValid() {
		return r
	}
	message := m.ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); message.Has(field) {
			r = append(r, entry{string(field.Name()), valueOf(field, message.Get(field))})
		}
	}
	return r
}

func valueOf(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	switch {
	case field.IsMap():
		m := map[string]any{}
		value.Map().Range(func(key protoreflect.MapKey, element protoreflect.Value) bool {
			m[key.String()] = single(field.MapValue(), element)
			return true
		})
		return m
	case field.IsList():
		list := make([]any, value.List().Len())
		for i := range list {
			list[i] = single(field, value.List().Get(i))
		}
		return list
	}
	return single(field, value)
}

func single(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	switch field.Kind() {
	case protoreflect.MessageKind:
		return messageValue(value.Message().Interface())
	case protoreflect.EnumKind:
		return enumName(field.Enum(), value.Enum())
	case protoreflect.BytesKind:
		if utf8.Valid(value.Bytes()) {
			return string(value.Bytes())
		}
		return base64.StdEncoding.EncodeToString(value.Bytes())
	}
	return value.Interface()
}

// messageValue shows messages that stand for something simpler as that.
func messageValue(m proto.Message) any {
	switch m := m.(type) {
	case *timestamppb.Timestamp:
		return m.AsTime().Format(time.RFC3339Nano)
	case *structpb.Struct:
		return m.AsMap()
	case *matchdpb.Names:
		return stringList(m.GetNames())
	}
	return recordOf(m)
}

func stringList(values []string) []any {
	list := make([]any, len(values))
	for i := range values {
		list[i] = values[i]
	}
	return list
}

// enumName writes DO_RUN as "run": the prefix is what stands before UNSPECIFIED.
func enumName(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := enum.Values().ByNumber(number)
	if value == nil {
		return ""
	}
	prefix := strings.TrimSuffix(string(enum.Values().Get(0).Name()), "UNSPECIFIED")
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix))
}
