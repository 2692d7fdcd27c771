package matchd

import (
	"context"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/rpc"
)

// matchboxParts returns what matchbox's services work with.
func (s *Server) matchboxParts(applier *change.Applier) rpc.MatchboxParts {
	return rpc.MatchboxParts{Objects: matchboxObjects{s.catalog, applier}, Replaced: s.replaced}
}

// matchboxObjects is where matchbox's services read and write.
type matchboxObjects struct {
	catalog *catalog.Catalog
	applier *change.Applier
}

// Snapshot implements rpc.MatchboxObjects.
func (m matchboxObjects) Snapshot(ctx context.Context) (*catalog.Snapshot, error) {
	return m.catalog.Loaded(ctx)
}

// Put implements rpc.MatchboxObjects.
func (m matchboxObjects) Put(ctx context.Context, object catalog.Object) error {
	return m.apply(ctx, change.Op{Put: &object})
}

// Delete implements rpc.MatchboxObjects.
func (m matchboxObjects) Delete(ctx context.Context, ref catalog.Ref) error {
	return m.apply(ctx, change.Op{Delete: ref})
}

func (m matchboxObjects) apply(ctx context.Context, op change.Op) error {
	caller, _ := auth.FromContext(ctx)
	_, err := m.applier.Apply(ctx, change.Change{Ops: []change.Op{op}, Lenient: true, Author: caller.Name})
	return err
}
