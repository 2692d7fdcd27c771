package render_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// trialData is what is known of a group's machines before one asks.
func trialData(metadata map[string]any, labels groups.Labels) map[string]any {
	return render.Input{Group: &groups.Group{ID: "g", Metadata: metadata}, Labels: labels, Machine: map[string]any{"platform": "metal"}}.Data()
}

func TestTrialTellsCertainFromSupposed(t *testing.T) {
	const header = "variant: fcos\nversion: 1.5.0\npasswd: {users: [{name: core}]}\n"
	const file = header + "storage:\n  files:\n"
	tests := []struct {
		name, source       string
		problems, warnings string // what each holds; "" is none
	}{
		{"good", file + "    - path: /a{{.name}}\n", "", ""},
		{"good with a supposed label", file + "    - path: /{{.request.query.mac}}\n    - path: /{{.matchd.machine.uuid}}{{$.request.query.x}}\n", "", ""},
		{"metadata is missing", file + "    - path: /a{{.nothing}}\n", `6:17: .nothing: there is no "nothing"`, ""},
		{"metadata is missing beside a supposed label", file + "    - path: /{{.request.query.mac}}{{.nothing}}\n", `.nothing: there is no "nothing"`, ""},
		{"wrong whatever the label is", header + "# {{.request.query.mac}}\nstorage: {filez: []}\n", "unused key filez", ""},
		{"wrong by metadata", file + "    - path: {{.name}}\n", "path not absolute", ""},
		{"wrong perhaps by a label", file + "    - path: {{.request.query.path}}\n", "", "path not absolute, unless"},
		{"perhaps empty", "{{if eq .request.query.stage `x`}}" + header + "{{end}}", "", "the config is empty: a machine would boot unconfigured, unless"},
		{"certainly empty", "variant: fcos\nversion: 1.5.0\n# {{.name}}\n", "the config is empty", ""},
		{"all labels, whatever their names", header + "# {{with .request.query}}{{.rack}}{{end}}\n", "", `there is no "rack"`},
		{"all of the machine", header + "# {{range $k, $v := .matchd.machine}}{{$k}}{{end}}{{template `x` .}}{{define `x`}}{{.name}}{{end}}\n", "", ""},
		{"a function fails on what was made up", header + "# {{fromJson .request.query.json | dig `a` 1}}\n", "", "unless the machine's own labels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			composition := render.Composition{Base: compile(t, profiles.Ignition, "a.yaml", tt.source)}
			verdict, err := render.NewTrial().Config(t.Context(), composition, trialData(map[string]any{"name": "n1"}, groups.Labels{"os": "installed"}))
			if err != nil {
				t.Fatal(err)
			}
			holds(t, "problems", verdict.Problems, tt.problems)
			holds(t, "warnings", verdict.Warnings, tt.warnings)
		})
	}
}

// holds wants one problem with that text, or none.
func holds(t *testing.T, what string, got []render.Problem, want string) {
	t.Helper()
	if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0].String(), want)) {
		t.Errorf("%s: got %v, want one with %q", what, got, want)
	}
}

// TestTrialAgreesWithRendering tries every golden case with all that its machine tells: what is refused later is refused now, with the same words.
func TestTrialAgreesWithRendering(t *testing.T) {
	for _, pattern := range []string{"testdata/good/*.txtar", "testdata/wrong/*.txtar"} {
		eachCase(t, pattern, func(t *testing.T, c *goldenCase) {
			if strings.HasSuffix(c.path, "template-missing-query.txtar") {
				return // a label that is made up
			}
			var documents []*render.Document
			for _, template := range c.documents {
				document, err := render.Compile(template)
				if err != nil {
					return
				}
				documents = append(documents, document)
			}
			_, rendering := c.render(t.Context())
			trial := render.NewTrial()
			var verdict render.Verdict
			var err error
			if documents[0].Kind() == profiles.Ignition {
				composition := render.Composition{Base: documents[0], Snippets: documents[1:], Version: c.input.Version}
				verdict, err = trial.Config(t.Context(), composition, c.data())
			} else {
				verdict, err = trial.Text(t.Context(), documents[0], c.data())
			}
			if err != nil {
				t.Fatal(err)
			}
			var report *render.Report
			if !errors.As(rendering, &report) {
				report = &render.Report{}
			}
			got := render.Report{Problems: append(verdict.Problems, verdict.Warnings...)}
			if len(got.Problems) != len(report.Problems) {
				t.Errorf("the trial found\n%v\nrendering\n%v", got.Error(), report.Error())
			}
		})
	}
}

func TestTrialRendersNothingTwice(t *testing.T) {
	composition := render.Composition{Base: compile(t, profiles.Ignition, "a.yaml", workerConfig("{{.name}}"))}
	data := trialData(map[string]any{"name": "n1"}, nil)
	trial := render.NewTrial()
	try := func() {
		if _, err := trial.Config(t.Context(), composition, data); err != nil {
			t.Error(err)
		}
	}
	try()
	trial.NextRound()
	if n := testing.AllocsPerRun(5, try); n > 1000 {
		t.Errorf("in the next round it allocates %v times", n)
	}
	trial.NextRound()
	trial.NextRound()
	if _, err := trial.Config(t.Context(), composition, trialData(nil, nil)); err != nil {
		t.Error(err)
	}
}

func TestTrialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	composition := render.Composition{Base: compile(t, profiles.Ignition, "a.yaml", "# {{range 100000}}{{end}}{{.name}}")}
	if _, err := render.NewTrial().Config(ctx, composition, trialData(map[string]any{"name": "n"}, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := render.NewTrial().Text(ctx, compile(t, profiles.Generic, "a", "{{range 100000}}{{end}}{{.name}}"), trialData(map[string]any{"name": "n"}, nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
