package site_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/site"
)

type groupDocument struct {
	Kind string `json:"kind"`
	groups.Group
}

func TestDocuments(t *testing.T) {
	tests := []struct {
		name, file, text string
		want             []string // kind and id
	}{
		{"nothing", "a.yaml", "# empty\n---\n---\n", nil},
		{"a stream", "a.yaml", "kind: Group\nid: a\n---\nkind: Group\nid: b\n", []string{"Group a", "Group b"}},
		{"a list", "a.yaml", "kind: List\nitems:\n- {kind: Group, id: a}\n- {kind: List, items: [{kind: Group, id: b}]}\n", []string{"Group a", "Group b"}},
		{"JSON by its name", "a.json", `{"kind": "Group", "id": "a"}`, []string{"Group a"}},
		{"JSON by its text", "-", `[{"kind": "Group", "id": "\ud83d\ude00"}, {"kind": "Group", "id": "b"}]`, []string{"Group 😀", "Group b"}},
		{"a flow map is YAML", "-", `{kind: Group, id: a}`, []string{"Group a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			documents, err := site.Documents(tt.file, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, document := range documents {
				var group groupDocument
				if err := document.Decode(&group); err != nil {
					t.Fatal(err)
				}
				got = append(got, document.Kind+" "+group.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDocumentsProblems(t *testing.T) {
	tests := []struct{ file, text, want string }{
		{"a.yaml", "kind: Group\n---\nid: b\n", `a.yaml:3:1: a document needs a "kind": id: b`},
		{"a.yaml", "kind: 5\n", `a.yaml:1:7: want a string, got the number 5: write "5": kind: 5`},
		{"a.yaml", "- text\n", `a.yaml:1:3: want a document with "kind", got the string "text": - text`},
		{"a.yaml", "kind: List\nitems: 5\n", `a.yaml:1:1: a List needs "items", a list of documents: kind: List`},
		{"a.yaml", "kind: Group\n---\nid: [\n", "is not valid YAML"},
		{"a.json", `{"kind": "Group",}`, "a.json:1:18: is not valid JSON"},
		{"a.yaml", "kind: \xff\n", "a.yaml:1:7: is not UTF-8 text"},
	}
	for _, tt := range tests {
		if _, err := site.Documents(tt.file, []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Documents(%q):\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// TestDocumentPositions looks into the second document of a stream: lines are those of the file.
func TestDocumentPositions(t *testing.T) {
	documents, err := site.Documents("a.yaml", []byte("kind: Group\n---\nkind: Group\nselector:\n  mac: x\nwrong: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	var group groupDocument
	var problems *site.Problems
	if err := documents[1].Decode(&group); !errors.As(err, &problems) || !strings.HasPrefix(err.Error(), `a.yaml:6:1: unknown field "wrong"`) {
		t.Errorf("got %v", err)
	}
	if got, want := documents[1].Problem("selector.mac", "is odd").String(), "a.yaml:5:8: is odd: mac: x"; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add("a.yaml", "kind: Group\nid: a\n---\nkind: List\nitems: [{kind: Group}]\n")
	f.Add("-", `[{"kind": "Group"}]`)
	f.Fuzz(func(_ *testing.T, name, text string) {
		documents, err := site.Documents(name, []byte(text))
		if err != nil {
			return
		}
		for _, document := range documents {
			var group groupDocument
			_ = document.Decode(&group) // an error is as good as none
			_ = document.Problem("selector.mac", "x").String()
		}
	})
}
