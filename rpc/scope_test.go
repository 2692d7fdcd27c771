package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/rpc"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// wantScope fails unless an error is a refusal for the caller's scope that says so.
func wantScope(t *testing.T, what string, err error, text string) {
	t.Helper()
	if r := refusal(err); r.code != codes.PermissionDenied || r.reason != rpc.ReasonScope || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestScopeTakesNoMachines: a scoped operator neither labels a machine of others as its own, nor gives one away.
func TestScopeTakesNoMachines(t *testing.T) {
	o := startObjects(t)
	ctx, mac := t.Context(), "52:54:00:a1:9c:ae"
	admin, scoped := o.as(auth.Admin), o.as(auth.Operator, "site=fra")
	if _, err := admin.changes.Apply(ctx, &pb.ApplyRequest{Changes: []*pb.Change{
		putting(template("host.bu", hostname)), putting(profile("web")), putting(group("theirs", "web", map[string]string{"mac": mac})),
		putting(group("fra", "web", map[string]string{"site": "fra"})), putting(&pb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"site": "fra"}}),
	}}); err != nil {
		t.Fatal(err)
	}
	taken := &pb.Machine{Id: mac, Labels: map[string]string{"site": "fra"}}
	higher := group("takeover", "web", map[string]string{"site": "fra", "mac": mac})
	higher.Priority = 100
	_, err := scoped.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: taken})
	wantScope(t, "a machine without an object", err, "an identity without a scope takes machines into the scope")
	for _, dry := range []bool{false, true} {
		_, err = scoped.changes.Apply(ctx, &pb.ApplyRequest{DryRun: dry, Changes: []*pb.Change{putting(taken), putting(higher)}})
		wantScope(t, "machine and group at once", err, "takes machines into the scope")
	}
	for what, labels := range map[string]map[string]string{"giving away": {"site": "ber"}, "unlabelling": nil} {
		_, err = scoped.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:01", Labels: labels}})
		wantScope(t, what, err, "is not in it, or would not be")
	}
	if _, err := scoped.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"site": "fra", "rack": "7"}}}); err != nil {
		t.Errorf("its own machine: %v", err)
	}
	if _, err := admin.machines.PutMachine(ctx, &pb.PutMachineRequest{Machine: taken}); err != nil {
		t.Errorf("an identity without a scope: %v", err)
	}
	if _, err := scoped.groups.PutGroup(ctx, &pb.PutGroupRequest{Group: higher}); err != nil {
		t.Errorf("its group, once the machine is in the scope: %v", err)
	}
}

// TestScopePeeksIntoNoProfiles: a scoped operator's group leads to nothing that its groups did not lead to before, so that no sight can be had that way.
func TestScopePeeksIntoNoProfiles(t *testing.T) {
	o := startObjects(t)
	ctx := t.Context()
	secret := "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/key, contents: {inline: \"hunter2 {{.key}}\"}}]}\n"
	if _, err := o.as(auth.Admin).changes.Apply(ctx, &pb.ApplyRequest{Changes: []*pb.Change{
		putting(template("host.bu", hostname)), putting(template("secret.bu", secret)), putting(profile("web")), putting(&pb.Profile{Id: "theirs", IgnitionId: "secret.bu"}),
		putting(group("fra", "web", map[string]string{"site": "fra"})),
	}}); err != nil {
		t.Fatal(err)
	}
	scoped := o.as(auth.Operator, "site=fra")
	selector := map[string]string{"site": "fra", "os": "peek"}
	snippet := group("peek", "web", selector)
	snippet.Snippets = []string{"secret.bu"}
	for what, peek := range map[string]*pb.Group{"a profile of others": group("peek", "theirs", selector), "a snippet of others": snippet, "no profile": group("peek", "none", selector)} {
		for _, dry := range []bool{false, true} {
			_, err := scoped.changes.Apply(ctx, &pb.ApplyRequest{DryRun: dry, Changes: []*pb.Change{putting(peek)}})
			wantScope(t, what, err, "which no group of the scope uses yet")
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("%s: the document is told: %v", what, err)
			}
		}
	}
	if _, err := scoped.templates.GetTemplate(ctx, &pb.GetTemplateRequest{Id: "ignition/secret.bu"}); refusal(err).code != codes.NotFound {
		t.Errorf("the template: %v", err)
	}
}

// faultFinder is an applier that finds the same problems with every change.
type faultFinder []change.Problem

func (r faultFinder) Apply(context.Context, change.Change) (*change.Result, error) {
	return nil, fault.Wrap(fault.Invalid, &change.Invalid{Problems: r})
}

// TestScopeIsToldNoDocuments: problems with documents out of sight quote nothing of them, and name no groups of others.
func TestScopeIsToldNoDocuments(t *testing.T) {
	o := startObjects(t)
	if _, err := o.as(auth.Admin).changes.Apply(t.Context(), &pb.ApplyRequest{Changes: []*pb.Change{
		putting(template("host.bu", hostname)), putting(template("secret.bu", hostname)), putting(profile("web")), putting(&pb.Profile{Id: "theirs", IgnitionId: "secret.bu"}),
		putting(group("fra", "web", map[string]string{"site": "fra"})), putting(group("others", "theirs", map[string]string{"site": "ber"})),
	}}); err != nil {
		t.Fatal(err)
	}
	found := faultFinder{
		{Ref: catalog.Ref{Kind: catalog.Template, ID: "ignition/host.bu"}, Line: 1, What: "odd", Source: "line of its own", Groups: []string{"fra", "others", "new"}},
		{Ref: catalog.Ref{Kind: catalog.Template, ID: "ignition/secret.bu"}, Line: 1, What: "hunter2 is odd", Source: "hunter2", Groups: []string{"others"}},
	}
	f := start(t, func(options *rpc.Options) {
		options.Objects = rpc.ObjectParts{Catalog: o.catalog, Applier: found, Store: o.store}
	})
	_, err := clientsOf(f.dial(t, auth.Operator, "site=fra")).groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: group("new", "web", map[string]string{"site": "fra"})})
	told := fmt.Sprint(status.Convert(err).Proto(), status.Convert(err).Details())
	for text, want := range map[string]bool{"line of its own": true, "hunter2": false, "others": false, "an identity without a scope is told": true} {
		if strings.Contains(told, text) != want {
			t.Errorf("told of %q: %v, want %v: %s", text, !want, want, told)
		}
	}
}

// TestScopeHearsNoOtherGroups: what names the groups that nearly matched is told without them, in every answer about a machine.
func TestScopeHearsNoOtherGroups(t *testing.T) {
	w := newWorld(t, 0)
	const lone = machine.MAC("52:54:00:00:00:07")
	w.machines.Pin(machine.Machine{MAC: lone, Labels: map[string]string{"rack": "7"}})
	const told = `no group matches; nearest: group "nyc" wants site "nyc"`
	w.play = func(_ context.Context, _ firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
		emit(firmware.Step{Actor: "ipxe", Text: told, Content: "#!ipxe\necho matchd: " + told + "\nexit 1\n"})
		return rpc.Outcome{Text: told}
	}
	w.events.Record(event.Event{MAC: lone, Stage: event.NotMatched, Message: told})
	answers := func(scope ...string) map[string]any {
		conn := w.dial(t, auth.Viewer, scope...)
		boots, query := pb.NewBootClient(conn), about(lone.String())
		explained, err := boots.Explain(t.Context(), &pb.ExplainRequest{Query: query, Limit: 1})
		wantCode(t, "Explain", err, codes.OK)
		planned, err := boots.Plan(t.Context(), &pb.PlanRequest{Query: query})
		wantCode(t, "Plan", err, codes.OK)
		rendered, err := boots.Render(t.Context(), &pb.RenderRequest{Query: query})
		wantCode(t, "Render", err, codes.OK)
		timeline, err := pb.NewTimelinesClient(conn).GetTimeline(t.Context(), &pb.GetTimelineRequest{Machine: lone.String()})
		wantCode(t, "GetTimeline", err, codes.OK)
		stream, err := boots.Simulate(t.Context(), &pb.SimulateRequest{Mac: lone.String()})
		wantCode(t, "Simulate", err, codes.OK)
		var played []*pb.SimulateResponse
		for step, err := stream.Recv(); err == nil; step, err = stream.Recv() {
			played = append(played, step)
		}
		return map[string]any{"Explain": explained, "Plan": planned, "Render": rendered, "GetTimeline": timeline, "Simulate": played}
	}
	for method, answer := range answers() {
		if !strings.Contains(fmt.Sprint(answer), "nearest") {
			t.Errorf("%s without a scope: %v", method, answer)
		}
	}
	for method, answer := range answers("rack=7") {
		text := fmt.Sprint(answer)
		for _, name := range []string{"nyc", "fra", "late", "nearest"} {
			if strings.Contains(text, name) {
				t.Errorf("%s tells of %s: %s", method, name, text)
			}
		}
		if !strings.Contains(text, "no group matches") {
			t.Errorf("%s does not tell why: %s", method, text)
		}
	}
}
