package rpc

import (
	"context"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// groupService implements matchd.v1.Groups.
type groupService struct {
	matchdpb.UnimplementedGroupsServer
	objects *objectStore
}

// GetGroup implements matchdpb.GroupsServer.
func (s *groupService) GetGroup(ctx context.Context, request *matchdpb.GetGroupRequest) (*matchdpb.GetGroupResponse, error) {
	item, err := s.objects.get(ctx, catalog.Group, request.GetId())
	if err != nil {
		return nil, err
	}
	return &matchdpb.GetGroupResponse{Group: groupToProto(item)}, nil
}

// ListGroups implements matchdpb.GroupsServer.
func (s *groupService) ListGroups(ctx context.Context, request *matchdpb.ListGroupsRequest) (*matchdpb.ListGroupsResponse, error) {
	labels, err := groups.Selector(request.GetLabels()).Normalized()
	if err != nil {
		return nil, fault.New(fault.Invalid, "labels: %w", err)
	}
	keep := func(o *catalog.Object) bool {
		selector, err := o.Group.Selector.Normalized() // a stored one has no error
		return err == nil && hasAll(selector, labels)
	}
	items, next, revision, err := s.objects.list(ctx, catalog.Group, page{request.GetPageSize(), request.GetPageToken(), keep})
	if err != nil {
		return nil, err
	}
	response := &matchdpb.ListGroupsResponse{NextPageToken: next, Revision: revision, Groups: make([]*matchdpb.Group, 0, len(items))}
	for _, item := range items {
		response.Groups = append(response.Groups, groupToProto(item))
	}
	return response, nil
}

// PutGroup implements matchdpb.GroupsServer.
func (s *groupService) PutGroup(ctx context.Context, request *matchdpb.PutGroupRequest) (*matchdpb.PutGroupResponse, error) {
	object, problems := groupFrom(request.GetGroup())
	item, warnings, err := s.objects.put(ctx, object, problems, request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.PutGroupResponse{Group: groupToProto(item), Warnings: warnings}, nil
}

// DeleteGroup implements matchdpb.GroupsServer.
func (s *groupService) DeleteGroup(ctx context.Context, request *matchdpb.DeleteGroupRequest) (*matchdpb.DeleteGroupResponse, error) {
	revision, err := s.objects.remove(ctx, catalog.Group, request.GetId(), request.Revision)
	if err != nil {
		return nil, err
	}
	return &matchdpb.DeleteGroupResponse{Revision: revision}, nil
}
