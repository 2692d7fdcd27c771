package web

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
)

// content is a body that ranges can be taken of.
type content struct {
	body io.ReadSeeker // an *os.File for the kernel to send
	size int64
	kind string
	etag string // empty: none
	mod  time.Time
}

// send answers with the content, a range of it, or a 304, 412 or 416.
func (x *exchange) send(c content) {
	h := x.w.Header()
	h.Set("Content-Type", c.kind)
	if c.etag != "" {
		h.Set("ETag", c.etag)
	}
	http.ServeContent(x.w, x.r, "", c.mod, c.body)
}

// sentPart records what was sent of a file. Of a file read in ranges (a BMC reads an image in thousands) only the last one counts.
func (x *exchange) sentPart(e event.Event, size int64) {
	switch x.w.status {
	case http.StatusOK, http.StatusPartialContent:
	default:
		return
	}
	whole := x.w.status == http.StatusOK
	if !whole && !strings.HasSuffix(x.w.Header().Get("Content-Range"), fmt.Sprintf("-%d/%d", size-1, size)) {
		return
	}
	e.Bytes, e.Total = x.w.bytes, size
	switch {
	case x.w.err != nil || whole && x.w.bytes < size:
		e.Level, e.Error = event.Warn, "the connection broke"
		if x.w.err != nil {
			e.Error = x.w.err.Error()
		}
		e.Message += fmt.Sprintf(", but %d %% of it only", percent(x.w.bytes, size))
	case !whole:
		e.Message += " in parts"
	}
	x.record(e)
}

func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 100
	}
	return int64(float64(part) / float64(whole) * 100)
}

// template answers with a rendered text of unknown kind.
func (x *exchange) template(text []byte, message string) {
	x.send(content{body: bytes.NewReader(text), size: int64(len(text)), kind: http.DetectContentType(text)})
	x.sentPart(event.Event{Stage: event.GenericSent, Message: message}, int64(len(text)))
}

// file answers out of the name space that TFTP serves: UEFI HTTP Boot asks for its loader here.
func (s *Server) file(x *exchange) {
	file, err := s.o.Files.Open(x.ctx(), bootfile.Request{Name: x.path, Peer: x.peer, BaseURL: s.o.BaseURL(x.local)})
	if err != nil {
		x.missing(err)
		return
	}
	x.send(content{body: file.Body, size: file.Size, kind: file.Type, etag: file.ETag, mod: file.ModTime})
	if err := file.Body.Close(); err != nil {
		s.o.Logger.Warn("cannot close a boot file", "path", x.path, "error", err)
	}
	x.sentPart(file.Event, file.Size)
}

// missing answers for a file that there is not, or that could not be opened.
func (x *exchange) missing(err error) {
	if !fault.Is(err, fault.NotFound) && !errors.Is(err, fs.ErrNotExist) {
		x.fail("file "+x.path, err)
		return
	}
	x.notFound("404 not found: there is no such file\n")
	if strings.HasPrefix(x.path, "/assets/") {
		x.record(event.Event{Stage: event.Refused, Level: event.Warn, Message: "asked by HTTP for " + x.path + ", which does not exist", Error: err.Error()})
	}
}

// asset answers out of the assets directory, as Go's file server does for matchbox, but without its redirects.
func (s *Server) asset(x *exchange) {
	if s.o.Assets == nil {
		x.notFound("404 page not found\n")
		return
	}
	name := strings.TrimPrefix(x.path, "/assets")
	file, info, err := s.o.Assets.Open(name)
	if err == nil && info.Dir {
		name = path.Join(name, "index.html")
		if file, info, err = s.o.Assets.Open(name); errors.Is(err, fs.ErrNotExist) || err == nil && info.Dir {
			s.listing(x)
			return
		}
	}
	if err == nil && strings.HasSuffix(x.path, "/") && !strings.HasSuffix(name, "index.html") {
		err = errors.Join(fs.ErrNotExist, file.Close()) // a file is not a directory
	}
	if err != nil {
		x.missing(err)
		return
	}
	x.send(content{body: file, size: info.Size, kind: contentType(info.Name, file), etag: info.ETag, mod: info.ModTime})
	if err := file.Close(); err != nil {
		s.o.Logger.Warn("cannot close an asset", "path", x.path, "error", err)
	}
	x.sentPart(s.o.Roles.Event(x.mac, name), info.Size)
}

// firmwareTypes are those by which EDK2 decides what it loaded (HttpBootDxe); the machine's own table knows none of them.
var firmwareTypes = map[string]string{".efi": bootfile.TypeEFI, ".iso": "application/vnd.efi-iso", ".ipxe": typeText}

// contentType goes by the name and then by the content, as http.FileServer does.
func contentType(name string, file *os.File) string {
	extension := strings.ToLower(path.Ext(name))
	if kind := firmwareTypes[extension]; kind != "" {
		return kind
	}
	if kind := mime.TypeByExtension(extension); kind != "" {
		return kind
	}
	var head [512]byte // what http.DetectContentType looks at
	n, err := file.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return bootfile.TypeBinary
	}
	return http.DetectContentType(head[:n])
}

// listing answers with the entries of a directory in the form of Go's file server. Its links are absolute, because a path without a slash at
// the end is not redirected to one with.
func (s *Server) listing(x *exchange) {
	dir := strings.TrimPrefix(x.path, "/assets")
	entries, err := s.o.Assets.List(dir)
	if err != nil {
		x.missing(err)
		return
	}
	var b strings.Builder
	b.WriteString("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n")
	for _, entry := range entries {
		name := entry.Name
		if entry.Dir {
			name += "/"
		}
		link := url.URL{Path: path.Join("/assets", dir) + "/" + name}
		fmt.Fprintf(&b, "<a href=\"%s\">%s</a>\n", html.EscapeString(link.EscapedPath()), html.EscapeString(name))
	}
	b.WriteString("</pre>\n")
	x.text(http.StatusOK, "text/html; charset=utf-8", []byte(b.String()))
}
