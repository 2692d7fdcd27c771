package rpc

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Page sizes of listings.
const (
	usualPage = 500
	mostPage  = 5000
)

// Leases knows the leases. A [lease.Pool] does.
type Leases interface {
	// Leases returns every lease that is remembered, sorted by address.
	Leases() []lease.Lease
}

type leaseService struct {
	matchdpb.UnimplementedLeasesServer
	leases    Leases
	inspector Inspector
	now       func() time.Time
}

// ListLeases implements matchdpb.LeasesServer. The page token is the last address of the page before.
func (s *leaseService) ListLeases(ctx context.Context, request *matchdpb.ListLeasesRequest) (*matchdpb.ListLeasesResponse, error) {
	size, err := pageOf(request.GetPageSize(), usualPage, mostPage)
	if err != nil {
		return nil, err
	}
	var last netip.Addr // less than every address
	if token := request.GetPageToken(); token != "" {
		if last, err = netip.ParseAddr(token); err != nil {
			return nil, fault.New(fault.Invalid, "page_token: %.40q is none of ours", token)
		}
	}
	now := s.now()
	var shown []lease.Lease
	for _, l := range s.leases.Leases() {
		if (request.GetAll() || l.Live(now)) && last.Less(l.Address) && visible(ctx, s.inspector, l.MAC) {
			shown = append(shown, l)
		}
	}
	response := &matchdpb.ListLeasesResponse{}
	if len(shown) > size {
		shown = shown[:size]
		response.NextPageToken = shown[size-1].Address.String()
	}
	for i := range shown {
		response.Leases = append(response.Leases, leaseMessage(&shown[i]))
	}
	return response, nil
}

func leaseMessage(l *lease.Lease) *matchdpb.Lease {
	return &matchdpb.Lease{
		Address: l.Address.String(), Mac: l.MAC.String(), ClientId: l.ClientID, Hostname: l.Hostname, State: string(l.State),
		StartAt: timestamppb.New(l.Start), ExpiresAt: timestamppb.New(l.Expires), Firmware: l.Firmware, Reserved: l.Reserved,
	}
}
