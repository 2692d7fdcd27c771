package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Error is what a call ended with. Its kind is fault's, so that [fault.Is] works on it; [errors.As] finds the TLS or network error
// that kept the server from being reached.
type Error struct {
	Kind     fault.Kind
	Code     string            // of gRPC, such as "NOT_FOUND"
	Reason   string            // machine-readable, such as "COMPACTED"; often empty
	Metadata map[string]string // that goes with Reason
	Message  string            // for a person
	Method   string            // such as "/matchd.v1.Groups/PutGroup"
	Endpoint string            // whom the call went to
	// Fields are what is wrong with the request, Preconditions what does not hold.
	Fields        []Field
	Preconditions []Precondition
	// Problems are findings in objects and documents, with line and column.
	Problems []*matchdpb.Problem
	// Unreachable says that no connection came about, or that it broke.
	Unreachable bool
	// RetryAfter is when the server wants to be asked again; zero: not said.
	RetryAfter time.Duration

	state *status.Status
	cause error
}

// Field is one thing wrong with a request.
type Field struct {
	Name        string // such as "group.selector.mac"
	Description string
}

// Precondition is something that does not hold.
type Precondition struct {
	Type        string // such as "OWNED" or "REVISION"
	Subject     string // such as "group/worker"
	Description string
}

// Error says what happened in one line, and what is wrong in one line each.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(e.Message)
	if e.Unreachable && e.cause != nil {
		text.Reset()
		fmt.Fprintf(&text, "reaching %s: %v", e.Endpoint, e.cause)
	}
	if len(e.Problems) == 0 {
		for _, field := range e.Fields {
			fmt.Fprintf(&text, "\n  %s: %s", field.Name, field.Description)
		}
	}
	for _, problem := range e.Problems {
		fmt.Fprintf(&text, "\n  %s", Describe(problem))
	}
	return text.String()
}

// Unwrap returns the cause, of the error's kind.
func (e *Error) Unwrap() error {
	if e.cause == nil { // made by hand, in a test
		return fault.New(e.Kind, "%s", e.Message)
	}
	return fault.Wrap(e.Kind, e.cause)
}

// GRPCStatus lets [status.FromError] and [status.Code] see through.
func (e *Error) GRPCStatus() *status.Status { return e.state }

// Describe writes a problem as PLACE:LINE:COLUMN: WHAT, as compilers do.
func Describe(problem *matchdpb.Problem) string {
	var text strings.Builder
	if ref := problem.GetRef(); ref != nil {
		text.WriteString(Name(ref))
	}
	if problem.GetField() != "" {
		if text.Len() > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(problem.GetField())
	}
	if problem.GetLine() > 0 {
		fmt.Fprintf(&text, ":%d", problem.GetLine())
		if problem.GetColumn() > 0 {
			fmt.Fprintf(&text, ":%d", problem.GetColumn())
		}
	}
	if text.Len() > 0 {
		text.WriteString(": ")
	}
	text.WriteString(problem.GetWhat())
	return text.String()
}

// Name writes a reference as KIND/ID, such as "group/worker" or "template/ignition/base".
func Name(ref *matchdpb.Ref) string {
	kind := strings.ToLower(strings.TrimPrefix(ref.GetKind().String(), "KIND_"))
	return kind + "/" + ref.GetId()
}

// IsNotFound reports whether what was asked for does not exist.
func IsNotFound(err error) bool { return fault.Is(err, fault.NotFound) }

// IsInvalid reports whether the request can never be accepted as it is; [Error.Fields] and [Error.Problems] tell what is wrong.
func IsInvalid(err error) bool { return fault.Is(err, fault.Invalid) }

// IsConflict reports whether a precondition does not hold: the revision is another, or a file owns the object.
func IsConflict(err error) bool { return fault.Is(err, fault.Conflict) }

// IsDenied reports whether the caller is not known to the server, or may not do this.
func IsDenied(err error) bool { return fault.Is(err, fault.Denied) }

// IsUnavailable reports whether the same call may succeed later.
func IsUnavailable(err error) bool { return fault.Is(err, fault.Unavailable) }

// IsUnreachable reports whether there was no server to answer.
func IsUnreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unreachable
}

// ReasonCompacted is the reason of a watch that cannot go on from where it was.
const ReasonCompacted = "COMPACTED"

// IsCompacted reports whether a watch asked for a revision that is too old to go on from.
func IsCompacted(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == ReasonCompacted
}

var kindOf = map[codes.Code]fault.Kind{
	codes.NotFound: fault.NotFound, codes.InvalidArgument: fault.Invalid, codes.OutOfRange: fault.Invalid,
	codes.FailedPrecondition: fault.Conflict, codes.Aborted: fault.Conflict, codes.AlreadyExists: fault.Conflict,
	codes.PermissionDenied: fault.Denied, codes.Unauthenticated: fault.Denied,
	codes.Unavailable: fault.Unavailable, codes.ResourceExhausted: fault.Unavailable, codes.DeadlineExceeded: fault.Unavailable,
}

var codeNames = map[codes.Code]string{
	codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
	codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
	codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

// translate makes an *Error of what gRPC returned.
func (l *link) translate(method string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	state, _ := status.FromError(err)
	e := &Error{
		Kind: kindOf[state.Code()], Code: codeNames[state.Code()], Message: state.Message(), Method: method, Endpoint: l.endpoint,
		state: state, cause: errors.New(state.Message()),
	}
	switch state.Code() {
	case codes.Canceled:
		e.cause = context.Canceled
	case codes.DeadlineExceeded:
		e.cause = context.DeadlineExceeded
	case codes.Unavailable:
		// A server that is there tells why; gRPC's own message tells that none is.
		if e.Unreachable = unreachable(state); e.Unreachable {
			if cause := l.cause(); cause != nil {
				e.cause = cause
			}
		}
	}
	e.readDetails(state.Details())
	return e
}

// unreachable tells gRPC's own messages from a server's: only the latter have details or say something else.
func unreachable(state *status.Status) bool {
	if len(state.Details()) > 0 {
		return false
	}
	for _, own := range [...]string{"connection error", "error reading from server", "transport is closing", "name resolver error",
		"no connection", "closing transport", "the connection is draining", "last connection error", "server preface"} {
		if strings.Contains(state.Message(), own) {
			return true
		}
	}
	return false
}

func (e *Error) readDetails(details []any) {
	for _, detail := range details {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{Name: v.GetField(), Description: v.GetDescription()})
			}
		case *errdetails.PreconditionFailure:
			for _, v := range d.GetViolations() {
				e.Preconditions = append(e.Preconditions, Precondition{Type: v.GetType(), Subject: v.GetSubject(), Description: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		case *matchdpb.Problem:
			e.Problems = append(e.Problems, d)
		}
	}
}
