package firmware

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
)

// Handlers is HTTP without a network: each request is answered in process, by the handler that its URL's host leads to. It is a
// [http.RoundTripper].
type Handlers struct {
	// Find returns the handler that answers a URL, and the address of ours that the request arrives at. nil: the URL is another server's, which is
	// ErrElsewhere.
	Find func(r *http.Request) (http.Handler, netip.AddrPort)
	// Client returns the address that requests come from.
	Client func() netip.Addr
	// MaxBody bounds an answer, bytes; a larger one is an error. Zero: what the firmware reads at most.
	MaxBody int
}

// RoundTrip implements [http.RoundTripper]. The answer is whole when it returns.
func (h Handlers) RoundTrip(r *http.Request) (*http.Response, error) {
	handler, local := h.Find(r)
	if handler == nil {
		return nil, ErrElsewhere
	}
	if h.MaxBody == 0 {
		h.MaxBody = maxBody
	}
	ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(net.TCPAddrFromAddrPort(local)))
	asked := r.Clone(ctx)
	asked.RequestURI = r.URL.RequestURI()
	asked.RemoteAddr = netip.AddrPortFrom(h.Client(), clientPort).String()
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	w := &answered{header: http.Header{}, room: h.MaxBody}
	handler.ServeHTTP(w, asked)
	if w.room < 0 {
		return nil, fmt.Errorf("the answer is longer than %d bytes", h.MaxBody)
	}
	return w.response(r), nil
}

// clientPort is where requests come from: any port above those of services.
const clientPort = 49152

// answered keeps an answer.
type answered struct {
	header http.Header
	status int
	body   bytes.Buffer
	room   int // bytes left; negative: the answer is too long
}

// Header implements [http.ResponseWriter].
func (w *answered) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *answered) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write implements [http.ResponseWriter].
func (w *answered) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.room -= len(p); w.room < 0 {
		return 0, io.ErrShortWrite
	}
	return w.body.Write(p)
}

func (w *answered) response(r *http.Request) *http.Response {
	w.WriteHeader(http.StatusOK)
	length := int64(w.body.Len())
	if r.Method == http.MethodHead {
		length = -1
		if _, err := fmt.Sscan(w.header.Get("Content-Length"), &length); err != nil {
			length = -1
		}
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status, Header: w.header, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: length, Body: io.NopCloser(&w.body),
	}
}
