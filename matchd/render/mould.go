package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"

	canonical "github.com/clarketm/json"
	"github.com/coreos/go-systemd/v22/unit"
	"github.com/vincent-petithory/dataurl"
	"go.yaml.in/yaml/v3"
)

// Texts of one template differ from machine to machine mostly in what is written into files and units, which Butane passes through: it looks at
// nothing there but whether a unit has [Install]. So Butane need not see them all. A mould is the translation of a text with holes in these places,
// and serves for every text that is the same around them.

// maxMoulds is the number of moulds, and of shapes seen once, that a document remembers. The one that was used longest ago goes first.
const maxMoulds = 8

// moulds remembers a document's. It is safe for concurrent use.
type moulds struct {
	mu   sync.Mutex
	seen [][sha256.Size]byte // shapes of texts that were translated once; a mould is worth making for those that come again. None is made already
	made []*mould            // the last one used is the last, no two of one shape
}

type mould struct {
	shape  [sha256.Size]byte
	pieces [][]byte // of the JSON, one more than there are holes; nil: no mould could be made
	order  []int    // hole k of the JSON is filled by the value of hole order[k] of the text
}

// hole is a scalar of a text that may differ.
type hole struct {
	node *yaml.Node
	unit bool // text of a unit; else contents of a file
}

// encode returns a value of the hole as it stands in Butane's JSON.
func (h hole) encode(value string) []byte {
	if !h.unit {
		return []byte(`"` + plainURL(value) + `"`)
	}
	out, err := canonical.Marshal(value)
	if err != nil {
		return nil // a string can always be written
	}
	return out
}

// sentinel returns a value that is found again in the JSON, and is to Butane what the hole's own value is.
func (h hole) sentinel(number int) string {
	if h.unit {
		return fmt.Sprintf("#matchd.hole.%d.\n%s", number, h.node.Value)
	}
	return fmt.Sprintf("matchd.hole.%d.", number)
}

// plainURL is what Butane makes of contents if it does not compress them.
func plainURL(contents string) string {
	escaped, encoded := ","+dataurl.EscapeString(contents), base64Prefix+base64.StdEncoding.EncodeToString([]byte(contents))
	if len(encoded) < len(escaped) {
		return dataScheme + encoded
	}
	return dataScheme + escaped
}

// cast returns the translation of a text if there is a mould for it. Else it tells the shape and the holes; with ok false the text has none.
func (m *moulds) cast(root *yaml.Node) (out []byte, shape [sha256.Size]byte, holes []hole, ok bool) {
	w := shapeWriter{hash: sha256.New()}
	w.node(root.Content[0], "")
	if w.aliased || len(w.holes) == 0 {
		return nil, shape, nil, false
	}
	w.hash.Sum(shape[:0])
	m.mu.Lock()
	found := m.takeLocked(shape)
	if found != nil {
		m.made = append(m.made, found)
	}
	m.mu.Unlock()
	switch {
	case found == nil:
		return nil, shape, w.holes, true
	case found.pieces == nil:
		return nil, shape, nil, false
	}
	return found.fill(w.holes), shape, w.holes, true
}

// takeLocked takes the mould of a shape out of those that are made; nil: there is none.
func (m *moulds) takeLocked(shape [sha256.Size]byte) *mould {
	at := slices.IndexFunc(m.made, func(made *mould) bool { return made.shape == shape })
	if at < 0 {
		return nil
	}
	found := m.made[at]
	m.made = slices.Delete(m.made, at, at+1)
	return found
}

func (m *mould) fill(holes []hole) []byte {
	var out []byte
	for k, piece := range m.pieces {
		out = append(out, piece...)
		if k < len(m.order) {
			h := holes[m.order[k]]
			out = append(out, h.encode(h.node.Value)...)
		}
	}
	return out
}

// learn makes a mould of a text that was translated into out without a problem, if it is the second of its shape. translate does to another text
// what was done to this one.
func (m *moulds) learn(root *yaml.Node, shape [sha256.Size]byte, holes []hole, out []byte, translate func([]byte) []byte) {
	m.mu.Lock()
	again := slices.Contains(m.seen, shape)
	if !again && !slices.ContainsFunc(m.made, func(made *mould) bool { return made.shape == shape }) {
		m.seen = append(m.seen[max(0, len(m.seen)-maxMoulds+1):], shape)
	}
	m.mu.Unlock()
	if !again {
		return
	}
	made := newMould(root, holes, translate)
	if made == nil || !bytes.Equal(made.fill(holes), out) {
		made = &mould{} // so that nobody tries again
	}
	made.shape = shape
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = slices.DeleteFunc(m.seen, func(seen [sha256.Size]byte) bool { return seen == shape })
	m.takeLocked(shape) // somebody else may have made one meanwhile
	m.made = append(m.made[max(0, len(m.made)-maxMoulds+1):], made)
}

// newMould has the text translated with a sentinel in each hole. It is nil if they are not found again, each once.
func newMould(root *yaml.Node, holes []hole, translate func([]byte) []byte) *mould {
	values := make([]string, len(holes))
	for k, h := range holes {
		values[k] = h.node.Value
		h.node.Value = h.sentinel(k)
	}
	text, err := yaml.Marshal(root)
	sentinels := make([][]byte, len(holes))
	for k, h := range holes {
		sentinels[k] = h.encode(h.node.Value)
		h.node.Value = values[k]
	}
	if err != nil {
		return nil
	}
	out := translate(text)
	made := &mould{}
	starts := make([]int, len(holes))
	for k, sentinel := range sentinels {
		starts[k] = bytes.Index(out, sentinel)
		// Before fcos 1.1.0 contents were escaped in another way, and had no compression.
		if bytes.Count(out, sentinel) != 1 || !holes[k].unit && !bytes.HasSuffix(out[:starts[k]+1], []byte(inline)) {
			return nil
		}
		made.order = append(made.order, k)
	}
	slices.SortFunc(made.order, func(a, b int) int { return starts[a] - starts[b] })
	from := 0
	for _, k := range made.order {
		made.pieces = append(made.pieces, out[from:starts[k]])
		from = starts[k] + len(sentinels[k])
	}
	made.pieces = append(made.pieces, out[from:])
	return made
}

// shapeWriter digests a YAML tree: all of it but what is in the holes.
type shapeWriter struct {
	hash    hash.Hash
	holes   []hole
	aliased bool // there are anchors: a value may stand in more places than one
}

func (w *shapeWriter) text(s string) {
	w.hash.Write(binary.AppendUvarint(nil, uint64(len(s))))
	io.WriteString(w.hash, s) // a hash does not fail
}

// node digests a node; at is its path, with [] for every element of a list.
func (w *shapeWriter) node(n *yaml.Node, at string) {
	w.aliased = w.aliased || n.Kind == yaml.AliasNode || n.Anchor != ""
	w.hash.Write([]byte{byte(n.Kind), byte(min(len(n.Content), 255))})
	w.text(n.ShortTag())
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, child := range n.Content {
			w.node(child, at+"[]")
		}
		w.text("end")
	case n.Kind == yaml.MappingNode:
		for k := 0; k+1 < len(n.Content); k += 2 {
			w.node(n.Content[k], "")
			w.node(n.Content[k+1], at+"."+n.Content[k].Value)
		}
		w.text("end")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && at == ".storage.files[].contents.inline":
		w.holes = append(w.holes, hole{n, false})
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && (at == ".systemd.units[].contents" || at == ".systemd.units[].dropins[].contents") && w.unit(n.Value):
		w.holes = append(w.holes, hole{n, true})
	default:
		w.text(n.Value)
	}
}

// unit digests what matters of a unit to Ignition: that it can be read, is not empty, and which sections it has.
func (w *shapeWriter) unit(text string) bool {
	options, err := unit.DeserializeOptions(strings.NewReader(text))
	if err != nil || len(options) == 0 {
		return false
	}
	section := ""
	for _, option := range options {
		if option.Section != section {
			section = option.Section
			w.text(section)
		}
	}
	w.text("end")
	return true
}
