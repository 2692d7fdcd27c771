package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
	"github.com/matchd/matchd/rpc/matchboxpb"
)

// MatchboxObjects is where matchbox's services read and write. Errors are of a fault.Kind.
type MatchboxObjects interface {
	// Snapshot returns what is served now; never nil.
	Snapshot(ctx context.Context) (*catalog.Snapshot, error)
	// Put creates or replaces an object and returns once it is served. Only what could never work is refused: references may lead nowhere.
	Put(ctx context.Context, object catalog.Object) error
	// Delete deletes an object and returns once that is served. What is not there is deleted already.
	Delete(ctx context.Context, ref catalog.Ref) error
}

// Replacements is told what may be put again in a moment, so that machines wait for it. boot.Replacements is one.
type Replacements interface {
	Deleting(group *groups.Group)     // before the group is deleted
	Put(id string, at store.Revision) // after it was put, with a revision that has it
}

// MatchboxParts are what matchbox's services work with. Without Objects they are not offered.
type MatchboxParts struct {
	Objects  MatchboxObjects
	Replaced Replacements
}

// registerMatchbox offers matchbox's services: rpcpb.Groups, Profiles, Ignition, Generic and Select.
func registerMatchbox(s grpc.ServiceRegistrar, o *Options) {
	if o.Matchbox.Objects == nil {
		return
	}
	parts := &o.Matchbox
	matchboxpb.RegisterGroupsServer(s, &matchboxGroups{parts: parts})
	matchboxpb.RegisterProfilesServer(s, &matchboxProfiles{parts: parts})
	matchboxpb.RegisterIgnitionServer(s, &matchboxIgnition{documents: matchboxDocuments{parts, profiles.Ignition}})
	matchboxpb.RegisterGenericServer(s, &matchboxGeneric{documents: matchboxDocuments{parts, profiles.Generic}})
	matchboxpb.RegisterSelectServer(s, &matchboxSelect{parts: parts})
}

// named says whether a name can be one: matchbox would make a path of it.
func named(field, name string) error {
	if err := groups.ValidID(name); err != nil {
		return fault.New(fault.Invalid, "%s: %w", field, err)
	}
	return nil
}

// missing is the error of a Get. The provider takes any error for "it is gone", and nothing but an error.
func missing(ref catalog.Ref) error { return fault.New(fault.NotFound, "%s does not exist", ref) }

// matchboxDocuments are the templates of one kind.
type matchboxDocuments struct {
	parts *MatchboxParts
	kind  profiles.Kind
}

func (d matchboxDocuments) put(ctx context.Context, name string, config []byte) error {
	if err := named("name", name); err != nil {
		return err
	}
	if config == nil {
		config = []byte{}
	}
	return d.parts.Objects.Put(ctx, catalog.Object{Template: &profiles.Template{Kind: d.kind, Name: name, Content: config}})
}

// get returns a document byte for byte as it was put.
func (d matchboxDocuments) get(ctx context.Context, name string) ([]byte, error) {
	if err := named("name", name); err != nil {
		return nil, err
	}
	snapshot, err := d.parts.Objects.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	ref := catalog.TemplateRef(d.kind, name)
	item, found := snapshot.Get(ref)
	if !found {
		return nil, missing(ref)
	}
	return item.Template.Content, nil
}

func (d matchboxDocuments) delete(ctx context.Context, name string) error {
	if err := named("name", name); err != nil {
		return err
	}
	return d.parts.Objects.Delete(ctx, catalog.TemplateRef(d.kind, name))
}

type matchboxIgnition struct {
	matchboxpb.UnimplementedIgnitionServer
	documents matchboxDocuments
}

// IgnitionPut implements matchboxpb.IgnitionServer.
func (s *matchboxIgnition) IgnitionPut(ctx context.Context, r *matchboxpb.IgnitionPutRequest) (*matchboxpb.IgnitionPutResponse, error) {
	return answer(&matchboxpb.IgnitionPutResponse{}, s.documents.put(ctx, r.GetName(), r.GetConfig()))
}

// IgnitionGet implements matchboxpb.IgnitionServer.
func (s *matchboxIgnition) IgnitionGet(ctx context.Context, r *matchboxpb.IgnitionGetRequest) (*matchboxpb.IgnitionGetResponse, error) {
	config, err := s.documents.get(ctx, r.GetName())
	return answer(&matchboxpb.IgnitionGetResponse{Config: config}, err)
}

// IgnitionDelete implements matchboxpb.IgnitionServer.
func (s *matchboxIgnition) IgnitionDelete(ctx context.Context, r *matchboxpb.IgnitionDeleteRequest) (*matchboxpb.IgnitionDeleteResponse, error) {
	return answer(&matchboxpb.IgnitionDeleteResponse{}, s.documents.delete(ctx, r.GetName()))
}

type matchboxGeneric struct {
	matchboxpb.UnimplementedGenericServer
	documents matchboxDocuments
}

// GenericPut implements matchboxpb.GenericServer.
func (s *matchboxGeneric) GenericPut(ctx context.Context, r *matchboxpb.GenericPutRequest) (*matchboxpb.GenericPutResponse, error) {
	return answer(&matchboxpb.GenericPutResponse{}, s.documents.put(ctx, r.GetName(), r.GetConfig()))
}

// GenericGet implements matchboxpb.GenericServer.
func (s *matchboxGeneric) GenericGet(ctx context.Context, r *matchboxpb.GenericGetRequest) (*matchboxpb.GenericGetResponse, error) {
	config, err := s.documents.get(ctx, r.GetName())
	return answer(&matchboxpb.GenericGetResponse{Config: config}, err)
}

// GenericDelete implements matchboxpb.GenericServer.
func (s *matchboxGeneric) GenericDelete(ctx context.Context, r *matchboxpb.GenericDeleteRequest) (*matchboxpb.GenericDeleteResponse, error) {
	return answer(&matchboxpb.GenericDeleteResponse{}, s.documents.delete(ctx, r.GetName()))
}

// answer returns a response only where there is no error: grpc-go would send neither.
func answer[T any](response *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return response, nil
}

type matchboxSelect struct {
	matchboxpb.UnimplementedSelectServer
	parts *MatchboxParts
}

// The texts that matchbox's clients know.
const (
	noMatchingGroup   = "matchbox: No matching Group"
	noMatchingProfile = "matchbox: No matching Profile"
)

// SelectGroup implements matchboxpb.SelectServer. Labels are taken as they come, as matchbox does: only its HTTP side normalises a MAC address.
func (s *matchboxSelect) SelectGroup(ctx context.Context, r *matchboxpb.SelectGroupRequest) (*matchboxpb.SelectGroupResponse, error) {
	selection, err := s.match(ctx, r.GetLabels())
	if selection.Group == nil {
		return nil, err
	}
	group, err := matchboxGroup(selection.Group)
	return answer(&matchboxpb.SelectGroupResponse{Group: group}, err)
}

// SelectProfile implements matchboxpb.SelectServer.
func (s *matchboxSelect) SelectProfile(ctx context.Context, r *matchboxpb.SelectProfileRequest) (*matchboxpb.SelectProfileResponse, error) {
	selection, err := s.match(ctx, r.GetLabels())
	if err != nil {
		return nil, err
	}
	return &matchboxpb.SelectProfileResponse{Profile: matchboxProfile(selection.Profile)}, nil
}

func (s *matchboxSelect) match(ctx context.Context, labels groups.Labels) (catalog.Selection, error) {
	snapshot, err := s.parts.Objects.Snapshot(ctx)
	if err != nil {
		return catalog.Selection{}, err
	}
	selection, err := snapshot.Match(labels)
	switch {
	case selection.Group == nil && err != nil:
		err = newStatus(codes.NotFound, ReasonNotFound, noMatchingGroup).Err()
	case err != nil:
		err = newStatus(codes.NotFound, ReasonNotFound, noMatchingProfile).Err()
	case selection.Profile == nil:
		err = errors.New("a match without a profile")
	}
	return selection, err
}
