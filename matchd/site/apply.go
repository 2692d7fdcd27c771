package site

import (
	"context"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// maxApplyTries is how often a site is applied anew when somebody else writes in between.
const maxApplyTries = 5

// Objects returns what the site says in the catalog's terms: every object with the file that owns it.
func (s *Site) Objects() catalog.Objects {
	return catalog.Objects{Groups: owned(s.Groups), Profiles: owned(s.Profiles), Templates: owned(s.Templates)}
}

func owned[T any](objects []Object[T]) []catalog.Owned[T] {
	list := make([]catalog.Owned[T], len(objects))
	for i, object := range objects {
		list[i] = catalog.Owned[T]{Value: object.Value, File: object.File}
	}
	return list
}

// Apply makes the store hold what the site says, in one commit; see [catalog.ReplaceSite]. It returns the revision at which that is
// true and the number of objects that changed. Commits of others in between are tolerated.
func (s *Site) Apply(ctx context.Context, to store.Store) (store.Revision, int, error) {
	objects := s.Objects()
	for try := 1; ; try++ {
		revision, changed, err := catalog.ReplaceSite(ctx, to, objects)
		if !fault.Is(err, fault.Conflict) || try == maxApplyTries {
			return revision, changed, err
		}
	}
}
