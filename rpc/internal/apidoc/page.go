package main

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// page is the document while it is written.
type page struct {
	bytes.Buffer
	done map[protoreflect.FullName]bool // messages that were told of: requests and responses
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// comment returns what stands before a descriptor in its proto, as one paragraph.
func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	return strings.Join(strings.Fields(text), " ")
}

func (p *page) service(service protoreflect.ServiceDescriptor) {
	p.line("\n## %s\n\n%s", service.Name(), comment(service))
	for i := range service.Methods().Len() {
		p.method(service, service.Methods().Get(i))
	}
	examples, err := texts.ReadFile("examples/" + string(service.Name()) + ".sh")
	if err == nil {
		p.examples(string(examples))
	}
}

func (p *page) method(service protoreflect.ServiceDescriptor, method protoreflect.MethodDescriptor) {
	p.line("\n### %s/%s\n\n%s", service.FullName(), method.Name(), comment(method))
	p.body("Request", method.Input())
	answer := "Response"
	if method.IsStreamingServer() {
		answer = "Responses, a stream"
	}
	p.body(answer, method.Output())
}

// body tells of a request or response.
func (p *page) body(what string, message protoreflect.MessageDescriptor) {
	p.done[message.FullName()] = true
	if message.Fields().Len() == 0 {
		p.line("\n%s: empty.", what)
		return
	}
	p.line("\n%s:\n", what)
	p.fields(message)
	for i := range message.Enums().Len() {
		p.enum(message.Enums().Get(i))
	}
}

func (p *page) fields(message protoreflect.MessageDescriptor) {
	p.line("| field | type | |")
	p.line("|---|---|---|")
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		text := comment(field)
		if oneof := field.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			text += fmt.Sprintf(" (one of `%s`)", oneof.Name())
		}
		p.line("| `%s` | %s | %s |", field.Name(), typeOf(field), strings.ReplaceAll(text, "|", `\|`))
	}
}

// typeOf names a field's type, with a link to a message or an enum of ours.
func typeOf(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return fmt.Sprintf("map of %s to %s", typeOf(field.MapKey()), typeOf(field.MapValue()))
	case field.IsList():
		return "list of " + single(field)
	case field.HasOptionalKeyword():
		return single(field) + ", optional"
	}
	return single(field)
}

func single(field protoreflect.FieldDescriptor) string {
	var of protoreflect.Descriptor
	switch field.Kind() {
	case protoreflect.MessageKind:
		of = field.Message()
	case protoreflect.EnumKind:
		of = field.Enum()
	default:
		return field.Kind().String()
	}
	if of.ParentFile().Package() != "matchd.v1" {
		return string(of.FullName())
	}
	if _, nested := of.Parent().(protoreflect.MessageDescriptor); nested {
		return string(of.Name())
	}
	return fmt.Sprintf("[%s](#%s)", of.Name(), strings.ToLower(string(of.Name())))
}

func (p *page) enum(enum protoreflect.EnumDescriptor) {
	p.line("\n`%s`: %s\n", enum.Name(), comment(enum))
	p.line("| value | |")
	p.line("|---|---|")
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		p.line("| `%s` | %s |", value.Name(), comment(value))
	}
}

// examples writes commands, each under the comment that stands before it.
func (p *page) examples(script string) {
	p.line("\n### Examples")
	for _, example := range strings.Split(strings.TrimSpace(script), "\n\n") {
		lines := strings.Split(example, "\n")
		about := 0
		for about < len(lines) && strings.HasPrefix(lines[about], "#") {
			about++
		}
		p.line("")
		for _, line := range lines[:about] {
			p.line("%s", strings.TrimSpace(strings.TrimPrefix(line, "#")))
		}
		p.line("\n```sh\n%s\n```", strings.Join(lines[about:], "\n"))
	}
}

// rest tells of the messages that are no request or response of their own, and of the enums.
func (p *page) rest(messages []protoreflect.MessageDescriptor, enums []protoreflect.EnumDescriptor) {
	p.line("\n## Messages")
	for _, message := range messages {
		if p.done[message.FullName()] {
			continue
		}
		p.line("\n### %s\n\n%s", message.Name(), comment(message))
		if message.Fields().Len() > 0 {
			p.line("")
			p.fields(message)
		}
	}
	p.line("\n## Enums")
	for _, enum := range enums {
		p.line("\n### %s", enum.Name())
		p.enum(enum)
	}
	p.line("")
}
