package inspect_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

const (
	worker = machine.MAC("52:54:00:00:00:01")
	uuid   = "00112233-4455-6677-8899-aabbccddeeff"
)

// served is a catalog of one snapshot.
type served struct{ *catalog.Snapshot }

func (s served) Current() *catalog.Snapshot { return s.Snapshot }

func objects() catalog.Objects {
	var o catalog.Objects
	for _, group := range []groups.Group{
		{ID: "worker", Profile: "worker", Selector: groups.Selector{"mac": "52:54:00:00:00:01"}},
		{ID: "fra", Profile: "worker", Selector: groups.Selector{"site": "fra"}},
		{ID: "broken", Profile: "broken", Selector: groups.Selector{"role": "broken"}},
		{ID: "gone", Profile: "gone", Selector: groups.Selector{"role": "gone"}},
		{ID: "disk", Profile: "disk", Selector: groups.Selector{"role": "disk"}},
	} {
		o.Groups = append(o.Groups, catalog.Owned[groups.Group]{Value: group, File: "groups/" + group.ID + ".yaml"})
	}
	for _, profile := range []profiles.Profile{
		{ID: "worker", Boot: profiles.Boot{Kernel: "/assets/k"}, IgnitionID: "worker.bu", GenericID: "note", CloudID: "cloud"},
		{ID: "broken", Boot: profiles.Boot{Kernel: "/assets/k"}, IgnitionID: "broken.bu"},
		{ID: "disk"},
	} {
		o.Profiles = append(o.Profiles, catalog.Owned[profiles.Profile]{Value: profile})
	}
	for _, t := range []profiles.Template{
		{Kind: profiles.Ignition, Name: "worker.bu", Content: []byte("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/raw\n      contents: {inline: '{{.request.raw_query}}'}\n")},
		{Kind: profiles.Ignition, Name: "broken.bu", Content: []byte("variant: fcos\nversion: 1.5.0\nstorage: 7\n")},
		{Kind: profiles.Generic, Name: "note", Content: []byte("note {{.mac}}\n")},
		{Kind: profiles.Cloud, Name: "cloud", Content: []byte("#cloud-config\n")},
	} {
		o.Templates = append(o.Templates, catalog.Owned[profiles.Template]{Value: t})
	}
	return o
}

func newInspector(t *testing.T, policy boot.Unmatched) (*inspect.Inspector, *machine.Registry) {
	t.Helper()
	snapshot := served{catalog.NewSnapshot(objects(), catalog.Options{})}
	machines := machine.NewRegistry(0)
	planner := boot.NewPlanner(boot.Options{Catalog: snapshot, Machines: machines, Unmatched: policy})
	named := func(name string) (machine.Machine, bool) {
		return machine.Machine{MAC: "52:54:00:00:00:07", Hostname: name}, name == "n7"
	}
	return inspect.New(inspect.Options{Catalog: snapshot, Planner: planner, Machines: machines, Named: named}), machines
}

func TestResolve(t *testing.T) {
	i, machines := newInspector(t, "")
	machines.Observe(machine.Machine{MAC: worker, UUID: uuid, Serial: "s1"})
	machines.Pin(machine.Machine{MAC: "52:54:00:00:00:02", Labels: map[string]string{"site": "fra"}})
	tests := []struct {
		name   string
		query  inspect.Query
		want   map[string]string
		kind   fault.Kind
		failed bool
	}{
		{"by MAC", inspect.Query{Machine: "52-54-00-00-00-01"}, map[string]string{"mac": worker.String(), "uuid": uuid, "serial": "s1", "platform": "metal"}, 0, false},
		{"by UUID", inspect.Query{Machine: strings.ToUpper(uuid)}, map[string]string{"mac": worker.String(), "uuid": uuid}, 0, false},
		{"by hostname", inspect.Query{Machine: "n7"}, map[string]string{"mac": "52:54:00:00:00:07"}, 0, false},
		{"by label", inspect.Query{Labels: map[string]string{"mac": "525400000001"}}, map[string]string{"uuid": uuid}, 0, false},
		{"what the server knows wins", inspect.Query{Machine: "52:54:00:00:00:02", Labels: map[string]string{"site": "nyc", "x": "y"}},
			map[string]string{"site": "fra", "x": "y"}, 0, false},
		{"unheard of", inspect.Query{Machine: "52:54:00:00:00:99"}, map[string]string{"mac": "52:54:00:00:00:99", "platform": "metal"}, 0, false},
		{"a UUID unheard of", inspect.Query{Machine: "ffffffff-4455-6677-8899-aabbccddeeff"}, map[string]string{"uuid": "ffffffff-4455-6677-8899-aabbccddeeff"}, 0, false},
		{"a name unheard of", inspect.Query{Machine: "nobody"}, nil, fault.NotFound, true},
		{"two addresses", inspect.Query{Machine: worker.String(), Labels: map[string]string{"mac": "52:54:00:00:00:02"}}, nil, fault.Invalid, true},
		{"no address", inspect.Query{Labels: map[string]string{"mac": "elephant"}}, nil, fault.Invalid, true},
		{"a label without name", inspect.Query{Labels: map[string]string{"": "x"}}, nil, fault.Invalid, true},
	}
	for _, tt := range tests {
		subject, err := i.Resolve(tt.query)
		if (err != nil) != tt.failed || tt.failed && !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for name, value := range tt.want {
			if subject.Labels[name] != value {
				t.Errorf("%s: label %s is %q, want %q", tt.name, name, subject.Labels[name], value)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	i, _ := newInspector(t, "")
	got, err := i.Explain(inspect.Query{Machine: worker.String(), Labels: map[string]string{"site": "fra"}})
	if err != nil || got.Group != "worker" && got.Group != "fra" || len(got.Matches) != 2 || got.Profile() != "worker" || len(got.Nearest) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got.Matches[0].File == "" || got.Nearest[0].File == "" {
		t.Errorf("owners are missing: %+v", got)
	}
	pairs := got.Nearest[0].Differences(got.Labels)
	if len(pairs) != 1 || pairs[0][0] != "role" || pairs[0][2] != "" {
		t.Errorf("differences %q", pairs)
	}
	got, err = i.Explain(inspect.Query{Machine: "52:54:00:00:00:99"})
	if err != nil || got.Group != "" || got.Profile() != "" || !strings.Contains(got.Reason, "no group matches") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRender(t *testing.T) {
	all := inspect.RenderOptions{Provenance: true, Documents: true, Texts: true}
	tests := []struct {
		name     string
		policy   boot.Unmatched
		labels   map[string]string
		group    string
		do       boot.Disposition
		config   bool
		problems []string
	}{
		{"whole", "", nil, "worker", boot.Run, true, nil},
		{"broken", "", map[string]string{"role": "broken", "mac": "52:54:00:00:00:99"}, "broken", boot.Run, false, []string{"broken.bu:3:10"}},
		{"its profile is gone", "", map[string]string{"role": "gone", "mac": "52:54:00:00:00:99"}, "gone", -1, false, []string{`"gone"`}},
		{"to disk", "", map[string]string{"role": "disk", "mac": "52:54:00:00:00:99"}, "disk", boot.Disk, false, nil},
		{"nobody's, to disk", boot.UnmatchedLocal, map[string]string{"mac": "52:54:00:00:00:99"}, "", boot.Disk, false, []string{"no group matches"}},
		{"nobody's, held", boot.UnmatchedHold, map[string]string{"mac": "52:54:00:00:00:99"}, "", boot.Hold, false, []string{"no group matches"}},
		{"nobody's, ignored", boot.UnmatchedIgnore, map[string]string{"mac": "52:54:00:00:00:99"}, "", -1, false, []string{"no group matches"}},
	}
	for _, tt := range tests {
		i, _ := newInspector(t, tt.policy)
		if tt.labels == nil {
			tt.labels = map[string]string{"mac": worker.String()}
		}
		got, err := i.Render(t.Context(), inspect.Query{Labels: tt.labels}, all)
		if err != nil {
			t.Fatal(err)
		}
		group, do := "", boot.Disposition(-1)
		if got.Selection.Group != nil {
			group = got.Selection.Group.ID
		}
		if got.Plan != nil {
			do = got.Plan.Do
		}
		if group != tt.group || do != tt.do || (got.Config != nil) != tt.config || len(got.Problems) != len(tt.problems) {
			t.Errorf("%s: group %q, do %d, config %v, problems %v", tt.name, group, do, got.Config != nil, got.Problems)
			continue
		}
		for n, problem := range tt.problems {
			if !strings.Contains(got.Problems[n].Error(), problem) {
				t.Errorf("%s: problem %v, want %s", tt.name, got.Problems[n], problem)
			}
		}
		if tt.config && (len(got.Sources) != 1 || len(got.Documents) != 1 || string(got.Generic) != "note 52:54:00:00:00:01\n" || len(got.Cloud) == 0 || len(got.Metadata) == 0 ||
			!strings.Contains(string(got.Config.JSON), "mac%3D52-54-00-00-00-01")) {
			t.Errorf("%s: %+v\n%s", tt.name, got, got.Config.JSON)
		}
	}
}

func TestNothingServed(t *testing.T) {
	i := inspect.New(inspect.Options{Catalog: served{}, Machines: machine.NewRegistry(0), Planner: boot.NewPlanner(boot.Options{Catalog: served{}, Machines: machine.NewRegistry(0)})})
	_, explainErr := i.Explain(inspect.Query{})
	_, renderErr := i.Render(t.Context(), inspect.Query{}, inspect.RenderOptions{})
	_, planErr := i.Plan(t.Context(), inspect.Query{})
	for _, err := range []error{explainErr, renderErr, planErr} {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v, want Unavailable", err)
		}
	}
}
