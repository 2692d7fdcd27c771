package groups_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
)

func TestLabelsFromQuery(t *testing.T) {
	tests := []struct {
		query   string
		labels  groups.Labels
		dropped []string
	}{
		{"", groups.Labels{}, nil},
		{"mac=52-54-00-B2-2F-86&os=x", groups.Labels{"mac": "52:54:00:b2:2f:86", "os": "x"}, nil},
		{"mac=5254.00b2.2f86", groups.Labels{"mac": "52:54:00:b2:2f:86"}, nil},
		{"mac=525400b22f86", groups.Labels{"mac": "52:54:00:b2:2f:86"}, nil},
		{"MAC=525400b22f86&Mac=zz", groups.Labels{"MAC": "52:54:00:b2:2f:86"}, []string{"Mac"}},
		{"mac=&uuid=ABC", groups.Labels{"uuid": "ABC"}, []string{"mac"}},
		{"a=1&a=2&b", groups.Labels{"a": "1", "b": ""}, nil},
		{"mac=00-11-22-33-44-55-66-77", groups.Labels{"mac": "00:11:22:33:44:55:66:77"}, nil},
	}
	for _, tt := range tests {
		values, _ := url.ParseQuery(tt.query)
		labels, dropped := groups.LabelsFromQuery(values)
		if !reflect.DeepEqual(labels, tt.labels) || !reflect.DeepEqual(dropped, tt.dropped) {
			t.Errorf("%q: got %q dropping %q, want %q dropping %q", tt.query, labels, dropped, tt.labels, tt.dropped)
		}
	}
	if labels, _ := groups.LabelsFromQuery(url.Values{"none": nil}); len(labels) != 0 {
		t.Errorf("a key without values became a label: %q", labels)
	}
}

func TestSelectorString(t *testing.T) {
	s := groups.Selector{"b": "x", "a": "2", "c": ""}
	if got := s.String(); got != "a=2,b=x,c=" {
		t.Errorf("got %s", got)
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", groups.MaxLabelLength+1)
	tests := []struct {
		name  string
		group groups.Group
		want  []string // one piece of each expected line
	}{
		{"fine", groups.Group{ID: "a.b-c_d:1@x", Profile: "p", Selector: groups.Selector{"mac": "52-54-00-00-00-01", "zone": ""}, BootPolicy: groups.BootAlways}, nil},
		{"policies of a later version", groups.Group{ID: "a", Profile: "p", BootPolicy: groups.BootOnce}, []string{"boot_policy: once is not supported"}},
		{"empty", groups.Group{}, []string{"id: is empty", "profile: a group needs"}},
		{"escapes", groups.Group{ID: "../x", Profile: "a/b", Snippets: []string{"ok", ".."}}, []string{"id: ", "profile: ", "snippets[1]: "}},
		{"long id", groups.Group{ID: strings.Repeat("a", 254), Profile: "p"}, []string{"id: has 254 bytes"}},
		{"mac", groups.Group{ID: "a", Profile: "p", Selector: groups.Selector{"MAC": "zz"}}, []string{`selector.MAC: "zz" is not a MAC`}},
		{"labels", groups.Group{ID: "a", Profile: "p", Selector: groups.Selector{"": "x", "y": long}}, []string{"selector.: ", "selector.y: "}},
		{"reserved", groups.Group{ID: "a", Profile: "p", Metadata: map[string]any{"request": 1}}, []string{"metadata.request: "}},
		{"too many snippets", groups.Group{ID: "a", Profile: "p", Snippets: strings.Split(strings.Repeat("x,", groups.MaxSnippets)+"x", ",")}, []string{"snippets: 65 names"}},
		{"policy", groups.Group{ID: "a", Profile: "p", BootPolicy: "never"}, []string{`boot_policy: "never"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.group.Validate()
			if tt.want == nil {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got %d lines, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d: got %q, want it to start with %q", i, lines[i], want)
				}
			}
		})
	}
	many := groups.Group{ID: "a", Profile: "p", Selector: groups.Selector{}}
	for i := range groups.MaxSelectorPairs + 1 {
		many.Selector[strings.Repeat("k", i+1)] = ""
	}
	if err := many.Validate(); err == nil || !strings.Contains(err.Error(), "65 pairs") {
		t.Errorf("65 pairs: %v", err)
	}
}

// FuzzLabelsFromQuery feeds whatever a machine may put behind the question mark.
func FuzzLabelsFromQuery(f *testing.F) {
	for _, seed := range []string{"", "mac=52-54-00-00-00-01&uuid=x", "mac=zz", "MAC=5254.0000.0001&mac=", "a=1;b=2", "%zz=%", "a=%00&=x", "mac=00:11:22:33:44:55:66:77"} {
		f.Add(seed)
	}
	index := groups.Build(append(rack(100), groups.Group{ID: "none", Selector: groups.Selector{"zone": ""}}))
	f.Fuzz(func(t *testing.T, raw string) {
		values, _ := url.ParseQuery(raw) // what parses is kept, as net/http does
		labels, dropped := groups.LabelsFromQuery(values)
		if len(labels)+len(dropped) != len(values) {
			t.Errorf("%d labels and %d dropped of %d", len(labels), len(dropped), len(values))
		}
		for key, value := range labels {
			if !strings.EqualFold(key, "mac") {
				continue
			}
			again, err := groups.NormalizeMAC(value)
			if err != nil || again != value {
				t.Errorf("%s=%q is not in normal form", key, value)
			}
		}
		g, ok := index.Match(labels)
		explained := index.Explain(labels)
		if ok != (explained.Chosen != nil) || g != explained.Chosen {
			t.Errorf("Match found %v, Explain %v", g, explained.Chosen)
		}
		if ok && !index.Possible(labels) {
			t.Error("matched, yet not possible")
		}
	})
}
