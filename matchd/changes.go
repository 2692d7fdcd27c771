package matchd

import (
	"context"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/store"
)

// newApplier returns what makes the changes that the API's clients want.
func (s *Server) newApplier() *change.Applier {
	options := change.Options{
		Catalog: s.catalog, Store: s.stores["config"], Planner: s.planner, Seen: s.seenMachines, Audit: s.auditChange,
		Site: s.cfg.Site != "", RefuseOverlaps: s.cfg.Overlaps == OverlapsError, Lenient: s.cfg.Matchbox, Logger: s.log,
	}
	if s.pool != nil {
		options.Addresses = s.pool
	}
	if s.directory != nil {
		options.Directory = s.directory
	}
	return change.New(options)
}

// auditChange returns the record of a change, for the commit that makes it.
func (s *Server) auditChange(ctx context.Context, written change.Written) (store.Op, error) {
	objects := make([]audit.Object, len(written.Refs))
	for i, ref := range written.Refs {
		objects[i] = audit.Object{Kind: string(ref.Kind), ID: ref.ID}
	}
	record := audit.FromContext(ctx).Record(objects)
	record.Before, record.Code = written.Before, "OK"
	return s.api.audit.Op(record)
}
