package render_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
)

func TestMetadata(t *testing.T) {
	in := render.Input{
		Group: &groups.Group{
			ID: "g",
			Metadata: map[string]any{
				"etcd_name": "node1", "port": 8080.0, "big": 12345678901.0, "flag": true, "null": nil, "list": []any{"a"}, "os": "loses",
				"nested": map[string]any{"Deep": map[string]any{"x-y": "z"}},
			},
			Selector: groups.Selector{"OS": "installed", "MAC": "52-54-00-AA-BB-CC"},
		},
		Labels: groups.Labels{"mac": "52:54:00:aa:bb:cc", "a.b": "1"}, RawQuery: "mac=52-54-00-AA-BB-CC&a.b=1",
	}
	want := strings.Join([]string{
		"BIG=1.2345678901e+10", "ETCD_NAME=node1", "FLAG=true", "MAC=52:54:00:aa:bb:cc", "NESTED_DEEP_X-Y=z", "OS=installed", "PORT=8080",
		"REQUEST_QUERY_A.B=1", "REQUEST_QUERY_MAC=52:54:00:aa:bb:cc", "REQUEST_RAW_QUERY=mac=52-54-00-AA-BB-CC&a.b=1", "",
	}, "\n")
	for range 10 {
		got, err := render.Metadata(in)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	got, err := render.Metadata(render.Input{})
	if err != nil || string(got) != "REQUEST_RAW_QUERY=\n" {
		t.Errorf("without a group: %q, %v", got, err)
	}
}

func TestMetadataRefusesForgedLines(t *testing.T) {
	for name, in := range map[string]render.Input{
		"value":    {Group: &groups.Group{Metadata: map[string]any{"a": "x\nROOT_PASSWORD=y"}}},
		"nested":   {Group: &groups.Group{Metadata: map[string]any{"a": map[string]any{"b": "x\r"}}}},
		"label":    {Labels: groups.Labels{"a": "x\nB=y"}},
		"name":     {Labels: groups.Labels{"a\nB=y": "x"}},
		"equals":   {Labels: groups.Labels{"a=b": "x"}},
		"selector": {Group: &groups.Group{Selector: groups.Selector{"a": "x\u2028"}}},
	} {
		if got, err := render.Metadata(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %q, %v; want an error of kind Invalid", name, got, err)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add("key", "value")
	f.Add("a\n", "b")
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, key, value string) {
		in := render.Input{Group: &groups.Group{Metadata: map[string]any{key: value}}, Labels: groups.Labels{key: value}, RawQuery: value}
		got, err := render.Metadata(in)
		if err != nil {
			return
		}
		if lines := strings.Count(string(got), "\n"); lines != 3 {
			t.Errorf("%d lines: %q", lines, got)
		}
	})
}
