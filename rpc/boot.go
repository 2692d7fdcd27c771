package rpc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Bounds of an explanation.
const (
	defaultCandidates = 10
	maxCandidates     = 100
)

// Inspector tells what machines get, and why. An [inspect.Inspector] is one; its methods say which errors there are.
type Inspector interface {
	Find(name string) (machine.Machine, bool)
	Resolve(q inspect.Query) (*inspect.Subject, error)
	Explain(q inspect.Query) (*inspect.Explanation, error)
	Plan(ctx context.Context, q inspect.Query) (*boot.Plan, error)
	Render(ctx context.Context, q inspect.Query, o inspect.RenderOptions) (*inspect.Rendering, error)
}

// ReadParts are what the services answer from that tell about machines. A service without its part is not offered.
type ReadParts struct {
	Inspector Inspector // Boot and Timelines need it
	Simulator Simulator // nil: Simulate is UNIMPLEMENTED
	Events    EventLog  // Timelines
	Leases    Leases    // Leases
	Assets    Assets    // Assets

	sendTime time.Duration // how long one message of a stream may wait for its reader; 0: sendTime
}

func registerReads(s grpc.ServiceRegistrar, o *Options) {
	parts := o.Reads
	limit := parts.sendTime
	if limit == 0 {
		limit = sendTime
	}
	if parts.Inspector != nil {
		boots := &bootService{inspector: parts.Inspector, simulator: parts.Simulator, sendTime: limit, playing: make(chan struct{}, maxSimulations)}
		matchdpb.RegisterBootServer(s, boots)
		if parts.Events != nil {
			matchdpb.RegisterTimelinesServer(s, &timelineService{events: parts.Events, inspector: parts.Inspector, sendTime: limit})
		}
		if parts.Leases != nil {
			matchdpb.RegisterLeasesServer(s, &leaseService{leases: parts.Leases, inspector: parts.Inspector, now: o.Now})
		}
	}
	if parts.Assets != nil {
		matchdpb.RegisterAssetsServer(s, newAssetService(parts.Assets))
	}
}

// sees reports whether the caller may know of a machine: one with a scope only sees machines that are known to have its labels, whatever they claim.
func sees(ctx context.Context, m machine.Machine) bool {
	caller, _ := auth.FromContext(ctx)
	return !caller.Scoped() || m.MAC != "" && caller.Sees(m.Known())
}

// visible is sees for the machine of an address, as far as it is known.
func visible(ctx context.Context, inspector Inspector, mac machine.MAC) bool {
	if caller, _ := auth.FromContext(ctx); !caller.Scoped() {
		return true
	}
	m, _ := inspector.Find(mac.String())
	return sees(ctx, m)
}

// errUnseen is the same for a machine out of the caller's sight as for one that there is not.
func errUnseen(name string) error {
	return fault.New(fault.NotFound, "nothing is known of a machine %.80q", name)
}

type bootService struct {
	matchdpb.UnimplementedBootServer
	inspector Inspector
	simulator Simulator
	sendTime  time.Duration
	playing   chan struct{} // as many as are played
}

// query translates a query, if the caller may ask about its machine.
func (s *bootService) query(ctx context.Context, q *matchdpb.Query) (inspect.Query, error) {
	query := inspect.Query{Machine: q.GetMachine(), Labels: q.GetLabels()}
	caller, _ := auth.FromContext(ctx)
	if !caller.Scoped() {
		return query, nil
	}
	subject, err := s.inspector.Resolve(query)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return query, err
	}
	if err != nil || !sees(ctx, subject.Machine) {
		return query, errUnseen(q.GetMachine())
	}
	return query, nil
}

// Explain implements matchdpb.BootServer.
func (s *bootService) Explain(ctx context.Context, request *matchdpb.ExplainRequest) (*matchdpb.ExplainResponse, error) {
	query, err := s.query(ctx, request.GetQuery())
	if err != nil {
		return nil, err
	}
	found, err := s.inspector.Explain(query)
	if err != nil {
		return nil, err
	}
	caller, _ := auth.FromContext(ctx)
	response := &matchdpb.ExplainResponse{Labels: found.Labels, Group: found.Group, Profile: found.Profile(), Text: conceal(ctx, found.Reason)}
	limit := int(request.GetLimit())
	if limit <= 0 {
		limit = defaultCandidates
	}
	limit = min(limit, maxCandidates)
	for i, match := range found.Matches {
		if i > 0 && !caller.Sees(match.Selector) || len(response.Candidates) > limit {
			continue
		}
		response.Candidates = append(response.Candidates, &matchdpb.Candidate{Group: match.Group, Matches: true, Owner: match.File})
	}
	for i := range found.Nearest {
		miss := &found.Nearest[i]
		if !caller.Sees(miss.Selector) || len(response.Candidates) > limit {
			continue
		}
		candidate := &matchdpb.Candidate{Group: miss.Group, Owner: miss.File}
		for _, pair := range miss.Differences(found.Labels) {
			candidate.Differences = append(candidate.Differences, &matchdpb.Difference{Label: pair[0], Want: pair[1], Got: pair[2]})
		}
		response.Candidates = append(response.Candidates, candidate)
	}
	return response, nil
}

var dispositions = map[boot.Disposition]matchdpb.PlanResponse_Do{
	boot.Run: matchdpb.PlanResponse_DO_RUN, boot.Disk: matchdpb.PlanResponse_DO_DISK, boot.Hold: matchdpb.PlanResponse_DO_HOLD,
}

// Plan implements matchdpb.BootServer.
func (s *bootService) Plan(ctx context.Context, request *matchdpb.PlanRequest) (*matchdpb.PlanResponse, error) {
	query, err := s.query(ctx, request.GetQuery())
	if err != nil {
		return nil, err
	}
	plan, err := s.inspector.Plan(ctx, query)
	if err != nil {
		return nil, err
	}
	response := &matchdpb.PlanResponse{Do: dispositions[plan.Do], Reason: conceal(ctx, plan.Reason), Kernel: plan.Kernel, Args: plan.Args}
	if plan.Group != nil {
		response.Group = plan.Group.ID
	}
	if plan.Profile != nil {
		response.Profile = plan.Profile.ID
	}
	for _, initrd := range plan.Initrds {
		response.Initrds = append(response.Initrds, initrd.URL)
	}
	return response, nil
}

// Render implements matchdpb.BootServer.
func (s *bootService) Render(ctx context.Context, request *matchdpb.RenderRequest) (*matchdpb.RenderResponse, error) {
	query, err := s.query(ctx, request.GetQuery())
	if err != nil {
		return nil, err
	}
	got, err := s.inspector.Render(ctx, query, inspect.RenderOptions{Provenance: request.GetProvenance(), Documents: true, Texts: true})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.RenderResponse{Generic: got.Generic, Cloud: got.Cloud, Metadata: string(got.Metadata)}
	if group := got.Selection.Group; group != nil {
		response.Group, response.Profile = group.ID, group.Profile
	}
	if got.Plan != nil {
		told := *got.Plan
		told.Reason = conceal(ctx, told.Reason)
		response.Script, response.Grub = valid(told.IPXE()), valid(told.GRUB())
	}
	if got.Config != nil {
		response.Ignition, response.IgnitionVersion = got.Config.JSON, got.Config.Version
	}
	for _, document := range got.Documents {
		kind, name, _ := strings.Cut(document.File, "/")
		response.Documents = append(response.Documents, &matchdpb.Template{Kind: kind, Name: name, Content: []byte(document.Text)})
	}
	for _, source := range got.Sources {
		response.Provenance = append(response.Provenance, &matchdpb.Provenance{Kind: source.Kind, Name: source.Name, Documents: source.Documents})
	}
	for _, problem := range got.Problems {
		response.Problems = append(response.Problems, problemsOf(problem)...)
	}
	for _, problem := range response.Problems {
		problem.What = conceal(ctx, problem.What)
	}
	if got.Config != nil {
		for i := range got.Config.Warnings {
			warning := documentProblem(&got.Config.Warnings[i])
			warning.What = "warning: " + warning.What
			response.Problems = append(response.Problems, warning)
		}
	}
	return response, nil
}

// problemsOf takes an error apart: a report by its problems, anything else as one sentence.
func problemsOf(err error) []*matchdpb.Problem {
	var report *render.Report
	if !errors.As(err, &report) {
		return []*matchdpb.Problem{{What: clip(err.Error(), maxMessageText)}}
	}
	var problems []*matchdpb.Problem
	for i := range report.Problems {
		problems = append(problems, documentProblem(&report.Problems[i]))
	}
	return problems
}

func documentProblem(p *render.Problem) *matchdpb.Problem {
	return &matchdpb.Problem{
		Ref:  &matchdpb.Ref{Kind: matchdpb.Kind_KIND_TEMPLATE, Id: valid([]byte(p.Name))},
		Line: int32(p.Line), Column: int32(p.Column), What: clip(p.What, maxMessageText), Source: clip(p.Source, maxMessageText),
	}
}

// valid makes a text UTF-8, which protobuf demands of strings.
func valid(text []byte) string { return strings.ToValidUTF8(string(text), "\uFFFD") }

// pageOf returns how many items a page has, and an error for a negative number.
func pageOf(size, usual, most int32) (int, error) {
	switch {
	case size < 0:
		return 0, fault.New(fault.Invalid, "page_size is %d, it cannot be negative", size)
	case size == 0:
		size = usual
	}
	return int(min(size, most)), nil
}

// after returns the part of a sorted list behind a key, at most size long, and whether more follow.
func after[T any](list []T, compare func(T) int, size int) (page []T, more bool) {
	at, found := slices.BinarySearchFunc(list, struct{}{}, func(item T, _ struct{}) int { return compare(item) })
	if found {
		at++
	}
	list = list[at:]
	if len(list) <= size {
		return list, false
	}
	return list[:size], true
}
