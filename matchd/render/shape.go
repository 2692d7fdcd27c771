package render

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"sync"
)

// maxShapes is the number of valid shapes that a document remembers.
const maxShapes = 256

// shapes remembers which shapes of a composition are valid. Validating what was merged costs more than merging it, and the configs of a profile's
// machines differ mostly in what is in their files. It is safe for concurrent use.
type shapes struct {
	mu    sync.Mutex
	valid map[[sha256.Size]byte]bool
}

func (s *shapes) has(shape [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.valid[shape]
}

func (s *shapes) add(shape [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.valid == nil || len(s.valid) >= maxShapes {
		s.valid = map[[sha256.Size]byte]bool{}
	}
	s.valid[shape] = true
}

// shapeOf returns a digest of all that the validity of merged parts depends on, given that each is valid by itself: everything but the data in
// contents of files. That they are data URLs is part of it, since header fields that another part adds are valid with some schemes only.
func shapeOf(target spec, parts []*part) [sha256.Size]byte {
	digest := sha256.New()
	io.WriteString(digest, target.version) // a hash does not fail
	for _, p := range parts {
		p.shapeOnce.Do(func() {
			own := sha256.New()
			io.WriteString(own, p.version)
			writeShape(own, p.json)
			own.Sum(p.shape[:0])
		})
		digest.Write(p.shape[:])
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

// writeShape writes a canonical config without the data of contents. Contents that are an object are files'; those of units are strings, and they
// count: whether a unit may be enabled depends on them.
func writeShape(to hash.Hash, config []byte) {
	const contents, source, data = `"contents":{`, `"source":"`, `data:`
	for {
		at := bytes.Index(config, []byte(contents))
		if at < 0 {
			break
		}
		at += len(contents)
		to.Write(config[:at])
		config = config[at:]
		// An object that stands before the source, in a list of headers, ends the search: then all of it counts.
		from, end := bytes.Index(config, []byte(source+data)), bytes.IndexByte(config, '}')
		if from < 0 || from > end {
			continue
		}
		from += len(source) + len(data)
		to.Write(config[:from])
		config = config[from+max(bytes.IndexByte(config[from:], '"'), 0):]
	}
	to.Write(config)
}
