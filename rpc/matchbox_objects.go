package rpc

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/profiles"
	"github.com/matchd/matchd/rpc/matchboxpb"
)

type matchboxGroups struct {
	matchboxpb.UnimplementedGroupsServer
	parts *MatchboxParts
}

// GroupPut implements matchboxpb.GroupsServer.
func (s *matchboxGroups) GroupPut(ctx context.Context, r *matchboxpb.GroupPutRequest) (*matchboxpb.GroupPutResponse, error) {
	group, err := domainGroup(r.GetGroup())
	if err != nil {
		return nil, err
	}
	if err := s.parts.Objects.Put(ctx, catalog.Object{Group: group}); err != nil {
		return nil, err
	}
	snapshot, err := s.parts.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	s.parts.Replaced.Put(group.ID, snapshot.Revision)
	return &matchboxpb.GroupPutResponse{}, nil
}

// GroupGet implements matchboxpb.GroupsServer.
func (s *matchboxGroups) GroupGet(ctx context.Context, r *matchboxpb.GroupGetRequest) (*matchboxpb.GroupGetResponse, error) {
	item, err := s.parts.find(ctx, catalog.Group, r.GetId())
	if err != nil {
		return nil, err
	}
	group, err := matchboxGroup(item.Group)
	return answer(&matchboxpb.GroupGetResponse{Group: group}, err)
}

// GroupDelete implements matchboxpb.GroupsServer. The group's machines wait for a moment, should it be put again.
func (s *matchboxGroups) GroupDelete(ctx context.Context, r *matchboxpb.GroupDeleteRequest) (*matchboxpb.GroupDeleteResponse, error) {
	if err := named("id", r.GetId()); err != nil {
		return nil, err
	}
	ref := catalog.Ref{Kind: catalog.Group, ID: r.GetId()}
	snapshot, err := s.parts.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if item, found := snapshot.Get(ref); found {
		s.parts.Replaced.Deleting(item.Group)
	}
	return answer(&matchboxpb.GroupDeleteResponse{}, s.parts.Objects.Delete(ctx, ref))
}

// GroupList implements matchboxpb.GroupsServer.
func (s *matchboxGroups) GroupList(ctx context.Context, _ *matchboxpb.GroupListRequest) (*matchboxpb.GroupListResponse, error) {
	snapshot, err := s.parts.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	response := &matchboxpb.GroupListResponse{}
	for _, item := range snapshot.List(catalog.Group) {
		group, err := matchboxGroup(item.Group)
		if err != nil {
			return nil, err
		}
		response.Groups = append(response.Groups, group)
	}
	return response, nil
}

// find returns an object that is there.
func (p *MatchboxParts) find(ctx context.Context, kind catalog.Kind, id string) (*catalog.Item, error) {
	if err := named("id", id); err != nil {
		return nil, err
	}
	snapshot, err := p.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	ref := catalog.Ref{Kind: kind, ID: id}
	item, found := snapshot.Get(ref)
	if !found {
		return nil, missing(ref)
	}
	return item, nil
}

type matchboxProfiles struct {
	matchboxpb.UnimplementedProfilesServer
	parts *MatchboxParts
}

// ProfilePut implements matchboxpb.ProfilesServer.
func (s *matchboxProfiles) ProfilePut(ctx context.Context, r *matchboxpb.ProfilePutRequest) (*matchboxpb.ProfilePutResponse, error) {
	profile, err := domainProfile(r.GetProfile())
	if err != nil {
		return nil, err
	}
	return answer(&matchboxpb.ProfilePutResponse{}, s.parts.Objects.Put(ctx, catalog.Object{Profile: profile}))
}

// ProfileGet implements matchboxpb.ProfilesServer.
func (s *matchboxProfiles) ProfileGet(ctx context.Context, r *matchboxpb.ProfileGetRequest) (*matchboxpb.ProfileGetResponse, error) {
	item, err := s.parts.find(ctx, catalog.Profile, r.GetId())
	if err != nil {
		return nil, err
	}
	return &matchboxpb.ProfileGetResponse{Profile: matchboxProfile(item.Profile)}, nil
}

// ProfileDelete implements matchboxpb.ProfilesServer. Machines whose group names a profile that is not there wait.
func (s *matchboxProfiles) ProfileDelete(ctx context.Context, r *matchboxpb.ProfileDeleteRequest) (*matchboxpb.ProfileDeleteResponse, error) {
	if err := named("id", r.GetId()); err != nil {
		return nil, err
	}
	return answer(&matchboxpb.ProfileDeleteResponse{}, s.parts.Objects.Delete(ctx, catalog.Ref{Kind: catalog.Profile, ID: r.GetId()}))
}

// ProfileList implements matchboxpb.ProfilesServer.
func (s *matchboxProfiles) ProfileList(ctx context.Context, _ *matchboxpb.ProfileListRequest) (*matchboxpb.ProfileListResponse, error) {
	snapshot, err := s.parts.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	response := &matchboxpb.ProfileListResponse{}
	for _, item := range snapshot.List(catalog.Profile) {
		response.Profiles = append(response.Profiles, matchboxProfile(item.Profile))
	}
	return response, nil
}

// domainGroup takes a group off the wire. What is wrong with it in itself is left to who puts it.
func domainGroup(g *matchboxpb.Group) (*groups.Group, error) {
	if g == nil {
		return nil, fault.New(fault.Invalid, "group: is missing")
	}
	if err := named("group.id", g.GetId()); err != nil {
		return nil, err
	}
	group := &groups.Group{ID: g.GetId(), Name: g.GetName(), Profile: g.GetProfile()}
	if len(g.GetSelector()) > 0 {
		group.Selector = maps.Clone(g.GetSelector())
	}
	if len(g.GetMetadata()) > 0 {
		if err := json.Unmarshal(g.GetMetadata(), &group.Metadata); err != nil {
			return nil, fault.New(fault.Invalid, "group.metadata: is no JSON object: %w", err)
		}
		if len(group.Metadata) == 0 { // null and {} come back empty, as from matchbox
			group.Metadata = nil
		}
	}
	return group, unusable("group", site.UsableGroup(*group))
}

// unusable makes an error of what could never work, with its field's name within the request.
func unusable(what string, err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Invalid, "%s.%w", what, err)
}

// matchboxGroup gives a group to the wire: selectors as they were put, metadata as encoding/json writes it.
func matchboxGroup(g *groups.Group) (*matchboxpb.Group, error) {
	group := &matchboxpb.Group{Id: g.ID, Name: g.Name, Profile: g.Profile, Selector: g.Selector}
	if len(g.Metadata) == 0 {
		return group, nil
	}
	var err error
	if group.Metadata, err = json.Marshal(g.Metadata); err != nil {
		return nil, fault.New(fault.Internal, "encoding the metadata of group %q: %w", g.ID, err)
	}
	return group, nil
}

func domainProfile(p *matchboxpb.Profile) (*profiles.Profile, error) {
	if p == nil {
		return nil, fault.New(fault.Invalid, "profile: is missing")
	}
	if err := named("profile.id", p.GetId()); err != nil {
		return nil, err
	}
	profile := &profiles.Profile{
		ID: p.GetId(), Name: p.GetName(), IgnitionID: p.GetIgnitionId(), CloudID: p.GetCloudId(), GenericID: p.GetGenericId(),
		Boot: profiles.Boot{Kernel: p.GetBoot().GetKernel(), Initrd: p.GetBoot().GetInitrd(), Args: p.GetBoot().GetArgs()},
	}
	return profile, unusable("profile", site.UsableProfile(*profile))
}

// matchboxProfile gives a profile to the wire. Boot is never unset: the provider and bootcmd look into it unasked.
func matchboxProfile(p *profiles.Profile) *matchboxpb.Profile {
	return &matchboxpb.Profile{
		Id: p.ID, Name: p.Name, IgnitionId: p.IgnitionID, CloudId: p.CloudID, GenericId: p.GenericID,
		Boot: &matchboxpb.NetBoot{Kernel: p.Boot.Kernel, Initrd: p.Boot.Initrd, Args: p.Boot.Args},
	}
}
