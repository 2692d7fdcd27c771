package rpc

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/store"
)

// domain is that of every ErrorInfo: it says whose reasons they are.
const domain = "matchd"

const (
	// maxMessageText bounds a status' message, which travels in a header.
	maxMessageText = 2 << 10
	// maxViolations bounds the field violations of one status.
	maxViolations = 50
	// maxDetail bounds the text of one violation.
	maxDetail = 256
)

// Reasons of ErrorInfo that clients decide by.
const (
	ReasonNotFound    = "NOT_FOUND"
	ReasonInvalid     = "INVALID"
	ReasonConflict    = "CONFLICT"
	ReasonDenied      = "DENIED"
	ReasonUnavailable = "UNAVAILABLE"
	ReasonInternal    = "INTERNAL"
	ReasonCompacted   = "COMPACTED"
	ReasonIdentity    = "IDENTITY"     // the certificate names nobody whom the server knows
	ReasonExpired     = "EXPIRED"      // the certificate has expired since the connection was made
	ReasonUntrusted   = "UNTRUSTED"    // its authority has been taken away since
	ReasonScope       = "SCOPE"        // an identity with a scope may not
	ReasonRate        = "RATE_LIMITED" // RetryInfo says when to try again
	ReasonStopping    = "STOPPING"     // the server stops; another one may be there soon
)

// translators turn errors of single services into a status; nil: not theirs. The first one that knows an error has it.
var translators = [...]func(error) *status.Status{
	documentStatus,
	changeStatus,
}

// kindCodes are the codes of the kinds of errors, and their reasons.
var kindCodes = map[fault.Kind]struct {
	code   codes.Code
	reason string
}{
	fault.NotFound:    {codes.NotFound, ReasonNotFound},
	fault.Invalid:     {codes.InvalidArgument, ReasonInvalid},
	fault.Conflict:    {codes.FailedPrecondition, ReasonConflict},
	fault.Denied:      {codes.PermissionDenied, ReasonDenied},
	fault.Unavailable: {codes.Unavailable, ReasonUnavailable},
}

// toStatus returns what a client is told of an error. Of an internal error it is told the id of its call only, by which the server's log has the rest: the error's
// own text may name files of the server.
func toStatus(err error, callID string) *status.Status {
	var given interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &given):
		return given.GRPCStatus()
	case errors.Is(err, store.ErrCompacted):
		return newStatus(codes.OutOfRange, ReasonCompacted, "the changes after that revision are gone: list again, and watch from there")
	case errors.Is(err, context.DeadlineExceeded):
		return newStatus(codes.DeadlineExceeded, "DEADLINE", "the call took longer than its deadline allows")
	case errors.Is(err, context.Canceled):
		return newStatus(codes.Canceled, "CANCELED", "the call was canceled")
	}
	for _, translate := range translators {
		if translated := translate(err); translated != nil {
			return translated
		}
	}
	known, found := kindCodes[fault.KindOf(err)]
	if !found {
		return newStatus(codes.Internal, ReasonInternal, "the server failed: its log tells more, under call "+callID)
	}
	if known.code == codes.FailedPrecondition {
		return newStatus(known.code, known.reason, err.Error(), &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{Type: ReasonConflict, Description: clip(err.Error(), maxDetail)}},
		})
	}
	return newStatus(known.code, known.reason, err.Error())
}

// newStatus returns a status with an ErrorInfo and further details.
func newStatus(code codes.Code, reason, message string, details ...protoadapt.MessageV1) *status.Status {
	plain := status.New(code, clip(message, maxMessageText))
	detailed, err := plain.WithDetails(append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: domain}}, details...)...)
	if err != nil {
		return plain
	}
	return detailed
}

// documentStatus lists every problem of documents, each as "ignition/worker.bu:7:12" with what is wrong.
func documentStatus(err error) *status.Status {
	var report *render.Report
	if fault.KindOf(err) != fault.Invalid || !errors.As(err, &report) {
		return nil
	}
	var violations []*errdetails.BadRequest_FieldViolation
	for _, p := range report.Problems {
		what := p.What
		if p.Source != "" {
			what += ": " + p.Source
		}
		if len(violations) < maxViolations {
			violations = append(violations, &errdetails.BadRequest_FieldViolation{Field: position(p.Name, p.Line, p.Column), Description: clip(what, maxDetail)})
		}
	}
	return newStatus(codes.InvalidArgument, ReasonInvalid, err.Error(), &errdetails.BadRequest{FieldViolations: violations})
}

// position returns "name:line:column", without the parts that are not known.
func position(name string, line, column int) string {
	if line > 0 {
		name += ":" + strconv.Itoa(line)
		if column > 0 {
			name += ":" + strconv.Itoa(column)
		}
	}
	return name
}

// clip bounds a text in bytes and leaves valid UTF-8, which protobuf demands.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + " …"
}
