package rpc

import (
	"context"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// profileService implements matchd.v1.Profiles.
type profileService struct {
	matchdpb.UnimplementedProfilesServer
	objects *objectStore
}

// GetProfile implements matchdpb.ProfilesServer.
func (s *profileService) GetProfile(ctx context.Context, request *matchdpb.GetProfileRequest) (*matchdpb.GetProfileResponse, error) {
	item, err := s.objects.get(ctx, catalog.Profile, request.GetId())
	if err != nil {
		return nil, err
	}
	return &matchdpb.GetProfileResponse{Profile: profileToProto(item)}, nil
}

// ListProfiles implements matchdpb.ProfilesServer.
func (s *profileService) ListProfiles(ctx context.Context, request *matchdpb.ListProfilesRequest) (*matchdpb.ListProfilesResponse, error) {
	items, next, revision, err := s.objects.list(ctx, catalog.Profile, page{request.GetPageSize(), request.GetPageToken(), nil})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListProfilesResponse{NextPageToken: next, Revision: revision, Profiles: make([]*matchdpb.Profile, 0, len(items))}
	for _, item := range items {
		response.Profiles = append(response.Profiles, profileToProto(item))
	}
	return response, nil
}

// PutProfile implements matchdpb.ProfilesServer.
func (s *profileService) PutProfile(ctx context.Context, request *matchdpb.PutProfileRequest) (*matchdpb.PutProfileResponse, error) {
	object, problems := profileFrom(request.GetProfile())
	item, warnings, err := s.objects.put(ctx, object, problems, request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.PutProfileResponse{Profile: profileToProto(item), Warnings: warnings}, nil
}

// DeleteProfile implements matchdpb.ProfilesServer.
func (s *profileService) DeleteProfile(ctx context.Context, request *matchdpb.DeleteProfileRequest) (*matchdpb.DeleteProfileResponse, error) {
	revision, err := s.objects.remove(ctx, catalog.Profile, request.GetId(), request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.DeleteProfileResponse{Revision: revision}, nil
}
