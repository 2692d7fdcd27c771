package rpc_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
	"github.com/matchd/matchd/rpc"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Machines of the readers' tests: fra and nyc have a label of their site, the stranger none.
const (
	fra      = machine.MAC("52:54:00:00:00:01")
	nyc      = machine.MAC("52:54:00:00:00:02")
	stranger = machine.MAC("52:54:00:00:00:99")
)

// world is what the reading services answer from.
type world struct {
	*fixture
	events   *event.Log
	machines *machine.Registry
	assets   string
	leases   []lease.Lease
	play     func(context.Context, firmware.Machine, func(firmware.Step)) rpc.Outcome
}

type fixed struct{ *catalog.Snapshot }

func (f fixed) Current() *catalog.Snapshot { return f.Snapshot }

func (w *world) Leases() []lease.Lease { return w.leases }

func (w *world) Simulate(ctx context.Context, m firmware.Machine, emit func(firmware.Step)) rpc.Outcome {
	return w.play(ctx, m, emit)
}

func newWorld(t testing.TB, limit time.Duration) *world {
	t.Helper()
	w := &world{machines: machine.NewRegistry(0), assets: t.TempDir()}
	for mac, site := range map[machine.MAC]string{fra: "fra", nyc: "nyc"} {
		w.machines.Pin(machine.Machine{MAC: mac, Labels: map[string]string{"site": site}})
	}
	var err error
	if w.events, err = event.NewLog(event.Options{}); err != nil {
		t.Fatal(err)
	}
	tree, err := assets.OpenTree(w.assets)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	served := fixed{catalog.NewSnapshot(siteObjects(), catalog.Options{})}
	planner := boot.NewPlanner(boot.Options{Catalog: served, Machines: w.machines})
	inspector := inspect.New(inspect.Options{Catalog: served, Planner: planner, Machines: w.machines})
	parts := rpc.ReadParts{Inspector: inspector, Simulator: w, Events: w.events, Leases: w, Assets: tree}
	w.fixture = start(t, func(o *rpc.Options) {
		o.Reads, o.CallsPerSecond = parts.WithSendTime(limit), 100000
	})
	return w
}

func siteObjects() catalog.Objects {
	var o catalog.Objects
	for _, group := range []groups.Group{
		{ID: "fra", Profile: "runs", Selector: groups.Selector{"site": "fra"}},
		{ID: "nyc", Profile: "broken", Selector: groups.Selector{"site": "nyc"}},
		{ID: "late", Profile: "runs", Selector: groups.Selector{"site": "fra", "role": "late"}},
	} {
		o.Groups = append(o.Groups, catalog.Owned[groups.Group]{Value: group, File: "groups/" + group.ID + ".yaml"})
	}
	for _, profile := range []profiles.Profile{
		{ID: "runs", Boot: profiles.Boot{Kernel: "/assets/k", Initrd: []string{"/assets/i"}, Args: []string{"quiet"}}, IgnitionID: "runs.bu", GenericID: "note"},
		{ID: "broken", Boot: profiles.Boot{Kernel: "/assets/k"}, IgnitionID: "broken.bu"},
	} {
		o.Profiles = append(o.Profiles, catalog.Owned[profiles.Profile]{Value: profile})
	}
	for _, template := range []profiles.Template{
		{Kind: profiles.Ignition, Name: "runs.bu", Content: []byte("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/a\n      contents: {inline: '{{.matchd.machine.mac}}'}\n")},
		{Kind: profiles.Ignition, Name: "broken.bu", Content: []byte("variant: fcos\nversion: 1.5.0\nstorage: 7\n")},
		{Kind: profiles.Generic, Name: "note", Content: []byte("note {{.matchd.machine.mac}}\n")},
	} {
		o.Templates = append(o.Templates, catalog.Owned[profiles.Template]{Value: template})
	}
	return o
}

// wantCode fails unless the error has the code.
func wantCode(t *testing.T, what string, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

func about(name string, labels ...string) *matchdpb.Query {
	q := &matchdpb.Query{Machine: name, Labels: map[string]string{}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		q.Labels[key] = value
	}
	return q
}

func TestExplain(t *testing.T) {
	w := newWorld(t, 0)
	boots := matchdpb.NewBootClient(w.dial(t, auth.Viewer))
	got, err := boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about("52-54-00-00-00-01", "site=nyc", "role=late")})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetGroup() != "late" || got.GetProfile() != "runs" || got.GetLabels()["site"] != "fra" || len(got.GetCandidates()) != 3 ||
		got.GetCandidates()[0].GetOwner() != "groups/late.yaml" || !got.GetCandidates()[1].GetMatches() {
		t.Errorf("%v", got)
	}
	miss := got.GetCandidates()[2]
	if miss.GetGroup() != "nyc" || miss.GetMatches() || len(miss.GetDifferences()) != 1 || miss.GetDifferences()[0].GetGot() != "fra" {
		t.Errorf("the miss is %v", miss)
	}
	if got, err := boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about("", "x=y"), Limit: 1}); err != nil || got.GetGroup() != "" || len(got.GetCandidates()) != 2 {
		t.Errorf("nobody: %v, %v", got, err)
	}
	_, err = boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about("nobody-knows")})
	wantCode(t, "a name unheard of", err, codes.NotFound)
	_, err = boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about(fra.String(), "mac=52:54:00:00:00:02")})
	wantCode(t, "two addresses", err, codes.InvalidArgument)
	if _, err = boots.Explain(t.Context(), &matchdpb.ExplainRequest{}); err != nil {
		t.Errorf("no query: %v", err)
	}
}

func TestPlanAndRender(t *testing.T) {
	w := newWorld(t, 0)
	boots := matchdpb.NewBootClient(w.dial(t, auth.Viewer))
	plan, err := boots.Plan(t.Context(), &matchdpb.PlanRequest{Query: about(fra.String())})
	if err != nil || plan.GetDo() != matchdpb.PlanResponse_DO_RUN || plan.GetKernel() != "/assets/k" || len(plan.GetInitrds()) != 1 || plan.GetGroup() != "fra" {
		t.Errorf("%v, %v", plan, err)
	}
	if plan, err = boots.Plan(t.Context(), &matchdpb.PlanRequest{Query: about(stranger.String())}); err != nil || plan.GetDo() != matchdpb.PlanResponse_DO_DISK {
		t.Errorf("a stranger: %v, %v", plan, err)
	}
	got, err := boots.Render(t.Context(), &matchdpb.RenderRequest{Query: about(fra.String()), Provenance: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetGroup() != "fra" || !strings.Contains(got.GetScript(), "/assets/k") || !strings.Contains(got.GetGrub(), "linux") ||
		!strings.Contains(string(got.GetIgnition()), "52%3A54%3A00%3A00%3A00%3A01") || got.GetIgnitionVersion() == "" || len(got.GetDocuments()) != 1 ||
		got.GetDocuments()[0].GetName() != "runs.bu" || string(got.GetGeneric()) != "note 52:54:00:00:00:01\n" || len(got.GetProvenance()) != 1 || len(got.GetProblems()) != 0 {
		t.Errorf("%v", got)
	}
	got, err = boots.Render(t.Context(), &matchdpb.RenderRequest{Query: about(nyc.String())})
	if err != nil || len(got.GetProblems()) != 1 || got.GetProblems()[0].GetLine() != 3 || got.GetProblems()[0].GetRef().GetId() != "ignition/broken.bu" || got.GetScript() == "" {
		t.Errorf("a broken config: %v, %v", got, err)
	}
	got, err = boots.Render(t.Context(), &matchdpb.RenderRequest{Query: about(stranger.String())})
	if err != nil || got.GetGroup() != "" || len(got.GetProblems()) != 1 || !strings.Contains(got.GetScript(), "exit") {
		t.Errorf("a stranger: %v, %v", got, err)
	}
}

// TestReadersKeepToTheirScope: a scoped identity hears of its own machines only, whatever a query claims.
func TestReadersKeepToTheirScope(t *testing.T) {
	w := newWorld(t, 0)
	w.leases = []lease.Lease{
		{Address: netip.MustParseAddr("10.0.0.1"), MAC: fra, State: lease.Active, Expires: time.Now().Add(time.Hour)},
		{Address: netip.MustParseAddr("10.0.0.2"), MAC: nyc, State: lease.Active, Expires: time.Now().Add(time.Hour)},
		{Address: netip.MustParseAddr("10.0.0.3"), ClientID: "01", State: lease.Active, Expires: time.Now().Add(time.Hour)},
	}
	w.play = func(context.Context, firmware.Machine, func(firmware.Step)) rpc.Outcome {
		return rpc.Outcome{WouldBoot: true}
	}
	for _, mac := range []machine.MAC{fra, nyc, stranger, ""} {
		w.events.Record(event.Event{MAC: mac, Stage: event.Seen, Message: "hello"})
	}
	conn := w.dial(t, auth.Viewer, "site=fra")
	boots, timelines := matchdpb.NewBootClient(conn), matchdpb.NewTimelinesClient(conn)
	simulate := func(mac string) error {
		stream, err := boots.Simulate(t.Context(), &matchdpb.SimulateRequest{Mac: mac})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	for name, call := range map[string]func(mac string) error{
		"Explain": func(mac string) error {
			_, err := boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about(mac, "site=fra")})
			return err
		},
		"Plan": func(mac string) error {
			_, err := boots.Plan(t.Context(), &matchdpb.PlanRequest{Query: about(mac, "site=fra")})
			return err
		},
		"Render": func(mac string) error {
			_, err := boots.Render(t.Context(), &matchdpb.RenderRequest{Query: about(mac, "site=fra")})
			return err
		},
		"Simulate": simulate,
		"GetTimeline": func(mac string) error {
			_, err := timelines.GetTimeline(t.Context(), &matchdpb.GetTimelineRequest{Machine: mac})
			return err
		},
	} {
		if err := call(fra.String()); err != nil {
			t.Errorf("%s of its own machine: %v", name, err)
		}
		wantCode(t, name+" of another's machine", call(nyc.String()), codes.NotFound)
		wantCode(t, name+" of nobody's machine", call(stranger.String()), codes.NotFound)
	}
	_, err := boots.Render(t.Context(), &matchdpb.RenderRequest{Query: about("", "site=nyc")})
	wantCode(t, "labels alone", err, codes.NotFound)

	if got, err := boots.Explain(t.Context(), &matchdpb.ExplainRequest{Query: about(fra.String())}); err != nil || strings.Contains(fmt.Sprint(got), "nyc") {
		t.Errorf("another's group is told: %v, %v", got, err)
	}
	if got, err := timelines.ListTimelines(t.Context(), &matchdpb.ListTimelinesRequest{}); err != nil || len(got.GetTimelines()) != 1 {
		t.Errorf("timelines: %v, %v", got, err)
	}
	if got, err := matchdpb.NewLeasesClient(conn).ListLeases(t.Context(), &matchdpb.ListLeasesRequest{}); err != nil || len(got.GetLeases()) != 1 {
		t.Errorf("leases: %v, %v", got, err)
	}
	stream, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || got.GetEvent().GetMac() != fra.String() {
		t.Errorf("%v, %v", got, err)
	}
	w.events.Record(event.Event{MAC: nyc, Stage: event.Seen, Message: "not for you"})
	w.events.Record(event.Event{MAC: fra, Stage: event.Seen, Message: "for you"})
	if got, err := stream.Recv(); err != nil || got.GetEvent().GetMessage() != "for you" {
		t.Errorf("%v, %v", got, err)
	}
	watched, err := timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{Machine: nyc.String()})
	if err == nil {
		_, err = watched.Recv()
	}
	wantCode(t, "watching another's", err, codes.NotFound)
}

// TestRegistrarsReadNothingOfMachines: their role is to write instances.
func TestRegistrarsReadNothingOfMachines(t *testing.T) {
	w := newWorld(t, 0)
	conn := w.dial(t, auth.Registrar)
	_, err := matchdpb.NewBootClient(conn).Explain(t.Context(), &matchdpb.ExplainRequest{})
	wantCode(t, "Explain", err, codes.PermissionDenied)
	_, err = matchdpb.NewTimelinesClient(conn).ListTimelines(t.Context(), &matchdpb.ListTimelinesRequest{})
	wantCode(t, "ListTimelines", err, codes.PermissionDenied)
	_, err = matchdpb.NewLeasesClient(conn).ListLeases(t.Context(), &matchdpb.ListLeasesRequest{})
	wantCode(t, "ListLeases", err, codes.PermissionDenied)
	_, err = matchdpb.NewAssetsClient(conn).ListAssets(t.Context(), &matchdpb.ListAssetsRequest{})
	wantCode(t, "ListAssets", err, codes.PermissionDenied)
}

func TestListLeases(t *testing.T) {
	w := newWorld(t, 0)
	for i := range 12 {
		w.leases = append(w.leases, lease.Lease{
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), MAC: fra, State: lease.Active, Expires: time.Now().Add(time.Duration(i%2*2-1) * time.Hour),
		})
	}
	leases := matchdpb.NewLeasesClient(w.dial(t, auth.Viewer))
	var seen []string
	request := &matchdpb.ListLeasesRequest{PageSize: 4, All: true}
	for {
		got, err := leases.ListLeases(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range got.GetLeases() {
			seen = append(seen, l.GetAddress())
		}
		if request.PageToken = got.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if len(seen) != 12 || seen[0] != "10.0.0.1" || seen[11] != "10.0.0.12" {
		t.Errorf("%v", seen)
	}
	if got, err := leases.ListLeases(t.Context(), &matchdpb.ListLeasesRequest{}); err != nil || len(got.GetLeases()) != 6 {
		t.Errorf("live ones: %d, %v", len(got.GetLeases()), err)
	}
	_, err := leases.ListLeases(t.Context(), &matchdpb.ListLeasesRequest{PageToken: "elephant"})
	wantCode(t, "a token of nobody", err, codes.InvalidArgument)
	_, err = leases.ListLeases(t.Context(), &matchdpb.ListLeasesRequest{PageSize: -1})
	wantCode(t, "a negative page", err, codes.InvalidArgument)
}

func TestAssets(t *testing.T) {
	w := newWorld(t, 0)
	for name, content := range map[string]string{"a/one": "1", "a/two": "22", "a/three": "333", "top": "kernel", ".hidden": "x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(w.assets, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.assets, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(w.assets, "escape")); err != nil {
		t.Fatal(err)
	}
	client := matchdpb.NewAssetsClient(w.dial(t, auth.Viewer))
	got, err := client.GetAsset(t.Context(), &matchdpb.GetAssetRequest{Path: "top"})
	if err != nil || got.GetAsset().GetSize() != 6 || got.GetAsset().GetSha256() != fmt.Sprintf("%x", sha256.Sum256([]byte("kernel"))) || got.GetAsset().GetPath() != "top" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := client.GetAsset(t.Context(), &matchdpb.GetAssetRequest{Path: "/a/"}); err != nil || !got.GetAsset().GetDirectory() {
		t.Errorf("a directory: %v, %v", got, err)
	}
	for path, code := range map[string]codes.Code{
		"": codes.InvalidArgument, "nothing": codes.NotFound, "../../etc/passwd": codes.NotFound, "escape": codes.NotFound, ".hidden": codes.NotFound,
		"a\x00b": codes.NotFound, strings.Repeat("x/", 5000): codes.NotFound,
	} {
		_, err := client.GetAsset(t.Context(), &matchdpb.GetAssetRequest{Path: path})
		wantCode(t, fmt.Sprintf("%.40q", path), err, code)
	}
	var names []string
	request := &matchdpb.ListAssetsRequest{Path: "a", PageSize: 2}
	for {
		page, err := client.ListAssets(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, asset := range page.GetAssets() {
			names = append(names, asset.GetPath())
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if strings.Join(names, " ") != "a/one a/three a/two" {
		t.Errorf("%v", names)
	}
	if page, err := client.ListAssets(t.Context(), &matchdpb.ListAssetsRequest{}); err != nil || len(page.GetAssets()) != 2 {
		t.Errorf("the top: %v, %v", page, err)
	}
	_, err = client.ListAssets(t.Context(), &matchdpb.ListAssetsRequest{Path: "../.."})
	if err != nil { // the way up ends at the top
		t.Errorf("the way up: %v", err)
	}
	_, err = client.ListAssets(t.Context(), &matchdpb.ListAssetsRequest{Path: "nothing"})
	wantCode(t, "no directory", err, codes.NotFound)
}
