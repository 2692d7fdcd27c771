package web_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/web"
)

// booth redeems two tickets: "good" and "late", both of node.
type booth struct {
	config func(auth.Ticket, string) (*render.Config, error)
}

func (b *booth) Redeem(token string) (auth.Ticket, error) {
	ticket := auth.Ticket{MAC: node, UUID: "u-1", Labels: groups.Labels{"mac": node.String(), "os": "installed"}}
	switch token {
	case "good":
		return ticket, nil
	case "late":
		return ticket, fault.New(fault.Denied, "the ticket expired")
	}
	return auth.Ticket{}, fault.New(fault.Denied, "this is not a ticket")
}

func (b *booth) Ticketed(_ context.Context, ticket auth.Ticket, baseURL string) (*render.Config, error) {
	return b.config(ticket, baseURL)
}

func newBooth() *booth {
	return &booth{config: func(ticket auth.Ticket, baseURL string) (*render.Config, error) {
		return &render.Config{JSON: []byte(`{"for":"` + ticket.Labels["os"] + " " + baseURL + `"}`), Version: "3.4.0", Digest: "d2"}, nil
	}}
}

// newSecure returns a harness whose handler is that of the machines' HTTPS.
func newSecure(t testing.TB, pointed web.Pointed) *harness {
	t.Helper()
	h := newHarness(t, func(o *web.Options) { o.Pointed = pointed })
	srv, err := web.New(h.options)
	if err != nil {
		t.Fatal(err)
	}
	h.handler = srv.SecureHandler()
	return h
}

func TestSecureAnswers(t *testing.T) {
	report := &render.Report{Problems: []render.Problem{{Source: "a.bu", Line: 1, What: "wrong"}}}
	failing := func(err error) func(auth.Ticket, string) (*render.Config, error) {
		return func(auth.Ticket, string) (*render.Config, error) { return nil, err }
	}
	config := func(json string) func(auth.Ticket, string) (*render.Config, error) {
		return func(auth.Ticket, string) (*render.Config, error) {
			return &render.Config{JSON: []byte(json), Version: "3.4.0"}, nil
		}
	}
	const good = "Bearer good"
	for _, test := range []struct {
		name, method, target, authorization, accept string
		config                                      func(auth.Ticket, string) (*render.Config, error)
		status                                      int
		want                                        string
		stage                                       event.Stage // empty: nothing is told
	}{
		{name: "a good ticket", authorization: good, status: 200, want: `{"for":"installed http://10.0.0.254:8080"}`, stage: event.ConfigSent},
		{name: "scheme in another case", authorization: "bearer good", status: 200, want: "installed", stage: event.ConfigSent},
		{name: "doubled slashes", target: "//v1//ignition", authorization: good, status: 200, want: "installed", stage: event.ConfigSent},
		{name: "a query claims nothing", target: "/v1/ignition?mac=52-54-00-00-00-09&os=live", authorization: good, status: 200, want: "installed", stage: event.ConfigSent},
		{name: "HEAD", method: http.MethodHead, authorization: good, status: 200},
		{name: "a newer Ignition", authorization: good, accept: "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1", status: 200, want: "installed", stage: event.ConfigSent},
		{name: "an older Ignition", authorization: good, accept: "application/vnd.coreos.ignition+json;version=3.3.0, */*;q=0.1", status: 406, want: "406 not acceptable", stage: event.ConfigRefused},
		{name: "no ticket", status: 401, want: "401 unauthorized"},
		{name: "no token", authorization: "Bearer ", status: 401, want: "401 unauthorized"},
		{name: "another scheme", authorization: "Basic good", status: 401, want: "401 unauthorized"},
		{name: "a wrong ticket", authorization: "Bearer bad", status: 403, want: "403 forbidden", stage: event.Refused},
		{name: "a late ticket", authorization: "Bearer late", status: 403, want: "403 forbidden", stage: event.Refused},
		{name: "POST", method: http.MethodPost, authorization: good, status: 405, want: "405 method not allowed"},
		{name: "the plain path", target: "/ignition?mac=" + hyphen, authorization: good, status: 404, want: "404 page not found"},
		{name: "an asset", target: "/assets/fcos/vmlinuz", authorization: good, status: 404, want: "404 page not found"},
		{name: "a slash at the end", target: "/v1/ignition/", authorization: good, status: 404, want: "404 page not found"},
		{name: "no group any more", authorization: good, config: failing(fault.New(fault.NotFound, "no group")), status: 404, want: "404 not found", stage: event.Refused},
		{name: "a broken document", authorization: good, config: failing(fault.Wrap(fault.Unavailable, report)), status: 503, want: "503 not ready", stage: event.ConfigRefused},
		{name: "nothing loaded", authorization: good, config: failing(fault.New(fault.Unavailable, "nothing")), status: 503, want: "503 not ready", stage: event.Error},
		{name: "an empty config", authorization: good, config: config(""), status: 503, want: "503 not ready", stage: event.Error},
		{name: "a panic", authorization: good, config: func(auth.Ticket, string) (*render.Config, error) { panic("x") }, status: 503, want: "503 not ready", stage: event.Error},
	} {
		t.Run(test.name, func(t *testing.T) {
			pointed := newBooth()
			if test.config != nil {
				pointed.config = test.config
			}
			h := newSecure(t, pointed)
			var headers []string
			if test.authorization != "" {
				headers = append(headers, "Authorization", test.authorization)
			}
			if test.accept != "" {
				headers = append(headers, "Accept", test.accept)
			}
			if test.method == "" {
				test.method = http.MethodGet
			}
			if test.target == "" {
				test.target = "/v1/ignition"
			}
			r := h.get(test.method, test.target, headers...)
			got := body(t, r)
			if r.StatusCode != test.status || !strings.Contains(got, test.want) || r.Header.Get("Location") != "" {
				t.Errorf("got %d %q, want %d with %q", r.StatusCode, got, test.status, test.want)
			}
			if got == "" && test.method != http.MethodHead {
				t.Error("an empty body")
			}
			wantHeaders(t, r)
			told := h.events.take()
			switch {
			case test.stage == "" && len(told) > 0, test.stage != "" && (len(told) != 1 || told[0].Stage != test.stage):
				t.Errorf("events %+v, want %q", told, test.stage)
			case len(told) == 1 && test.name != "a wrong ticket" && (told[0].MAC != node || told[0].UUID != "u-1"):
				t.Errorf("whose event is it? %+v", told[0])
			}
		})
	}
}

// wantHeaders holds an answer to what every answer by HTTPS has.
func wantHeaders(t *testing.T, r *http.Response) {
	t.Helper()
	kind, etag := "text/plain; charset=utf-8", false
	if r.StatusCode == http.StatusOK {
		kind, etag = "application/vnd.coreos.ignition+json", true
	}
	if got := r.Header.Get("Content-Type"); got != kind {
		t.Errorf("Content-Type %q, want %q", got, kind)
	}
	if r.ContentLength <= 0 && r.Header.Get("Content-Length") == "" {
		t.Error("no Content-Length")
	}
	if got := r.Header.Get("ETag"); etag != strings.HasPrefix(got, `"`) {
		t.Errorf("ETag %q", got)
	}
	if got := r.Header.Get("WWW-Authenticate"); (r.StatusCode == http.StatusUnauthorized) != (got == "Bearer") {
		t.Errorf("WWW-Authenticate %q", got)
	}
}

func TestTwoTicketsAreNone(t *testing.T) {
	h := newSecure(t, newBooth())
	r := httptest.NewRequest(http.MethodGet, "/v1/ignition", nil)
	r.Header["Authorization"] = []string{"Bearer good", "Bearer bad"}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}

func TestTicketTeachesTheAddress(t *testing.T) {
	h := newSecure(t, newBooth())
	h.options.Machines.Observe(machine.Machine{MAC: node, UUID: "u-1"})
	_ = body(t, h.get(http.MethodGet, "/v1/ignition", "Authorization", "Bearer bad"))
	if e := h.events.take(); len(e) != 1 || e[0].MAC != "" {
		t.Errorf("a ticket that is none names a machine: %+v", e)
	}
	_ = body(t, h.get(http.MethodGet, "/v1/ignition", "Authorization", "Bearer good"))
	_ = body(t, h.get(http.MethodGet, "/v1/ignition", "Authorization", "Bearer bad"))
	if e := h.events.take(); len(e) != 2 || e[1].MAC != node {
		t.Errorf("the machine's address was not learned: %+v", e)
	}
}

func TestSecureWithoutTickets(t *testing.T) {
	h := newSecure(t, nil)
	if r := h.get(http.MethodGet, "/v1/ignition", "Authorization", "Bearer good"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", r.StatusCode)
	}
}

// serveTLS runs the machines' HTTPS on loopback with a certificate of the authority.
func (h *harness) serveTLS(t *testing.T, ca *pki.CA) string {
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
		if err := srv.ServeTLS(ctx, l, &tls.Config{GetCertificate: pki.NewLeaves(ca, pki.Names{}).GetCertificate}); err != nil {
			t.Errorf("ServeTLS: %v", err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return l.Addr().String()
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("machines", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// client trusts the authority and follows no redirect.
func client(t *testing.T, ca *pki.CA, change func(*tls.Config)) *http.Client {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(ca.Certificate())
	if change != nil {
		change(cfg)
	}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected") }}
}

func TestServeTLS(t *testing.T) {
	ca := newCA(t)
	h := newSecure(t, newBooth())
	addr := h.serveTLS(t, ca)
	for _, change := range []func(*tls.Config){
		nil,
		func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		func(c *tls.Config) { c.Time = func() time.Time { return time.Unix(30, 0) } }, // a dead clock
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/v1/ignition", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer good")
		response, err := client(t, ca, change).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got := body(t, response)
		_ = response.Body.Close()
		if response.StatusCode != 200 || response.ContentLength != int64(len(got)) || response.ProtoMajor != 1 || !strings.Contains(got, "installed") {
			t.Errorf("%d %s, length %d, protocol %s", response.StatusCode, got, response.ContentLength, response.Proto)
		}
	}
}

// TestServeTLSTellsWhoDoesNotTrust: a machine with the CA of another server tries again for hours, and its timeline says why, once or twice.
func TestServeTLSTellsWhoDoesNotTrust(t *testing.T) {
	h := newSecure(t, newBooth())
	told := make(chan event.Event, 100)
	h.options.Recorder = recordFunc(func(e event.Event) { told <- e })
	h.options.Machines.Observe(machine.Machine{MAC: node})
	addr := h.serveTLS(t, newCA(t))
	get := func(change func(*tls.Config)) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/v1/ignition", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := client(t, newCA(t), change).Do(r); err == nil {
			_ = response.Body.Close()
			t.Error("a server of an unknown authority was believed")
		}
	}
	h.options.Machines.Claim(node, remoteAddr(t, addr))
	get(nil)
	e := <-told
	if e.MAC != node || e.Stage != event.Refused || !strings.Contains(e.Message, "another CA") || !strings.Contains(e.Error, "tls: ") || e.Peer != "127.0.0.1" {
		t.Errorf("event %+v", e)
	}
	get(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 })
	if e := <-told; !strings.Contains(e.Error, "unsupported versions") || strings.Contains(e.Message, "CA") {
		t.Errorf("event %+v", e)
	}
	for range 5 {
		get(nil)
	}
	if len(told) > 0 {
		t.Errorf("the timeline is flooded: %+v", <-told)
	}
}

// FuzzAuthorization asks with any header: what is not the ticket never gets a config, and every answer says something.
func FuzzAuthorization(f *testing.F) {
	h := newSecure(f, newBooth())
	for _, seed := range []string{"Bearer good", "bearer  good", "Bearer good,", "Basic Z29vZA==", "", " ", "Bearer\tgood", "good"} {
		f.Add(seed, "/v1/ignition")
	}
	f.Add("Bearer good", "/v1/../v1/ignition?x")
	f.Fuzz(func(t *testing.T, authorization, target string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = target
		r.Header["Authorization"] = []string{authorization}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		scheme, token, _ := strings.Cut(authorization, " ")
		allowed := strings.EqualFold(scheme, "bearer") && token == "good"
		if w.Body.Len() == 0 || w.Code == 200 && !allowed || w.Code >= 300 && w.Code < 400 {
			t.Errorf("%q at %q: %d %q", authorization, target, w.Code, w.Body)
		}
		h.events.take()
	})
}

// recordFunc is a recorder.
type recordFunc func(event.Event)

func (f recordFunc) Record(e event.Event) { f(e) }

// remoteAddr returns where connections to a loopback address come from.
func remoteAddr(t *testing.T, addr string) netip.Addr {
	t.Helper()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return at.Addr()
}
