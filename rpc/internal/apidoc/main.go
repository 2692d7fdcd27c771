// Command apidoc writes docs/api.md: the introduction, and for every service its methods with their messages, out of the comments in the
// protos, and the examples. "go generate ./rpc" runs it.
package main

import (
	"bytes"
	"embed"
	"flag"
	"fmt"
	"os"
	"os/exec"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The texts that no proto has: intro.md, and for a service its examples, commands with their explanation as comments.
//
//go:embed intro.md examples
var texts embed.FS

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	// Only a build of the sources has the comments.
	image, err := exec.Command("go", "tool", "buf", "build", "--as-file-descriptor-set", "-o", "-").Output()
	if err != nil {
		return fmt.Errorf("running buf build: %w", err)
	}
	text, err := document(image)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644)
}

// order is that of the services in the document: first what one asks first, then what one manages, then what machines did with it.
var order = []protoreflect.Name{
	"Status", "Profiles", "Templates", "Groups", "Machines", "Reservations", "Changes", "Boot", "Timelines", "Leases", "Assets", "Audit",
}

// document writes the page for a descriptor set with source information.
func document(image []byte) ([]byte, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(image, &set); err != nil {
		return nil, fmt.Errorf("reading the descriptors: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("reading the descriptors: %w", err)
	}
	services := map[protoreflect.Name]protoreflect.ServiceDescriptor{}
	var messages []protoreflect.MessageDescriptor
	var enums []protoreflect.EnumDescriptor
	for _, file := range set.GetFile() {
		found, err := files.FindFileByPath(file.GetName())
		if err != nil {
			return nil, err
		}
		if found.Package() != "matchd.v1" {
			continue
		}
		for i := range found.Services().Len() {
			services[found.Services().Get(i).Name()] = found.Services().Get(i)
		}
		for i := range found.Messages().Len() {
			messages = append(messages, found.Messages().Get(i))
		}
		for i := range found.Enums().Len() {
			enums = append(enums, found.Enums().Get(i))
		}
	}
	if len(services) != len(order) {
		return nil, fmt.Errorf("there are %d services, %d have a place in the document", len(services), len(order))
	}
	intro, err := texts.ReadFile("intro.md")
	if err != nil {
		return nil, err
	}
	p := &page{done: map[protoreflect.FullName]bool{}}
	p.Write(intro)
	for _, name := range order {
		service := services[name]
		if service == nil {
			return nil, fmt.Errorf("there is no service %s", name)
		}
		p.service(service)
	}
	p.rest(messages, enums)
	return bytes.TrimRight(p.Bytes(), "\n"), nil
}
