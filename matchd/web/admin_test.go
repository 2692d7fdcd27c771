package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/web"
)

// store is a store that can be backed up, or not.
type store struct{ err error }

func (s store) Backup(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, "bolt")
	return int64(n), errors.Join(s.err, err)
}

type admin struct {
	addr  string
	log   *event.Log
	ready []string
	stop  context.CancelFunc
	wait  func()
}

func newAdmin(t *testing.T) *admin {
	t.Helper()
	log, err := event.NewLog(event.Options{})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "matchd_test", Help: "For this test."}))
	a := &admin{log: log}
	srv, err := web.NewAdmin(web.AdminOptions{
		Events: log, Gatherer: registry, Logger: slog.New(slog.DiscardHandler),
		Ready:  func() []string { return a.ready },
		Health: func(context.Context) any { return map[string]string{"site": "ok"} },
		Stores: map[string]web.Backuper{"config": store{}, "broken": store{errors.New("disk")}},
	})
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
	a.addr, a.stop, a.wait = "http://"+l.Addr().String(), stop, wg.Wait
	t.Cleanup(func() { stop(); wg.Wait() })
	return a
}

func (a *admin) get(t *testing.T, path string) (int, string, error) {
	t.Helper()
	r, err := http.Get(a.addr + path)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

func TestAdmin(t *testing.T) {
	a := newAdmin(t)
	a.log.Record(event.Event{MAC: node, UUID: "4c4c4544-0000-0000-0000-000000000001", Stage: event.Booted, Message: "up", Attrs: map[string]string{event.AttrHostname: "n1"}})
	for path, want := range map[string]string{
		"/healthz":     "200 ok\n",
		"/readyz":      "200 ready\n",
		"/metrics":     "200 …matchd_test 0",
		"/v1/health":   "200 …\"site\": \"ok\"",
		"/v1/machines": "200 …\"mac\": \"52:54:00:00:00:01\"",
		"/v1/machines/52-54-00-00-00-01/timeline":                    "200 …\"message\": \"up\"",
		"/v1/machines/5254.0000.0001/timeline":                       "200 …\"message\": \"up\"",
		"/v1/machines/N1/timeline":                                   "200 …\"message\": \"up\"",
		"/v1/machines/4C4C4544-0000-0000-0000-000000000001/timeline": "200 …\"message\": \"up\"",
		"/v1/machines/nobody/timeline":                               "404 …nothing is known of a machine \"nobody\"",
		"/v1/events":                                                 "400 …follow=1",
		"/v1/store/config/backup":                                    "200 bolt",
		"/v1/store/nothing/backup":                                   "404 …no store \"nothing\"",
		"/debug/pprof/":                                              "200 …goroutine",
		"/debug/pprof/cmdline":                                       "200 …web.test",
		"/nothing":                                                   "404 …not found",
	} {
		status, text, err := a.get(t, path)
		if err != nil {
			t.Errorf("GET %s: %v", path, err)
		}
		code, body, _ := strings.Cut(want, " ")
		part, some := strings.CutPrefix(body, "…")
		if code != strconv.Itoa(status) || text != body && (!some || !strings.Contains(text, part)) {
			t.Errorf("GET %s is %d\n%s\nwant %s", path, status, text, want)
		}
	}
	a.ready = []string{"no site"}
	if status, text, _ := a.get(t, "/readyz"); status != 503 || text != "not ready:\nno site\n" {
		t.Errorf("GET /readyz is %d %q", status, text)
	}
	if _, text, err := a.get(t, "/v1/store/broken/backup"); err == nil {
		t.Errorf("a backup that broke reads as a whole one: %q", text)
	}
}

func TestMachinesIsAList(t *testing.T) {
	a := newAdmin(t)
	if _, text, _ := a.get(t, "/v1/machines"); strings.Contains(text, "null") {
		t.Errorf("GET /v1/machines gives %s", text)
	}
}

func TestEventStream(t *testing.T) {
	a := newAdmin(t)
	r, err := http.Get(a.addr + "/v1/events?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got := r.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("Content-Type is %s", got)
	}
	lines := bufio.NewScanner(r.Body)
	for _, message := range []string{"one", "two"} {
		a.log.Record(event.Event{MAC: node, Stage: event.Seen, Message: message})
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
		var got event.Delivery
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		if got.Message != message || got.MAC != node || got.Seq == 0 {
			t.Errorf("got %+v, want %s", got, message)
		}
	}
	a.stop() // a stream must not hold the shutdown up
	a.wait()
}

// flood is a stream that tells of losses.
type flood struct{ *event.Log }

func (flood) Subscribe(context.Context) (<-chan event.Delivery, error) {
	deliveries := make(chan event.Delivery, 2)
	deliveries <- event.Delivery{Event: event.Event{Message: "first"}}
	deliveries <- event.Delivery{Event: event.Event{Message: "later"}, Missed: 7}
	close(deliveries)
	return deliveries, nil
}

func TestSlowReaderIsToldWhatItMissed(t *testing.T) {
	srv, err := web.NewAdmin(web.AdminOptions{Events: flood{}, Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	srv.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/events?follow=1", nil))
	if lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n"); len(lines) != 2 || !strings.Contains(lines[1], `"missed":7`) || !w.Flushed {
		t.Errorf("stream is %q, flushed %v", lines, w.Flushed)
	}
}
