package main

import (
	"bytes"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// everyObject has every field of every sort of object set, to odd values where there are some.
func everyObject(t testing.TB) []*matchdpb.Object {
	t.Helper()
	metadata, err := structpb.NewStruct(map[string]any{
		"text": "a: b\n  c\n", "number": 1.5, "whole": 12345678901.0, "yes": true, "nothing": nil, "list": []any{"x", 1.0}, "map": map[string]any{"on": "off"},
	})
	if err != nil {
		t.Fatal(err)
	}
	meta := &matchdpb.Meta{Revision: 7, Owner: "groups/x.yaml", UpdatedBy: "ann", UpdatedAt: timestamppb.Now()}
	messages := []proto.Message{
		&matchdpb.Machine{Id: "52:54:00:00:00:01", Name: "n1", Labels: map[string]string{"rack": "007", "on": "yes"}, Loader: "shim", ExitMethod: "exit1", TftpBlksize: 1468, Meta: meta},
		&matchdpb.Group{Id: "123", Name: "null", Profile: "p", Selector: map[string]string{"mac": "52-54-00-00-00-01", "": "x"}, Metadata: metadata,
			Priority: -5, Snippets: []string{"a", "1.5"}, BootPolicy: "always", Meta: meta},
		&matchdpb.Profile{Id: "p", Name: "P", Boot: &matchdpb.NetBoot{Kernel: "/assets/k", Initrd: []string{"--name main /i"}, Args: []string{"a=${uuid}", "- b", "'q'"}},
			IgnitionId: "i", GenericId: "g", CloudId: "c", Snippets: []string{"s"}, PlatformSnippets: map[string]*matchdpb.Names{"metal": {Names: []string{"m", "n"}}},
			IgnitionVersion: "3.5.0", AllowUnhashedSources: true, Config: "initrd", Cluster: "k", Os: "flatcar", Loader: "ipxe", Meta: meta},
		&matchdpb.Template{Kind: "ignition", Name: "worker.bu", Content: []byte("variant: fcos\n\ttab\n  indented  \n\nno end"), Meta: meta},
		&matchdpb.Template{Kind: "generic", Name: "binary", Content: []byte{0xff, 0, 1}},
		&matchdpb.Template{Kind: "cloud", Name: "empty"},
		&matchdpb.Reservation{Id: "10.0.0.5", Mac: "52:54:00:00:00:01", ClientId: "0102", CircuitId: "0x01", Hostname: "n1", Meta: meta},
	}
	var objects []*matchdpb.Object
	for _, m := range messages {
		objects = append(objects, wrap(m))
	}
	return objects
}

// TestObjectsRoundTrip writes objects as output does and reads them as files are read: nothing may be lost, in JSON or in YAML.
func TestObjectsRoundTrip(t *testing.T) {
	for _, o := range everyObject(t) {
		for _, form := range []string{"json", "yaml"} {
			t.Run(client.Name(refOf(o))+"/"+form, func(t *testing.T) {
				var text bytes.Buffer
				a := &app{out: terminal{Writer: &text}}
				if err := a.writeOne(form, documentOf(kindNames[refOf(o).GetKind()], inner(o))); err != nil {
					t.Fatal(err)
				}
				r := &reader{seen: map[string]string{}}
				r.documents("x."+form, text.Bytes(), true)
				if len(r.problems) > 0 || len(r.objects) != 1 {
					t.Fatalf("problems %v, %d objects\n%s", r.problems, len(r.objects), text.String())
				}
				if got, want := desired(r.objects[0].pb), desired(o); cmp.Diff(jsonOf(t, want), jsonOf(t, got)) != "" {
					t.Errorf("%s\n%s", cmp.Diff(jsonOf(t, want), jsonOf(t, got)), text.String())
				}
				if !proto.Equal(withoutMeta(o), withoutMeta(r.objects[0].pb)) {
					t.Errorf("got  %v\nwant %v", r.objects[0].pb, o)
				}
			})
		}
	}
}

func withoutMeta(o *matchdpb.Object) proto.Message {
	m := proto.Clone(inner(o))
	m.ProtoReflect().Clear(m.ProtoReflect().Descriptor().Fields().ByName("meta"))
	return m
}

func jsonOf(t testing.TB, r record) string {
	t.Helper()
	var text bytes.Buffer
	if err := writeJSON(&text, r); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// FuzzYAMLKeepsText writes any text into a document and reads it back.
func FuzzYAMLKeepsText(f *testing.F) {
	for _, seed := range []string{"", "a", "a\n", "\n", "\n\n", " a\n", "a\n  b\n c", "\ta\n", "a\r\nb\r\n", "#\n", "---\n", "a: b\n- c\n", "x \ny", "null", "1e3", "\u2028\n", "\u0085\n",
		"\ufeff\n", "\x00\n", "'\"\n", "|\n", "a\n\n\n", "  \n", "%x\n", "0x1f", "~", "2001-01-01", "yes"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		var out bytes.Buffer
		if err := writeYAML(&out, record{{"kind", "Template"}, {"id", "generic/x"}, {"content", text}}); err != nil {
			t.Fatal(err)
		}
		var d templateDocument
		documents, err := site.Documents("x.yaml", out.Bytes())
		if err == nil && len(documents) == 1 {
			err = documents[0].Decode(&d)
		}
		if err != nil || d.Content != text {
			t.Errorf("got %q, %v, want %q\n%s", d.Content, err, text, out.String())
		}
	})
}

func TestYAMLKeepsOrderAndShape(t *testing.T) {
	var out bytes.Buffer
	if err := writeYAML(&out, record{{"kind", "Group"}, {"id", "a"}, {"list", []any{"x", 1.0}}, {"none", []any{}}, {"text", "l1\nl2\n"}, {"zero", nil}}); err != nil {
		t.Fatal(err)
	}
	want := "kind: Group\nid: a\nlist:\n  - x\n  - 1\nnone: []\ntext: |\n  l1\n  l2\nzero: null\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	var again map[string]any
	if err := yaml.Unmarshal(out.Bytes(), &again); err != nil {
		t.Error(err)
	}
}

func TestRecordsOfAnswers(t *testing.T) {
	plan := &matchdpb.ApplyResponse{Revision: 5, Objects: []*matchdpb.ObjectResult{{
		Ref: &matchdpb.Ref{Kind: matchdpb.Kind_KIND_GROUP, Id: "a"}, Action: matchdpb.Action_ACTION_CHANGED,
	}}}
	got := jsonOf(t, recordOf(plan))
	want := "{\n  \"revision\": 5,\n  \"objects\": [\n    {\n      \"ref\": {\n        \"kind\": \"group\",\n        \"id\": \"a\"\n      },\n      \"action\": \"changed\"\n    }\n  ]\n}\n"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
