package rpc

import (
	"context"
	"fmt"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// changeService implements matchd.v1.Changes.
type changeService struct {
	matchdpb.UnimplementedChangesServer
	objects *objectStore
	events  *eventCache
	timing  watchTiming
}

func newChangeService(objects *objectStore) *changeService {
	return &changeService{objects: objects, events: newEventCache(), timing: watchTiming{bookmark: bookmarkInterval, send: sendTime}}
}

// actions are what becomes of objects, as the wire has it.
var actions = map[change.Action]matchdpb.Action{
	change.Created: matchdpb.Action_ACTION_CREATED, change.Changed: matchdpb.Action_ACTION_CHANGED,
	change.Unchanged: matchdpb.Action_ACTION_UNCHANGED, change.Deleted: matchdpb.Action_ACTION_DELETED,
}

// Apply implements matchdpb.ChangesServer.
func (s *changeService) Apply(ctx context.Context, request *matchdpb.ApplyRequest) (*matchdpb.ApplyResponse, error) {
	caller, _ := auth.FromContext(ctx)
	wanted := change.Change{
		Ops: make([]change.Op, len(request.GetChanges())), DryRun: request.GetDryRun(), CompareMachines: int(request.GetCompareMachines()),
	}
	var problems []change.Problem
	if request.GetCompareMachines() < 0 {
		problems = append(problems, change.Problem{Field: "compare_machines", What: "it is negative"})
	}
	for i, c := range request.GetChanges() {
		op, found := opFrom(c)
		for _, problem := range found {
			if problem.Ref.Kind == "" || problem.Ref.ID == "" {
				problem.Field = fmt.Sprintf("changes[%d].%s", i, problem.Field)
			}
			problems = append(problems, problem)
		}
		wanted.Ops[i] = op
	}
	if err := refuse(problems); err != nil {
		return nil, err
	}
	result, err := s.objects.change(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return s.response(ctx, caller, result)
}

// opFrom reads one change.
func opFrom(c *matchdpb.Change) (op change.Op, problems []change.Problem) {
	var err error
	if op.If, err = revisionFrom(revisionOf(c)); err != nil {
		problems = problemsOfField("", err)
	}
	switch c.GetChange().(type) {
	case *matchdpb.Change_Put:
		object, found := objectFrom(c.GetPut())
		op.Put = &object
		return op, append(problems, found...)
	case *matchdpb.Change_Delete:
		if op.Delete, err = refFrom(c.GetDelete()); err != nil {
			problems = append(problems, problemsOfField("", err)...)
		}
		return op, problems
	}
	return op, append(problems, change.Problem{Field: "change", What: "it neither puts nor deletes anything"})
}

func revisionOf(c *matchdpb.Change) *int64 {
	if c == nil {
		return nil
	}
	return c.Revision
}

func (s *changeService) response(ctx context.Context, caller auth.Identity, result *change.Result) (*matchdpb.ApplyResponse, error) {
	response := &matchdpb.ApplyResponse{
		Revision: int64(result.Revision), Objects: make([]*matchdpb.ObjectResult, len(result.Objects)),
		MachinesOmitted: int32(result.Omitted), Warnings: problemsToProto(result.Warnings),
	}
	for i := range result.Objects {
		o := &result.Objects[i]
		response.Objects[i] = &matchdpb.ObjectResult{Ref: refToProto(o.Ref), Action: actions[o.Action]}
	}
	if len(result.Machines) == 0 {
		return response, nil
	}
	snapshot, err := s.objects.Catalog.Loaded(ctx)
	if err != nil {
		return nil, err
	}
	seen := sightOf(ctx, snapshot)
	for i := range result.Machines {
		m := &result.Machines[i]
		if caller.Scoped() && !(seen.outcome(&m.Before) && seen.outcome(&m.After)) {
			continue
		}
		response.Machines = append(response.Machines, &matchdpb.MachineResult{
			Machine: m.Machine, Before: outcomeToProto(&m.Before), After: outcomeToProto(&m.After),
		})
	}
	return response, nil
}

// outcome reports whether the caller may see what a machine gets: its group is in sight, or new and therefore the caller's own.
func (s *sight) outcome(o *change.Outcome) bool {
	item, found := s.snapshot.Get(catalog.Ref{Kind: catalog.Group, ID: o.Group})
	return o.Group == "" || !found || s.holds(&item.Object)
}

func outcomeToProto(o *change.Outcome) *matchdpb.MachineOutcome {
	return &matchdpb.MachineOutcome{Group: o.Group, Profile: o.Profile, Script: o.Script, Config: o.Config, Error: clip(o.Error, maxMessageText)}
}
