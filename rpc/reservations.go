package rpc

import (
	"context"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// reservationService implements matchd.v1.Reservations.
type reservationService struct {
	matchdpb.UnimplementedReservationsServer
	objects *objectStore
}

// GetReservation implements matchdpb.ReservationsServer.
func (s *reservationService) GetReservation(ctx context.Context, request *matchdpb.GetReservationRequest) (*matchdpb.GetReservationResponse, error) {
	item, err := s.objects.get(ctx, catalog.Reservation, request.GetId())
	if err != nil {
		return nil, err
	}
	return &matchdpb.GetReservationResponse{Reservation: reservationToProto(item)}, nil
}

// ListReservations implements matchdpb.ReservationsServer.
func (s *reservationService) ListReservations(ctx context.Context, request *matchdpb.ListReservationsRequest) (*matchdpb.ListReservationsResponse, error) {
	items, next, revision, err := s.objects.list(ctx, catalog.Reservation, page{request.GetPageSize(), request.GetPageToken(), nil})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListReservationsResponse{NextPageToken: next, Revision: revision, Reservations: make([]*matchdpb.Reservation, 0, len(items))}
	for _, item := range items {
		response.Reservations = append(response.Reservations, reservationToProto(item))
	}
	return response, nil
}

// PutReservation implements matchdpb.ReservationsServer.
func (s *reservationService) PutReservation(ctx context.Context, request *matchdpb.PutReservationRequest) (*matchdpb.PutReservationResponse, error) {
	object, problems := reservationFrom(request.GetReservation())
	item, warnings, err := s.objects.put(ctx, object, problems, request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.PutReservationResponse{Reservation: reservationToProto(item), Warnings: warnings}, nil
}

// DeleteReservation implements matchdpb.ReservationsServer.
func (s *reservationService) DeleteReservation(ctx context.Context, request *matchdpb.DeleteReservationRequest) (*matchdpb.DeleteReservationResponse, error) {
	revision, err := s.objects.remove(ctx, catalog.Reservation, request.GetId(), request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.DeleteReservationResponse{Revision: revision}, nil
}
