package rpc

import (
	"context"
	"encoding/base64"
	"sort"
	"strings"

	"google.golang.org/grpc"

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
	return s.change(ctx, change.Change{Ops: []change.Op{op}})
}

// change makes a change for the caller, as far as its scope allows; what it is told of the change keeps to its sight.
func (s *objectStore) change(ctx context.Context, c change.Change) (*change.Result, error) {
	caller, _ := auth.FromContext(ctx)
	c.Author = caller.Name
	if !caller.Scoped() {
		return s.Applier.Apply(ctx, c)
	}
	snapshot, err := s.Catalog.Loaded(ctx)
	if err != nil {
		return nil, err
	}
	seen := sightOf(ctx, snapshot)
	c.Allow = seen.allow
	result, err := s.Applier.Apply(ctx, c)
	if err != nil {
		return nil, seen.veilError(err)
	}
	result.Warnings = seen.veil(result.Warnings)
	return result, nil
}
