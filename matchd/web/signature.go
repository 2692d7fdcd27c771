package web

import (
	"bytes"
	"net/http"
	"time"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
)

// Signer makes detached signatures. [KeyRing] is one.
type Signer interface {
	// Sign returns a signature of the content, in ASCII armour if armored.
	Sign(content []byte, armored bool) ([]byte, error)
}

// signedPaths are what signatures are given of, as matchbox does: PATH.sig is binary, PATH.asc armoured.
var signedPaths = [...]string{"/boot.ipxe", "/boot.ipxe.0", "/ipxe", "/grub", "/ignition", "/cloud", "/generic", "/metadata"}

// addSignatures adds the paths of signatures to the routes.
func (s *Server) addSignatures() {
	if s.o.Signer == nil {
		return
	}
	for _, path := range signedPaths {
		plain := s.routes[path]
		s.routes[path+".sig"] = func(x *exchange) { s.signature(x, plain, false) }
		s.routes[path+".asc"] = func(x *exchange) { s.signature(x, plain, true) }
	}
}

// signature answers with a signature of exactly the bytes that the plain path would send. Where that would fail, so does this, with the
// plain path's answer: a signature of an error's text could be taken for one of a config. Fetching a signature leaves no trace in the machine's
// timeline, which tells what it boots.
func (s *Server) signature(x *exchange, plain func(*exchange), armored bool) {
	answer := x.rehearse(plain)
	if answer.status != http.StatusOK {
		if retry := answer.header.Get("Retry-After"); retry != "" {
			x.w.Header().Set("Retry-After", retry)
		}
		x.refuse(answer.status, answer.body.String())
		return
	}
	if again := x.rehearse(plain); !bytes.Equal(again.body.Bytes(), answer.body.Bytes()) {
		err := fault.New(fault.NotFound, "it is another at every fetch (a pointer holds a new ticket, a template may ask for what changes)")
		x.fail("signature of "+x.path, err)
		return
	}
	signature, err := s.o.Signer.Sign(answer.body.Bytes(), armored)
	if err != nil {
		x.fail("signature", err)
		return
	}
	kind := "application/octet-stream"
	if armored {
		kind = typeText
	}
	x.text(http.StatusOK, kind, signature)
}

// rehearse plays a handler for the machine that asks, and returns what it would have sent whole.
func (x *exchange) rehearse(handler func(*exchange)) *rehearsal {
	quiet := *x.server
	quiet.o.Recorder = silence{}
	answer := &rehearsal{header: http.Header{}}
	request := x.r.Clone(x.ctx())
	request.Method = http.MethodGet
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		request.Header.Del(name)
	}
	played := *x
	played.server, played.w, played.r, played.began = &quiet, &response{ResponseWriter: answer}, request, time.Now()
	handler(&played)
	return answer
}

// rehearsal is an answer that nobody gets.
type rehearsal struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *rehearsal) Header() http.Header { return r.header }

func (r *rehearsal) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *rehearsal) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// silence keeps no events.
type silence struct{}

func (silence) Record(event.Event) {}
