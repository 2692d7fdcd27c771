package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
)

// Events are the timelines that operators read. [event.Log] is one.
type Events interface {
	// Timeline returns the timeline of the machine with the given MAC address (any notation), UUID or host name.
	Timeline(name string) (event.Timeline, bool)
	Machines() []event.Summary
	// Subscribe returns new events until ctx ends. An error of kind Unavailable means that too many follow.
	Subscribe(ctx context.Context) (<-chan event.Delivery, error)
}

// Backuper writes a consistent copy of a store and returns its size in bytes.
type Backuper interface {
	Backup(w io.Writer) (int64, error)
}

// AdminOptions configure an [Admin]. Events, Gatherer and Logger are required.
type AdminOptions struct {
	Events   Events
	Gatherer prometheus.Gatherer
	Logger   *slog.Logger
	// Ready returns the reasons why machines cannot be served; none means ready. Nil means always ready.
	Ready func() []string
	// Health returns what is known of the daemon's state, for JSON. Nil gives an empty object.
	Health func(ctx context.Context) any
	// Stores are the stores that can be backed up, by name: config, leases, events.
	Stores map[string]Backuper
}

// Times of the admin listener.
const (
	// backupTime is how long a backup may take: bbolt cannot reuse pages while it runs.
	backupTime = 10 * time.Minute
	// keepAlive is how often a quiet event stream sends an empty line, so that a dead reader is noticed.
	keepAlive = 15 * time.Second
)

// Admin answers operators. It asks nobody who they are: it belongs on loopback, or behind something that asks.
type Admin struct {
	o   AdminOptions
	mux *http.ServeMux
}

// NewAdmin returns an admin server that does nothing yet.
func NewAdmin(o AdminOptions) (*Admin, error) {
	if o.Events == nil || o.Gatherer == nil || o.Logger == nil {
		return nil, errors.New("web: Events, Gatherer and Logger are required")
	}
	if o.Ready == nil {
		o.Ready = func() []string { return nil }
	}
	if o.Health == nil {
		o.Health = func(context.Context) any { return struct{}{} }
	}
	a := &Admin{o: o, mux: http.NewServeMux()}
	a.mux.HandleFunc("GET /healthz", a.healthz)
	a.mux.HandleFunc("GET /readyz", a.readyz)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)}))
	a.mux.HandleFunc("GET /v1/health", a.health)
	a.mux.HandleFunc("GET /v1/machines", a.machines)
	a.mux.HandleFunc("GET /v1/machines/{name}/timeline", a.timeline)
	a.mux.HandleFunc("GET /v1/events", a.events)
	a.mux.HandleFunc("GET /v1/store/{name}/backup", a.backup)
	a.mux.HandleFunc("/debug/pprof/", pprof.Index)
	a.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	a.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return a, nil
}

// Handler returns the handler of everything that operators ask for.
func (a *Admin) Handler() http.Handler { return a.mux }

// Serve answers on the listener until ctx ends. It closes the listener. It fails when the listener does.
func (a *Admin) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: a.mux, ErrorLog: log.New(serverLog{log: a.o.Logger}, "", 0),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends event streams, which Shutdown would wait for
	}
	return serveHTTP(ctx, srv, l)
}

func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") }

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	if reasons := a.o.Ready(); len(reasons) > 0 {
		writeText(w, http.StatusServiceUnavailable, "not ready:\n"+strings.Join(reasons, "\n")+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

func (a *Admin) health(w http.ResponseWriter, r *http.Request) { a.json(w, a.o.Health(r.Context())) }

func (a *Admin) machines(w http.ResponseWriter, _ *http.Request) {
	list := a.o.Events.Machines()
	if list == nil {
		list = []event.Summary{} // "machines": null is no list
	}
	a.json(w, map[string]any{"machines": list})
}

func (a *Admin) timeline(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	timeline, ok := a.o.Events.Timeline(name)
	if !ok {
		writeText(w, http.StatusNotFound, fmt.Sprintf("404 not found: nothing is known of a machine %q; name it by MAC address, UUID or host name\n", name))
		return
	}
	a.json(w, timeline)
}

// events streams new events as JSON lines. A reader too slow for them is told in "missed" how many it lost.
func (a *Admin) events(w http.ResponseWriter, r *http.Request) {
	if follow := r.URL.Query().Get("follow"); follow != "1" && follow != "true" {
		writeText(w, http.StatusBadRequest, "400 bad request: this is a stream of new events, ask for /v1/events?follow=1; past ones are in /v1/machines/{mac}/timeline\n")
		return
	}
	deliveries, err := a.o.Events.Subscribe(r.Context())
	if err != nil {
		status := http.StatusInternalServerError
		if fault.Is(err, fault.Unavailable) {
			status = http.StatusServiceUnavailable
		}
		writeText(w, status, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if err := follow(r.Context(), w, deliveries); err != nil {
		a.o.Logger.Debug("an event stream ended", "peer", r.RemoteAddr, "error", err)
	}
}

// follow writes deliveries until the reader or the stream ends. Every line is flushed at once.
func follow(ctx context.Context, w http.ResponseWriter, deliveries <-chan event.Delivery) error {
	control, encoder := http.NewResponseController(w), json.NewEncoder(w)
	if err := control.Flush(); err != nil { // the reader knows that it is subscribed
		return err
	}
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case delivery, open := <-deliveries:
			if !open {
				return nil
			}
			_ = control.SetWriteDeadline(time.Now().Add(stallTime)) // a recorder in tests has none
			err = encoder.Encode(delivery)
		case <-ticker.C:
			_ = control.SetWriteDeadline(time.Now().Add(stallTime))
			_, err = io.WriteString(w, "\n")
		}
		if err == nil && len(deliveries) == 0 {
			err = control.Flush()
		}
		if err != nil {
			return err
		}
	}
}

// backup streams a store's file. Its size is not known before, so a backup that fails half-way breaks the connection: the reader sees an
// incomplete chunked body and no file that looks whole.
func (a *Admin) backup(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	store := a.o.Stores[name]
	if store == nil {
		writeText(w, http.StatusNotFound, fmt.Sprintf("404 not found: there is no store %q here\n", name))
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(backupTime))
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+".db"))
	n, err := store.Backup(w)
	if err != nil {
		a.o.Logger.Error("a backup failed", "store", name, "bytes", n, "peer", r.RemoteAddr, "error", err)
		panic(http.ErrAbortHandler)
	}
	a.o.Logger.Info("sent a backup", "store", name, "bytes", n, "peer", r.RemoteAddr)
}

func (a *Admin) json(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		a.o.Logger.Error("cannot encode an answer", "error", err)
		writeText(w, http.StatusInternalServerError, "500 internal server error: the answer cannot be encoded\n")
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)+1))
	_, _ = w.Write(append(body, '\n')) // a reader that went away is no news
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", typeText)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a reader that went away is no news
}
