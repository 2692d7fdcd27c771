package render

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"sync"

	"github.com/vincent-petithory/dataurl"
)

// Bounds of what a document's packer remembers. The contents of one text, as data URLs, have at most 4/3 of MaxDocument bytes, and fewer once compressed:
// half of the room holds all of them, so that what is the same for every machine stays.
const (
	maxPacked      = 256 // contents
	maxPackedBytes = 3 * MaxDocument
)

// packer compresses the contents of files as Butane does, to the byte. Butane makes a compressor anew for every file, which takes 1.2 MB and more
// than half of the time of a translation; and what is the same for every machine need not be compressed for each. It is safe for concurrent use.
type packer struct {
	mu    sync.Mutex                    // not held while something is compressed
	known map[[sha256.Size]byte]*packed // by digest of the data URL
	bytes int                           // of the compressed URLs
}

// packed is what became of a data URL.
type packed struct {
	url  string // "": it is shorter as it is; never changed
	used bool   // since room was made
}

// inline is how Butane's JSON has contents that were inline in the source, if it was told not to compress them: what names a source itself has no
// empty compression. Quotes cannot stand in a JSON string.
const inline = `"compression":"","source":"`

// pack compresses the contents of files in Butane's JSON where that makes them smaller.
func (p *packer) pack(config []byte) []byte {
	var out []byte
	for {
		at := bytes.Index(config, []byte(inline))
		if at < 0 {
			break
		}
		start := at + len(inline)
		length := bytes.IndexByte(config[start:], '"')
		if length < 0 {
			break // no JSON; its parser will say so
		}
		plain := config[start : start+length]
		if url := p.url(plain); url != "" {
			out = append(append(append(out, config[:at]...), `"compression":"gzip","source":"`...), url...)
		} else {
			out = append(out, config[:start+length]...)
		}
		config = config[start+length:]
	}
	if out == nil {
		return config
	}
	return append(out, config...)
}

// url returns the data URL of the compressed contents of another, "" if it would be no shorter.
func (p *packer) url(plain []byte) string {
	if len(plain) <= len(dataScheme)+shortestGzip {
		return ""
	}
	key := sha256.Sum256(plain)
	p.mu.Lock()
	found := p.known[key]
	if found != nil {
		found.used = true
	}
	p.mu.Unlock()
	if found != nil {
		return found.url
	}
	url := compressed(string(plain))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[key] != nil || len(url) > maxPackedBytes/2 { // nothing may take the place of all others
		return url
	}
	p.makeRoomLocked(len(url))
	p.known[key] = &packed{url: url}
	p.bytes += len(url)
	return url
}

// makeRoomLocked forgets what was not asked for again, everything if that is not enough.
func (p *packer) makeRoomLocked(size int) {
	if p.known != nil && len(p.known) < maxPacked && p.bytes+size <= maxPackedBytes {
		return
	}
	kept, bytes := make(map[[sha256.Size]byte]*packed), 0
	for key, each := range p.known {
		if each.used {
			each.used = false
			kept[key] = each
			bytes += len(each.url)
		}
	}
	if len(kept) > maxPacked/2 || bytes > maxPackedBytes/2 {
		kept, bytes = make(map[[sha256.Size]byte]*packed), 0
	}
	p.known, p.bytes = kept, bytes
}

const (
	dataScheme   = "data:"
	base64Prefix = ";base64,"
	// shortestGzip is the length of the shortest URL, without its scheme, that Butane would take instead of an uncompressed one: 18 bytes of header
	// and trailer and one for the contents in Base64, with what names the encodings.
	shortestGzip = len(base64Prefix) + 28 + len("gzip")
)

// compressors are used again: to make one costs more than to compress a file of usual size. Their output does not depend on what they did before.
var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestCompression) // fails on a wrong level only
	return w
}}

// compressed does what Butane's MakeDataURL does with contents that are not compressed yet.
func compressed(plain string) string {
	contents, err := dataurl.DecodeString(plain)
	if err != nil {
		return "" // not of Butane's making
	}
	var buf bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&buf)
	w.Write(contents.Data) // into memory: neither fails
	w.Close()
	url := base64Prefix + base64.StdEncoding.EncodeToString(buf.Bytes())
	if len(url)+len("gzip") >= len(plain)-len(dataScheme) {
		return ""
	}
	return dataScheme + url
}
