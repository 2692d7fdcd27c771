package rpc

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// AuditLog records refused writes, and is asked. [audit.Log] is one.
type AuditLog interface {
	// Refuse records a call that changed nothing. It does not wait.
	Refuse(audit.Record)
	// List returns the records that a query selects, the latest first, and whether there are more.
	List(context.Context, audit.Query) (records []audit.Record, more bool, err error)
}

// Bounds of a page of audit records.
const (
	defaultAuditPage = 100
	maxAuditPage     = 1000
)

func registerAudit(s grpc.ServiceRegistrar, o *Options) {
	if o.Audit != nil {
		matchdpb.RegisterAuditServer(s, &auditService{log: o.Audit})
	}
}

type auditService struct {
	matchdpb.UnimplementedAuditServer
	log AuditLog
}

// ListAuditRecords implements matchdpb.AuditServer. An identity with a scope sees its own records only: those of others may name what is not its own.
func (a *auditService) ListAuditRecords(ctx context.Context, request *matchdpb.ListAuditRecordsRequest) (*matchdpb.ListAuditRecordsResponse, error) {
	query := audit.Query{Limit: defaultAuditPage, Identity: request.GetIdentity()}
	if size := int(request.GetPageSize()); size > 0 {
		query.Limit = min(size, maxAuditPage)
	} else if size < 0 {
		return nil, fault.New(fault.Invalid, "page_size: %d is less than nothing", size)
	}
	if caller, _ := auth.FromContext(ctx); caller.Scoped() {
		if query.Identity != "" && query.Identity != caller.Name {
			return nil, fault.New(fault.Denied, "%q is bound to a scope and sees its own records only", caller.Name)
		}
		query.Identity = caller.Name
	}
	if ref := request.GetObject(); ref != nil {
		kind := kindName(ref.GetKind())
		if kind == "" {
			return nil, fault.New(fault.Invalid, "object.kind: say which sort of object")
		}
		query.Object = audit.Object{Kind: kind, ID: ref.GetId()}
	}
	if request.GetSince() != nil {
		query.Since = request.GetSince().AsTime()
	}
	var err error
	if query.Before, err = auditToken(request.GetPageToken()); err != nil {
		return nil, err
	}
	records, more, err := a.log.List(ctx, query)
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListAuditRecordsResponse{}
	for i := range records {
		response.Records = append(response.Records, auditRecord(&records[i]))
	}
	if more {
		response.NextPageToken = base64.RawURLEncoding.EncodeToString(strconv.AppendUint(nil, records[len(records)-1].Seq, 10))
	}
	return response, nil
}

// auditToken reads a page token: the number of the last record of the page before.
func auditToken(token string) (uint64, error) {
	if token == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, fault.New(fault.Invalid, "page_token is none that this server gave")
	}
	seq, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || seq == 0 {
		return 0, fault.New(fault.Invalid, "page_token is none that this server gave")
	}
	return seq, nil
}

func auditRecord(r *audit.Record) *matchdpb.AuditRecord {
	record := &matchdpb.AuditRecord{
		Seq: r.Seq, Time: timestamppb.New(r.Time.Truncate(time.Microsecond)), Identity: r.Identity, Role: r.Role, Peer: r.Peer, Method: r.Method,
		MoreObjects: int32(r.More), RevisionBefore: int64(r.Before), RevisionAfter: int64(r.After), Code: r.Code, Error: r.Error,
	}
	for _, o := range r.Objects {
		record.Objects = append(record.Objects, &matchdpb.Ref{Kind: kindOf(o.Kind), Id: o.ID})
	}
	return record
}

// kindName returns "group" for KIND_GROUP; empty for what is no kind.
func kindName(kind matchdpb.Kind) string {
	name, known := matchdpb.Kind_name[int32(kind)]
	if !known || kind == matchdpb.Kind_KIND_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(name, "KIND_"))
}

func kindOf(name string) matchdpb.Kind {
	return matchdpb.Kind(matchdpb.Kind_value["KIND_"+strings.ToUpper(name)])
}

// auditText is why a call was refused, without what a document holds: problems quote it, so of those only their number is told.
func auditText(told *status.Status) string {
	switch told.Code() {
	case codes.Internal, codes.Unknown:
		return "the server failed"
	case codes.InvalidArgument:
		for _, detail := range told.Details() {
			if bad, is := detail.(*errdetails.BadRequest); is {
				return strconv.Itoa(len(bad.GetFieldViolations())) + " problems"
			}
		}
		return "the request is not valid"
	}
	return told.Message()
}

// reason returns the reason of a status' ErrorInfo.
func reason(told *status.Status) string {
	for _, detail := range told.Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			return info.GetReason()
		}
	}
	return ""
}

// codeName returns a code as the gRPC specification writes it: "PERMISSION_DENIED".
func codeName(code codes.Code) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return "CODE_" + strconv.Itoa(int(code))
}

var codeNames = [...]string{
	"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
