package rpc

import (
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/fault"
)

// Reasons of changes that are refused.
const (
	ReasonOwned = "OWNED" // a file owns the object
	ReasonStale = "STALE" // the object is of another revision
)

// changeStatus tells why a change is refused. Problems are field violations, "group/web.selector.mac" or "ignition/worker.bu:7:12", and the same again as
// matchd.v1.Problem, so that nobody has to read text.
func changeStatus(err error) *status.Status {
	var invalid *change.Invalid
	var owned *change.Owned
	var stale *change.Stale
	switch {
	case errors.As(err, &invalid):
		return invalidStatus(invalid)
	case errors.As(err, &owned):
		return newStatus(codes.FailedPrecondition, ReasonOwned, err.Error(), precondition("OWNER", owned.Ref.Key(), err))
	case errors.As(err, &stale):
		return newStatus(codes.FailedPrecondition, ReasonStale, err.Error(), precondition("REVISION", stale.Ref.Key(), err))
	}
	return nil
}

func precondition(kind, subject string, err error) *errdetails.PreconditionFailure {
	return &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{
		Type: kind, Subject: clip(subject, maxDetail), Description: clip(err.Error(), maxDetail),
	}}}
}

func invalidStatus(e *change.Invalid) *status.Status {
	shown := min(len(e.Problems), maxViolations)
	violations := make([]*errdetails.BadRequest_FieldViolation, shown)
	details := make([]protoadapt.MessageV1, 1, 1+shown)
	for i := range shown {
		p := &e.Problems[i]
		what := p.What
		if p.Source != "" {
			what += ": " + p.Source
		}
		violations[i] = &errdetails.BadRequest_FieldViolation{Field: clip(placeOf(p), maxDetail), Description: clip(what, maxDetail)}
		problem := problemToProto(p)
		problem.What = clip(problem.What, maxDetail)
		details = append(details, protoadapt.MessageV1Of(problem))
	}
	details[0] = &errdetails.BadRequest{FieldViolations: violations}
	return newStatus(codes.InvalidArgument, ReasonInvalid, summary(e), details...)
}

// placeOf says where a problem is.
func placeOf(p *change.Problem) string {
	place := p.Field
	switch key := p.Ref.Key(); {
	case p.Ref.Kind == "":
	case p.Line > 0:
		place = position(p.Ref.ID, p.Line, p.Column)
	case p.Field != "":
		place = key + "." + p.Field
	default:
		place = key
	}
	return place
}

// summary tells the first problem and how many more there are. It leaves out the line of the document, which may hold a secret and would get into logs.
func summary(e *change.Invalid) string {
	first := e.Problems[0]
	first.Source = ""
	text := first.String()
	if more := len(e.Problems) - 1 + e.More; more > 0 {
		text += fmt.Sprintf("; and %d more problems", more)
	}
	return text
}

// refuse returns the problems of a request as one error, nil if there are none.
func refuse(problems []change.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return fault.Wrap(fault.Invalid, &change.Invalid{Problems: problems})
}
