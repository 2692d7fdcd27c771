package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/rpc"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func TestLargeMessages(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Admin)
	f.audit.answer(func(_ context.Context, q audit.Query) ([]audit.Record, bool, error) {
		return []audit.Record{{Seq: 1, Identity: q.Identity}}, false, nil
	})
	client := matchdpb.NewAuditClient(conn)
	large := strings.Repeat("x", 5<<20)
	got, err := client.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{Identity: large})
	if err != nil || len(got.GetRecords()[0].GetIdentity()) != len(large) {
		t.Fatalf("5 MiB there and back: %v", err)
	}
	_, err = client.ListAuditRecords(t.Context(), &matchdpb.ListAuditRecordsRequest{Identity: strings.Repeat("x", rpc.MaxMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("more than the limit: %v", err)
	}
	if _, err := getStatus(t, conn); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// raw is a codec that sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }
func (raw) Name() string                         { return "proto" }

var _ encoding.CodecV2 = raw{}

func TestMalformedMessages(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t, auth.Admin)
	for name, bytes := range map[string][]byte{
		"a text that is not UTF-8": {0x1a, 2, 0xc3, 0x28}, // field 3, identity
		"no message":               {0xff, 0xff, 0xff},
		"a length beyond the end":  {0x1a, 200, 'x'},
	} {
		err := conn.Invoke(t.Context(), "/matchd.v1.Audit/ListAuditRecords", bytes, nil, grpc.ForceCodecV2(raw{}))
		if status.Code(err) != codes.InvalidArgument || info(err).GetReason() != rpc.ReasonInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := conn.Invoke(t.Context(), "/matchd.v1.Audit/ListAuditRecords", []byte(nil), nil, grpc.ForceCodecV2(raw{})); err != nil {
		t.Errorf("an empty message: %v", err)
	}
	for _, method := range []string{"/matchd.v1.Audit/DropAuditRecords", "/matchd.v1.Nothing/Get", "/", "/../../etc/passwd"} {
		if err := conn.Invoke(t.Context(), method, []byte(nil), nil, grpc.ForceCodecV2(raw{})); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v", method, err)
		}
	}
}

// TestGarbageBehindTheHandshake has a client with a good certificate speak something else than HTTP/2.
func TestGarbageBehindTheHandshake(t *testing.T) {
	f := start(t, nil)
	config := f.tls(t, auth.Identity{Name: "odd", Role: auth.Viewer})
	config.NextProtos = []string{"h2"}
	for _, text := range []string{strings.Repeat("\xff", 1<<20), "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\xff\xff\x09", 1000)} {
		conn, err := tls.Dial("tcp", f.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
			t.Error("the server kept the connection open")
		}
		conn.Close()
	}
	if _, err := getStatus(t, f.dial(t, auth.Viewer)); err != nil {
		t.Error(err)
	}
}

// idleBudget is what an idle connection may cost, both ends of it, since both are in this process, in bytes.
const idleBudget = 160 << 10

// TestIdleConnections opens 1,000 connections that do nothing: half of them authenticated, half of them not even speaking.
func TestIdleConnections(t *testing.T) {
	const connections = 1000
	f := start(t, nil)
	config := f.tls(t, auth.Identity{Name: "idler", Role: auth.Viewer})
	config.NextProtos = []string{"h2"}
	if _, err := getStatus(t, f.dial(t, auth.Viewer)); err != nil { // what is made once is made
		t.Fatal(err)
	}
	before := heapInUse()
	open := make([]net.Conn, 0, connections)
	t.Cleanup(func() {
		for _, conn := range open {
			conn.Close()
		}
	})
	for i := range connections {
		conn, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		open = append(open, conn)
		if i%2 == 0 {
			continue
		}
		secure := tls.Client(conn, config)
		if _, err := io.WriteString(secure, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if _, err := secure.Read(make([]byte, 256)); err != nil { // the server's settings
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	used := heapInUse() - before
	t.Logf("%d idle connections: %d KiB each, both ends", connections, used/connections/1024)
	if used > connections*idleBudget {
		t.Errorf("%d MiB for %d idle connections", used>>20, connections)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := matchdpb.NewStatusClient(f.dial(t, auth.Viewer)).GetStatus(ctx, &matchdpb.GetStatusRequest{}); err != nil {
		t.Errorf("another client: %v", err)
	}
}

func heapInUse() int64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}

// TestConnectionsOfOneHostAreBounded counts with a listener that makes connections up.
func TestConnectionsOfOneHostAreBounded(t *testing.T) {
	fake := &fakeListener{conns: make(chan net.Conn, 1)}
	listener := rpc.Bounded(fake)
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	enter := func(host string) (net.Conn, bool) {
		made := &fakeConn{host: host, closed: make(chan struct{})}
		fake.conns <- made
		select {
		case conn := <-accepted:
			return conn, true
		case <-made.closed:
			return nil, false
		}
	}
	var first net.Conn
	for i := range rpc.MaxPerHost {
		conn, ok := enter("10.0.0.1")
		if !ok {
			t.Fatalf("connection %d of one host was refused", i)
		}
		if first == nil {
			first = conn
		}
	}
	if _, ok := enter("10.0.0.1"); ok {
		t.Error("one host has more than its share")
	}
	for i := range rpc.MaxConnections - rpc.MaxPerHost {
		if _, ok := enter(fmt.Sprintf("10.1.%d.%d", i>>8, i&255)); !ok {
			t.Fatalf("connection %d of others was refused", i)
		}
	}
	if _, ok := enter("10.2.0.1"); ok {
		t.Error("there are more connections than the bound")
	}
	first.Close()
	first.Close() // which counts once
	if _, ok := enter("10.2.0.1"); !ok {
		t.Error("a place that is free again was not given")
	}
	if _, ok := enter("10.2.0.1"); ok {
		t.Error("one place was given twice")
	}
	close(fake.conns)
	for range accepted {
	}
}

type fakeListener struct{ conns chan net.Conn }

func (l *fakeListener) Accept() (net.Conn, error) {
	conn, open := <-l.conns
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l *fakeListener) Close() error   { return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

type fakeConn struct {
	net.Conn
	host   string
	once   sync.Once
	closed chan struct{}
}

func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.host), Port: 1} }
func (c *fakeConn) Close() error         { c.once.Do(func() { close(c.closed) }); return nil }
