package groups_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/matchd/matchd/groups"
)

func TestExplainNearest(t *testing.T) {
	index := groups.Build([]groups.Group{
		{ID: "node-17", Selector: groups.Selector{"mac": "52:54:00:00:00:17"}},
		{ID: "node-16", Selector: groups.Selector{"mac": "52:54:00:00:00:16"}},
		{ID: "foreign", Selector: groups.Selector{"mac": "ae:00:11:22:33:44"}},
		{ID: "installed-17", Selector: groups.Selector{"mac": "52:54:00:00:00:17", "os": "installed", "zone": "b"}},
		{ID: "by-uuid", Selector: groups.Selector{"uuid": "4C4C4544-0051"}},
		{ID: "rack", Selector: groups.Selector{"rack": "r1", "row": "7"}},
	})
	tests := []struct {
		name   string
		labels groups.Labels
		want   []string // the nearest, in order, as far as the case cares
	}{
		{"a neighbour's address is nearer than a foreign one", groups.Labels{"mac": "52:54:00:00:00:18"}, []string{
			`group "node-17" wants mac "52:54:00:00:00:17", got "52:54:00:00:00:18"`,
			`group "node-16" wants mac "52:54:00:00:00:16", got "52:54:00:00:00:18"`,
		}},
		{"a uuid in the wrong case", groups.Labels{"mac": "00:00:00:00:00:01", "uuid": "4c4c4544-0051"}, []string{
			`group "by-uuid" wants uuid "4C4C4544-0051", got "4c4c4544-0051"`,
		}},
		{"an absent label", groups.Labels{"row": "7"}, []string{
			`group "rack" wants rack "r1", got none`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			explained := index.Explain(tt.labels)
			if explained.Chosen != nil || len(explained.Candidates) > 0 {
				t.Fatalf("Explain(%q) chose %v", tt.labels, explained.Chosen)
			}
			var got []string
			for _, miss := range explained.Nearest {
				got = append(got, miss.String())
			}
			if len(got) != groups.MaxNearest {
				t.Errorf("%d nearest groups of 6, want %d", len(got), groups.MaxNearest)
			}
			if !slices.Equal(got[:len(tt.want)], tt.want) {
				t.Errorf("nearest:\n got %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestExplainIdentityOutweighsCount(t *testing.T) {
	index := groups.Build([]groups.Group{
		{ID: "meant", Selector: groups.Selector{"mac": "52:54:00:00:00:17", "os": "installed", "zone": "b"}},
		{ID: "stranger", Selector: groups.Selector{"mac": "52:54:00:00:00:18"}},
	})
	explained := index.Explain(groups.Labels{"mac": "52:54:00:00:00:17"})
	if got, want := explained.String(), `no group matches; nearest: group "meant" wants os "installed", got none (1 more pair differs)`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestExplainChosen(t *testing.T) {
	index := groups.Build([]groups.Group{{ID: "default"}, {ID: "node", Selector: groups.Selector{"mac": "525400000017"}}})
	labels := groups.Labels{"mac": "52:54:00:00:00:17"}
	if got, want := index.Explain(labels).String(), `group "node" matches, before "default"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := index.Explain(nil).String(), `group "default" matches`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	text, err := json.Marshal(index.Explain(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"chosen":{"id":"default","profile":""},"candidates":[{"id":"default","profile":""}],` +
		`"nearest":[{"group":{"id":"node","profile":"","selector":{"mac":"525400000017"}},"key":"mac","want":"52:54:00:00:00:17","got":"","failing":1,"pairs":1}]}`
	if string(text) != want {
		t.Errorf("JSON:\n got %s\nwant %s", text, want)
	}
}
