package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// StatusSource tells how the daemon does.
type StatusSource interface {
	// Status is asked for every call, and must be quick.
	Status(context.Context) ServerStatus
}

// ServerStatus is how the daemon does.
type ServerStatus struct {
	Version  string
	Revision uint64 // that is served
	Site     string // directory; empty: none
	Ready    bool
	Findings []Finding
}

// Finding is something that an operator should know.
type Finding struct {
	Level        string // info, warn, error
	What, Advice string
}

func registerStatus(s grpc.ServiceRegistrar, o *Options) {
	if o.Status != nil {
		matchdpb.RegisterStatusServer(s, &statusService{source: o.Status, keys: o.Keys})
	}
}

type statusService struct {
	matchdpb.UnimplementedStatusServer
	source StatusSource
	keys   KeySource
}

// GetStatus implements matchdpb.StatusServer. Findings name groups and files of all the site: only who may read all of it is told.
func (s *statusService) GetStatus(ctx context.Context, _ *matchdpb.GetStatusRequest) (*matchdpb.GetStatusResponse, error) {
	current := s.source.Status(ctx)
	caller, _ := auth.FromContext(ctx)
	response := &matchdpb.GetStatusResponse{
		Version: current.Version, Revision: int64(current.Revision), Ready: current.Ready,
		Identity: caller.Name, Role: string(caller.Role), Scope: caller.Scope,
		CertificateExpiresAt: timestamppb.New(s.keys.Keys().Certificate.Leaf.NotAfter.Truncate(time.Second)),
	}
	if caller.Scoped() || !caller.Role.May(auth.Read) {
		return response, nil
	}
	response.Site = current.Site
	for _, f := range current.Findings {
		response.Findings = append(response.Findings, &matchdpb.Finding{Level: f.Level, What: f.What, Advice: f.Advice})
	}
	return response, nil
}
