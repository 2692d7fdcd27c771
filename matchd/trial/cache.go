package trial

import (
	"crypto/sha256"
	"sync"

	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// Bounds of what a [Cache] remembers. Restricted trials add to it; a trial of everything leaves what it needed itself.
const (
	MaxCachedDocuments = 2_000
	MaxCachedVerdicts  = 50_000
)

// Cache remembers compiled documents and what was tried from one trial to the next, since most do not change. Lenient trials and others may
// share one: neither finds what the other left. It is safe for concurrent use.
type Cache struct {
	trial *render.Trial

	mu        sync.Mutex
	documents map[documentKey]*render.Document
}

type documentKey struct {
	kind    profiles.Kind
	name    string
	content [sha256.Size]byte
	lenient bool
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{trial: render.NewTrial(), documents: map[documentKey]*render.Document{}}
}

// begin starts a trial: of everything, or of what changes have an effect on.
func (c *Cache) begin(everything bool) {
	if everything || c.trial.Len() > MaxCachedVerdicts {
		c.trial.NextRound()
	}
}

// end forgets what the trial did not read, if it was one of everything or there is too much.
func (c *Cache) end(everything bool, read map[documentKey]*render.Document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if everything || len(c.documents) > MaxCachedDocuments {
		c.documents = read
	}
}

// compile compiles a template that was not compiled before.
func (r *run) compile(template *profiles.Template) (*render.Document, error) {
	key := documentKey{template.Kind, template.Name, sha256.Sum256(template.Content), r.Lenient}
	r.Cache.mu.Lock()
	document := r.Cache.documents[key]
	r.Cache.mu.Unlock()
	if document == nil {
		var err error
		compile := render.Compile
		if r.Lenient {
			compile = render.CompileLenient
		}
		if document, err = compile(*template); err != nil {
			return nil, err
		}
		r.Cache.mu.Lock()
		r.Cache.documents[key] = document
		r.Cache.mu.Unlock()
	}
	r.read[key] = document
	return document, nil
}
