package rpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"sort"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Catalog is what is served now. A [catalog.Catalog] is one; its methods say which errors there are.
type Catalog interface {
	Loaded(ctx context.Context) (*catalog.Snapshot, error)
	WaitFor(ctx context.Context, revision store.Revision) (*catalog.Snapshot, error)
}

// Applier makes changes. A [change.Applier] is one; its method says which errors there are.
type Applier interface {
	Apply(ctx context.Context, c change.Change) (*change.Result, error)
}

// Watcher follows the store; see [store.Store].
type Watcher interface {
	Watch(ctx context.Context, prefix string, after store.Revision) (store.Commit, error)
}

// ObjectParts are what the services of objects and their changes work with. Without a catalog they are not offered.
type ObjectParts struct {
	Catalog Catalog
	Applier Applier
	Store   Watcher
}

func registerObjects(s grpc.ServiceRegistrar, o *Options) {
	if o.Objects.Catalog == nil {
		return
	}
	objects := &objectStore{o.Objects}
	matchdpb.RegisterMachinesServer(s, &machineService{objects: objects})
	matchdpb.RegisterGroupsServer(s, &groupService{objects: objects})
	matchdpb.RegisterProfilesServer(s, &profileService{objects: objects})
	matchdpb.RegisterTemplatesServer(s, &templateService{objects: objects})
	matchdpb.RegisterReservationsServer(s, &reservationService{objects: objects})
	matchdpb.RegisterChangesServer(s, newChangeService(objects))
}

// objectStore is what the services of all kinds of objects have in common.
type objectStore struct{ ObjectParts }

// sight is what the caller may see of a snapshot: everything, or what its scope holds and is used by that.
type sight struct {
	caller   auth.Identity
	snapshot *catalog.Snapshot
	used     map[catalog.Ref]bool // profiles and templates of groups in sight; nil: not found out yet
}

func sightOf(ctx context.Context, snapshot *catalog.Snapshot) *sight {
	caller, _ := auth.FromContext(ctx)
	return &sight{caller: caller, snapshot: snapshot}
}

// holds reports whether the caller sees an object: machines by their labels, groups by their selectors, profiles and templates if a group in sight uses them.
func (s *sight) holds(o *catalog.Object) bool {
	if !s.caller.Scoped() {
		return true
	}
	switch {
	case o.Machine != nil, o.Group != nil:
		return inScope(s.caller, o)
	case o.Profile != nil, o.Template != nil:
		if s.used == nil {
			s.findUsed()
		}
		return s.used[o.Ref()]
	}
	return false
}

// inScope reports whether an object's own labels hold the scope.
func inScope(caller auth.Identity, o *catalog.Object) bool {
	switch {
	case !caller.Scoped():
		return true
	case o.Machine != nil:
		return caller.Sees(o.Machine.Labels)
	case o.Group != nil:
		return caller.Sees(o.Group.Selector)
	}
	return false
}

func (s *sight) findUsed() {
	s.used = map[catalog.Ref]bool{}
	for _, item := range s.snapshot.List(catalog.Group) {
		if !s.caller.Sees(item.Group.Selector) {
			continue
		}
		for _, ref := range change.Uses(s.snapshot, item.Group) {
			s.used[ref] = true
		}
	}
}

// allow refuses a caller with a scope what it does not hold, before or after.
func allow(caller auth.Identity) func(ref catalog.Ref, before, after *catalog.Object) error {
	if !caller.Scoped() {
		return nil
	}
	return func(ref catalog.Ref, before, after *catalog.Object) error {
		if before != nil && !inScope(caller, before) || after != nil && !inScope(caller, after) {
			return newStatus(codes.PermissionDenied, ReasonScope, fmt.Sprintf("%q is bound to a scope, which %s is not in, or would not be", caller.Name, ref)).Err()
		}
		if ref.Kind != catalog.Machine && ref.Kind != catalog.Group {
			return newStatus(codes.PermissionDenied, ReasonScope, fmt.Sprintf("%q is bound to a scope and changes machines and groups only", caller.Name)).Err()
		}
		return nil
	}
}

// get returns one object. What the caller may not see is not there for it.
func (s *objectStore) get(ctx context.Context, kind catalog.Kind, id string) (*catalog.Item, error) {
	ref, err := refOf(kind, id)
	if err != nil {
		return nil, refuse(problemsOfField(kind, err))
	}
	snapshot, err := s.Catalog.Loaded(ctx)
	if err != nil {
		return nil, err
	}
	item, found := snapshot.Get(ref)
	if !found || !sightOf(ctx, snapshot).holds(&item.Object) {
		return nil, fault.New(fault.NotFound, "there is no %s", ref)
	}
	return item, nil
}

func problemsOfField(kind catalog.Kind, err error) []change.Problem {
	field, what, _ := strings.Cut(err.Error(), ": ")
	return []change.Problem{{Ref: catalog.Ref{Kind: kind}, Field: field, What: what}}
}

// page is what a listing asks for.
type page struct {
	size  int32
	token string
	keep  func(*catalog.Object) bool // nil: all
}

// list returns a page of the objects of a kind, the token of the next one, and the revision.
func (s *objectStore) list(ctx context.Context, kind catalog.Kind, p page) ([]*catalog.Item, string, int64, error) {
	size, err := pageOf(p.size, usualPage, mostPage)
	if err != nil {
		return nil, "", 0, err
	}
	last, err := readToken(p.token)
	if err != nil {
		return nil, "", 0, err
	}
	snapshot, err := s.Catalog.Loaded(ctx)
	if err != nil {
		return nil, "", 0, err
	}
	all := snapshot.List(kind)
	from := 0
	if p.token != "" {
		from = sort.Search(len(all), func(i int) bool { return all[i].Ref().ID > last })
	}
	seen := sightOf(ctx, snapshot)
	items := make([]*catalog.Item, 0, min(size, len(all)-from))
	for _, item := range all[from:] {
		if p.keep != nil && !p.keep(&item.Object) || !seen.holds(&item.Object) {
			continue
		}
		if len(items) == size {
			return items, makeToken(items[size-1].Ref().ID), int64(snapshot.Revision), nil
		}
		items = append(items, item)
	}
	return items, "", int64(snapshot.Revision), nil
}

// tokenMark begins every page token; the last id of the page follows. A token is bound to nothing: it goes on after that id in whatever is served then.
const tokenMark = "after:"

func makeToken(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenMark + last))
}

func readToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	last, ours := strings.CutPrefix(string(text), tokenMark)
	if err != nil || !ours {
		return "", fault.New(fault.Invalid, "page_token: %.40q is none of ours", token)
	}
	return last, nil
}

// put writes one object that was read from a request, unless that has problems.
func (s *objectStore) put(ctx context.Context, object catalog.Object, problems []change.Problem, revision *int64) (*catalog.Item, []*matchdpb.Problem, error) {
	if err := refuse(problems); err != nil {
		return nil, nil, err
	}
	condition, err := revisionFrom(revision)
	if err != nil {
		return nil, nil, refuse(problemsOfField("", err))
	}
	result, err := s.apply(ctx, change.Op{Put: &object, If: condition})
	if err != nil {
		return nil, nil, err
	}
	return result.Objects[0].Item, problemsToProto(result.Warnings), nil
}

// remove deletes one object and returns the revision that is without it.
func (s *objectStore) remove(ctx context.Context, kind catalog.Kind, id string, revision *int64) (int64, error) {
	ref, err := refOf(kind, id)
	if err != nil {
		return 0, refuse(problemsOfField(kind, err))
	}
	condition, err := revisionFrom(revision)
	if err != nil {
		return 0, refuse(problemsOfField("", err))
	}
	result, err := s.apply(ctx, change.Op{Delete: ref, If: condition})
	if err != nil {
		return 0, err
	}
	return int64(result.Revision), nil
}

func (s *objectStore) apply(ctx context.Context, op change.Op) (*change.Result, error) {
	caller, _ := auth.FromContext(ctx)
	return s.Applier.Apply(ctx, change.Change{Ops: []change.Op{op}, Author: caller.Name, Allow: allow(caller)})
}
