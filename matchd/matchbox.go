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
	return rpc.MatchboxParts{Objects: matchboxObjects{s, applier}, Replaced: s.replaced}
}

// matchboxObjects is where matchbox's services read and write.
type matchboxObjects struct {
	server  *Server
	applier *change.Applier
}

// Snapshot implements rpc.MatchboxObjects.
func (m matchboxObjects) Snapshot(ctx context.Context) (*catalog.Snapshot, error) {
	return m.server.catalog.Loaded(ctx)
}

// Put implements rpc.MatchboxObjects.
func (m matchboxObjects) Put(ctx context.Context, object catalog.Object) error {
	return m.apply(ctx, change.Op{Put: &object})
}

// Delete implements rpc.MatchboxObjects.
func (m matchboxObjects) Delete(ctx context.Context, ref catalog.Ref) error {
	if m.server.directory != nil {
		if snapshot, err := m.Snapshot(ctx); err != nil {
			return err
		} else if _, known := snapshot.Meta(ref); !known {
			return m.removeUnread(ctx, ref)
		}
	}
	return m.apply(ctx, change.Op{Delete: ref})
}

// removeUnread removes the file of an object that could not be read, and so is not served, if there is one.
func (m matchboxObjects) removeUnread(ctx context.Context, ref catalog.Ref) error {
	d := m.server.directory
	defer d.Lock()()
	if !d.Has(ref.Key()) {
		return nil
	}
	record, err := m.server.auditChange(ctx, change.Written{Refs: []catalog.Ref{ref}})
	if err != nil {
		return err
	}
	if _, err := d.Write(catalog.Objects{}, []string{ref.Key()}); err != nil {
		return err
	}
	_, err = m.server.stores["config"].Apply(ctx, record)
	return err
}

func (m matchboxObjects) apply(ctx context.Context, op change.Op) error {
	caller, _ := auth.FromContext(ctx)
	_, err := m.applier.Apply(ctx, change.Change{Ops: []change.Op{op}, Lenient: true, Author: caller.Name})
	return err
}
