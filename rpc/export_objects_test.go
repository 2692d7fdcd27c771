package rpc

import (
	"time"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// NewChanges returns the Changes service alone, whose watches bookmark and cut off after these times.
func NewChanges(parts ObjectParts, bookmark, send time.Duration) matchdpb.ChangesServer {
	s := newChangeService(&objectStore{parts})
	s.timing = watchTiming{bookmark: bookmark, send: send}
	return s
}

// ObjectFrom and ObjectToProto are the converters.
func ObjectFrom(o *matchdpb.Object) (catalog.Object, []change.Problem) { return objectFrom(o) }

// ObjectToProto is the way back.
func ObjectToProto(item *catalog.Item) *matchdpb.Object { return objectToProto(item) }

// RefOf reads an id.
func RefOf(kind catalog.Kind, id string) (catalog.Ref, error) { return refOf(kind, id) }
