package web_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/web"
)

// serve runs a real listener for the duration of the test and returns its address.
func (h *harness) serve(t testing.TB) string {
	t.Helper()
	srv, err := web.New(h.options)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, l); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return l.Addr().String()
}

func TestServeLargeFile(t *testing.T) {
	h := newHarness(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), (5<<20)/16)
	h.file(t, "big", string(content))
	addr := h.serve(t)
	for _, part := range []string{"", "bytes=1000000-5000000"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/assets/big?mac="+hyphen, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := content
		if part != "" {
			r.Header.Set("Range", part)
			want = content[1000000:5000001]
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got := body(t, response)
		_ = response.Body.Close()
		if got != string(want) || response.ContentLength != int64(len(want)) {
			t.Errorf("range %q: got %d bytes, length %d, want %d", part, len(got), response.ContentLength, len(want))
		}
	}
}

// kernel is a connection's side of net/http: it notes what it is given to send.
type kernel struct {
	*httptest.ResponseRecorder
	files int
}

func (k *kernel) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			k.files++
		}
	}
	return io.Copy(k.ResponseRecorder, r)
}

// TestFilesReachTheKernel holds that a file arrives at the connection in the form that net sends without copying: nothing may wrap it.
func TestFilesReachTheKernel(t *testing.T) {
	h := newHarness(t)
	for _, target := range []string{"/assets/fcos/vmlinuz", "/m/" + hyphen + "/assets/fcos/vmlinuz"} {
		k := &kernel{ResponseRecorder: httptest.NewRecorder()}
		h.handler.ServeHTTP(k, httptest.NewRequest(http.MethodGet, target, nil))
		if k.files == 0 || k.Body.Len() == 0 {
			t.Errorf("GET %s: %d files reached the connection with %d bytes", target, k.files, k.Body.Len())
		}
	}
}

// TestBrokenTransferIsRecorded breaks a connection in the middle of a file larger than all buffers.
func TestBrokenTransferIsRecorded(t *testing.T) {
	h := newHarness(t)
	if err := os.Truncate(filepath.Join(h.dir, "fcos/vmlinuz"), 256<<20); err != nil {
		t.Fatal(err)
	}
	addr := h.serve(t)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /assets/fcos/vmlinuz?mac=%s HTTP/1.1\r\nHost: x\r\n\r\n", hyphen); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for range 1000 {
		if events := h.events.take(); len(events) == 1 {
			e := events[0]
			if e.Level != event.Warn || e.Error == "" || e.Total != 256<<20 || e.Bytes >= e.Total || !strings.Contains(e.Message, " % of it only") {
				t.Errorf("event is %+v", e)
			}
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Error("no event was recorded")
}

func TestConnectionsAreBounded(t *testing.T) {
	h := newHarness(t, func(o *web.Options) { o.MaxConns = 2 })
	addr := h.serve(t)
	ask := func(conn net.Conn) error {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1000))
		return err
	}
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for i, conn := range conns {
		if err := ask(conn); (err == nil) != (i < 2) {
			t.Errorf("connection %d of 2 allowed: %v", i+1, err)
		}
	}
	_ = conns[0].Close()
	if err := conns[2].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[2].Read(make([]byte, 1000)); err != nil {
		t.Errorf("the third connection after the first has gone: %v", err)
	}
}

func BenchmarkIPXE(b *testing.B) {
	h := newHarness(b)
	r := httptest.NewRequest(http.MethodGet, "/ipxe?uuid=u&mac="+hyphen+"&domain=lab&hostname=n1&serial=s&arch=x86_64", nil)
	r.RemoteAddr = "10.0.0.7:3333"
	for b.Loop() {
		h.handler.ServeHTTP(httptest.NewRecorder(), r)
		h.events.take()
	}
}

// BenchmarkAsset reads a file of 64 MiB over loopback.
func BenchmarkAsset(b *testing.B) {
	h := newHarness(b)
	const size = 64 << 20
	h.file(b, "big", strings.Repeat("x", size))
	addr := h.serve(b)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 256<<10)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := io.WriteString(conn, "GET /assets/big HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, response.Body); err != nil || n != size {
			b.Fatalf("read %d bytes, %v", n, err)
		}
		h.events.take()
	}
}
