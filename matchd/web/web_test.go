package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/web"
)

func TestPaths(t *testing.T) {
	h := newHarness(t)
	const text = "text/plain; charset=utf-8"
	by := " by http://10.0.0.254:8080\n"
	for _, tc := range []struct {
		target string
		status int
		kind   string
		want   string // the whole body, or "…" and what it contains
	}{
		{"/", 200, text, "matchbox\n"},
		{"/boot.ipxe", 200, text, "script for  " + by},
		{"/boot.ipxe.0", 200, text, "script for  " + by},
		{"/autoexec.ipxe", 200, text, "script for  " + by},
		{"//boot.ipxe", 200, text, "script for  " + by},
		{"/./x/../boot.ipxe", 200, text, "script for  " + by},
		{"/ipxe?mac=" + hyphen, 200, text, "…#!ipxe\n"},
		{"/ipxe?mac=" + hyphen, 200, text, "…/assets/fcos/vmlinuz"},
		{"/grub?mac=" + hyphen, 200, text, "…linux '/assets/fcos/vmlinuz'"},
		{"/ignition?mac=" + hyphen, 200, "application/json", `{"ignition":{"version":"3.4.0"}}`},
		{"/v1/config.img?mac=" + hyphen, 200, "application/octet-stream", `070701 {"ignition":{"version":"3.4.0"}}`},
		{"/metadata?mac=525400000001", 200, text, "METADATA 52:54:00:00:00:01" + by},
		{"/metadata?MAC=" + hyphen + "&mac=zz", 200, text, "METADATA " + by},
		{"/generic?mac=" + hyphen, 200, text, "generic 52:54:00:00:00:01" + by},
		{"/cloud?mac=" + hyphen, 200, text, "cloud 52:54:00:00:00:01" + by},
		{"/ipxe/", 404, text, "404 page not found\n"},
		{"/nothing", 404, text, "404 page not found\n"},
		{"/v1/nothing", 404, text, "404 page not found\n"},
		{"/assets/fcos/vmlinuz", 200, text, "kernel"},
		{"/assets//fcos/./vmlinuz", 200, text, "kernel"},
		{"/assets/fcos/vmlinuz/", 404, text, "404 not found: there is no such file\n"},
		{"/assets/web", 200, "text/html; charset=utf-8", "<p>index"},
		{"/assets/web/", 200, "text/html; charset=utf-8", "<p>index"},
		{"/assets/web/index.html", 200, "text/html; charset=utf-8", "<p>index"},
		{"/assets/x.efi", 200, "application/efi", "MZ"},
		{"/assets/empty", 200, text, ""},
		{"/assets/a%20b/", 200, "text/html; charset=utf-8", "…<a href=\"/assets/a%20b/c&amp;d\">c&amp;d</a>\n"},
		{"/assets", 200, "text/html; charset=utf-8", "…<a href=\"/assets/fcos/\">fcos/</a>\n"},
		{"/assets/../../etc/passwd", 404, text, "404 page not found\n"},
		{"/assets/%2e%2e/%2e%2e/etc/passwd", 404, text, "404 page not found\n"},
		{"/assets/..%5c..%5cetc%5cpasswd", 404, text, "404 not found: there is no such file\n"},
		{"/m/" + hyphen + "/x.efi", 200, "application/efi", "MZ"},
		{"/m/" + hyphen + "//x.efi", 200, "application/efi", "MZ"},
		{"/m/" + hyphen + "/autoexec.ipxe", 200, text, "script for 52:54:00:00:00:01 52:54:00:00:00:01" + by},
		{"/m/" + hyphen + "/grub.cfg", 200, text, "…linux '/assets/fcos/vmlinuz'"},
		{"/grub/grub.cfg", 200, text, boot.Trampoline},
		{"/grub/", 404, text, "404 not found: there is no such file\n"},
		{"/m/" + hyphen + "/assets/fcos/vmlinuz", 200, "application/octet-stream", "kernel"},
		{"/m/" + hyphen + "/missing.efi", 404, text, "404 not found: there is no such file\n"},
		{"/m/" + hyphen + "/../../x.efi", 404, text, "404 page not found\n"},
		{"/m/", 404, text, "404 not found: there is no such file\n"},
		{"/v1/report", 405, text, "405 method not allowed: reports are posted\n"},
	} {
		r := h.get(http.MethodGet, tc.target)
		got := body(t, r)
		if r.StatusCode != tc.status || r.Header.Get("Content-Type") != tc.kind {
			t.Errorf("GET %s is %d %s, want %d %s", tc.target, r.StatusCode, r.Header.Get("Content-Type"), tc.status, tc.kind)
		}
		if part, some := strings.CutPrefix(tc.want, "…"); got != tc.want && (!some || !strings.Contains(got, part)) {
			t.Errorf("GET %s gives\n%s\nwant\n%s", tc.target, got, tc.want)
		}
		if r.Header.Get("Content-Length") != strconv.Itoa(len(got)) {
			t.Errorf("GET %s: Content-Length is %q for %d bytes", tc.target, r.Header.Get("Content-Length"), len(got))
		}
		if tc.status != 405 {
			head := h.get(http.MethodHead, tc.target)
			if head.StatusCode != tc.status || head.Header.Get("Content-Length") != strconv.Itoa(len(got)) {
				t.Errorf("HEAD %s is %d with length %s, want %d with %d", tc.target, head.StatusCode, head.Header.Get("Content-Length"), tc.status, len(got))
			}
			if post := h.get(http.MethodPost, tc.target); post.StatusCode != tc.status {
				t.Errorf("POST %s is %d, want %d", tc.target, post.StatusCode, tc.status)
			}
		}
		if strings.Contains(got, "evil.example") {
			t.Errorf("GET %s takes the Host header for its URLs:\n%s", tc.target, got)
		}
	}
}

// TestImageHasItsOwnETag: another os is another image of the same config.
func TestImageHasItsOwnETag(t *testing.T) {
	h := newHarness(t)
	for path, want := range map[string]string{"/ignition": `"d1"`, "/v1/config.img": `"i1"`} {
		if got := h.get(http.MethodGet, path+"?mac="+hyphen).Header.Get("ETag"); got != want {
			t.Errorf("%s: ETag %s, want %s", path, got, want)
		}
	}
}

func TestFailures(t *testing.T) {
	none := fault.Wrap(fault.NotFound, &catalog.NoMatch{Groups: groups.Build(nil)})
	wrong := fault.Wrap(fault.Unavailable, &render.Report{Problems: []render.Problem{{Name: "w.yaml", Line: 12, What: "bad", Source: "password: hunter2"}}})
	for _, tc := range []struct {
		name   string
		err    error
		status int
		stage  event.Stage
	}{
		{"no match", none, 404, event.NotMatched},
		{"no such document", fault.New(fault.NotFound, "profile \"p\" has no generic_id"), 404, event.Refused},
		{"wrong document", wrong, 503, event.ConfigRefused},
		{"no catalog", fault.New(fault.Unavailable, "not loaded: hunter2"), 503, event.Error},
		{"a bad question", &boot.BadAsk{Err: fault.New(fault.Invalid, "the request tells 71 labels")}, 400, event.Refused},
		{"bad profile", fault.New(fault.Invalid, "no kernel hunter2"), 503, event.Error},
		{"a bug", errors.New("hunter2"), 503, event.Error},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			h.plan = func(boot.Ask) (*boot.Plan, error) { return nil, tc.err }
			h.ignition = func(boot.Ask) (*render.Config, error) { return nil, tc.err }
			h.text = func(string, boot.Ask) ([]byte, error) { return nil, tc.err }
			for _, path := range []string{"/ipxe", "/grub", "/ignition", "/metadata", "/generic", "/cloud", "/boot.ipxe", "/autoexec.ipxe"} {
				r := h.get(http.MethodGet, path+"?mac="+hyphen)
				text := body(t, r)
				if r.StatusCode != tc.status || text == "" || strings.Contains(text, "hunter2") {
					t.Errorf("%s is %d %q, want %d with a reason that gives nothing away", path, r.StatusCode, text, tc.status)
				}
				events := h.events.take()
				if len(events) != 1 || events[0].Stage != tc.stage || events[0].MAC != node || events[0].Peer != "10.0.0.7" {
					t.Errorf("%s records %+v, want one %s", path, events, tc.stage)
				}
			}
		})
	}
}

func TestEmptyConfigIsNeverSent(t *testing.T) {
	h := newHarness(t)
	h.ignition = func(boot.Ask) (*render.Config, error) { return &render.Config{Version: "3.4.0"}, nil }
	if r := h.get(http.MethodGet, "/ignition"); r.StatusCode != 503 {
		t.Errorf("an empty config is answered with %d, want 503", r.StatusCode)
	}
}

func TestAccept(t *testing.T) {
	h := newHarness(t)
	const ign = "application/vnd.coreos.ignition+json"
	for accept, status := range map[string]int{
		"":                                   200,
		"*/*":                                200,
		ign:                                  200,
		ign + ";version=3.6.0, */*;q=0.1":    200,
		ign + ";version=3.4.0":               200,
		ign + "; version=3.4.0-experimental": 200,
		ign + ";version=3.3.0, */*;q=0.1":    406,
		ign + ";version=3.3.0, " + ign + ";version=3.5.0;q=0.5":  200,
		ign + ";version=2.4.0, application/vnd.coreos.other;v=1": 406,
		strings.ToUpper(ign) + ";q=1;VERSION=3.1.0":              406,
		ign + ";version=new":      200,
		"text/html;version=1.0.0": 200,
	} {
		r := h.get(http.MethodGet, "/ignition?mac="+hyphen, "Accept", accept)
		if text := body(t, r); r.StatusCode != status || text == "" {
			t.Errorf("Accept %q is answered with %d %q, want %d", accept, r.StatusCode, text, status)
		}
		stage := map[int]event.Stage{200: event.ConfigSent, 406: event.ConfigRefused}[status]
		if events := h.events.take(); len(events) != 1 || events[0].Stage != stage {
			t.Errorf("Accept %q records %+v, want %s", accept, events, stage)
		}
	}
}

func TestDispositions(t *testing.T) {
	h := newHarness(t)
	for _, tc := range []struct {
		plan   boot.Plan
		status int
		stage  event.Stage
	}{
		{boot.Plan{Do: boot.Disk, Exit: boot.Exit1, Reason: "no group"}, 200, event.ToDisk},
		{boot.Plan{Do: boot.Disk, Exit: boot.HTTP404, Reason: "no group"}, 404, event.ToDisk},
		{boot.Plan{Do: boot.Hold, Reason: "no group"}, 200, event.Held},
	} {
		h.plan = func(boot.Ask) (*boot.Plan, error) { return &tc.plan, nil }
		r := h.get(http.MethodGet, "/ipxe?mac="+hyphen)
		if r.StatusCode != tc.status || body(t, r) == "" {
			t.Errorf("plan %+v is answered with %d, want %d", tc.plan, r.StatusCode, tc.status)
		}
		if events := h.events.take(); len(events) != 1 || events[0].Stage != tc.stage {
			t.Errorf("plan %+v records %+v, want %s", tc.plan, events, tc.stage)
		}
	}
}

// TestTimeline plays the HTTP half of a boot and reads what was recorded.
func TestTimeline(t *testing.T) {
	h := newHarness(t)
	h.get(http.MethodHead, "/m/"+hyphen+"/x.efi") // EDK2 asks for the size first
	h.get(http.MethodGet, "/m/"+hyphen+"/x.efi")
	h.get(http.MethodGet, "/m/"+hyphen+"/autoexec.ipxe")
	h.get(http.MethodGet, "/ipxe?mac="+hyphen)
	h.get(http.MethodGet, "/assets/fcos/vmlinuz")
	h.get(http.MethodGet, "/assets/fcos/initrd.img")
	h.get(http.MethodGet, "/assets/fcos/initrd.img", "Range", "bytes=0-1")
	h.get(http.MethodGet, "/assets/fcos/initrd.img", "Range", "bytes=2-")
	h.get(http.MethodGet, "/assets/fcos/initrd.img", "Range", "bytes=99-")
	h.get(http.MethodGet, "/assets/x.efi")
	h.get(http.MethodGet, "/assets/missing")
	h.get(http.MethodGet, "/ignition?mac="+hyphen)
	group := func(file string) map[string]string {
		return map[string]string{event.AttrFile: file, event.AttrGroup: "g", event.AttrProfile: "p"}
	}
	want := []event.Event{
		{Stage: event.LoaderSent, Message: "sent the network boot program x.efi", Bytes: 2, Total: 2, Attrs: map[string]string{event.AttrFile: "x.efi"}},
		{Stage: event.ScriptSent, Message: "sent the first iPXE script, which asks for the plan", Bytes: 73, Total: 73, Attrs: map[string]string{event.AttrFile: "autoexec.ipxe"}},
		{Stage: event.ScriptSent, Message: "sent an iPXE script: because", Attrs: map[string]string{event.AttrGroup: "g", event.AttrProfile: "p"}},
		{Stage: event.KernelSent, Message: "sent the kernel fcos/vmlinuz", Bytes: 6, Total: 6, Attrs: group("fcos/vmlinuz")},
		{Stage: event.InitrdSent, Message: "sent the initrd fcos/initrd.img", Bytes: 6, Total: 6, Attrs: group("fcos/initrd.img")},
		{Stage: event.InitrdSent, Message: "sent the initrd fcos/initrd.img in parts", Bytes: 4, Total: 6, Attrs: group("fcos/initrd.img")},
		{Stage: event.AssetSent, Message: "sent x.efi", Bytes: 2, Total: 2, Attrs: map[string]string{event.AttrFile: "x.efi"}},
		{Stage: event.Refused, Level: event.Warn, Message: "asked by HTTP for /assets/missing, which does not exist", Error: "open missing: file does not exist"},
		{Stage: event.ConfigSent, Message: "sent the Ignition config, spec 3.4.0", Bytes: 32, Attrs: map[string]string{event.AttrDigest: "d1"}},
	}
	for i := range want {
		want[i].MAC, want[i].Peer = node, "10.0.0.7"
	}
	got := h.events.take()
	if len(got) > 2 {
		got[2].Bytes = 0 // the script's text is the planner's
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}

func TestConditionalRequests(t *testing.T) {
	h := newHarness(t)
	loader := "/m/" + hyphen + "/x.efi"
	const strong = `"` + loaderDigest + `"`
	asset := "/assets/x.efi"
	weak := h.get(http.MethodHead, asset).Header.Get("ETag")
	if !strings.HasPrefix(weak, `W/"`) {
		t.Errorf("ETag of an asset that changed just now is %s, want a weak one", weak)
	}
	const changed = "412 precondition failed: the file has changed\n"
	for _, tc := range []struct {
		target  string
		headers []string
		status  int
		want    string
	}{
		{loader, []string{"Range", "bytes=0-0"}, 206, "M"},
		{loader, []string{"Range", "bytes=1-", "If-Match", strong}, 206, "Z"},
		{loader, []string{"Range", "bytes=1-", "If-Range", strong}, 206, "Z"},
		{loader, []string{"Range", "bytes=1-", "If-Range", `"other"`}, 200, "MZ"},
		{loader, []string{"If-Match", `"other"`}, 412, changed},
		{loader, []string{"If-None-Match", strong}, 304, ""},
		{loader, []string{"Range", "bytes=9-"}, 416, "invalid range: failed to overlap\n"},
		{asset, []string{"Range", "bytes=1-"}, 206, "Z"},
		{asset, []string{"Range", "bytes=1-", "If-Range", weak}, 200, "MZ"}, // the parts could be of two contents
		{asset, []string{"If-Match", weak}, 412, changed},
		{asset, []string{"If-None-Match", weak}, 304, ""},
		{asset, []string{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, 412, changed},
		{asset, []string{"If-Modified-Since", "Mon, 02 Jan 2040 15:04:05 GMT"}, 304, ""},
	} {
		r := h.get(http.MethodGet, tc.target, tc.headers...)
		if got := body(t, r); r.StatusCode != tc.status || got != tc.want {
			t.Errorf("GET %s %q is %d %q, want %d %q", tc.target, tc.headers, r.StatusCode, got, tc.status, tc.want)
		}
	}
}

func TestAttribution(t *testing.T) {
	h := newHarness(t)
	h.options.Machines.Observe(machine.Machine{MAC: "52:54:00:00:00:09", UUID: "u-9", Address: netip.MustParseAddr("10.0.0.7")})
	for target, want := range map[string]machine.MAC{
		"/metadata": "52:54:00:00:00:09",
		"/metadata?mac=52-54-00-00-00-08&uuid=u-9": "52:54:00:00:00:08",
		"/metadata?uuid=U-9":                       "52:54:00:00:00:09",
		"/metadata?uuid=unheard-of":                "52:54:00:00:00:09",
		"/m/52-54-00-00-00-07/x.efi":               "52:54:00:00:00:07",
	} {
		h.get(http.MethodGet, target)
		if events := h.events.take(); len(events) != 1 || events[0].MAC != want {
			t.Errorf("%s is recorded as %+v, want %s", target, events, want)
		}
	}
}

func TestReport(t *testing.T) {
	h := newHarness(t)
	post := func(target, text string) int {
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(text))
		r.RemoteAddr = "10.0.0.7:3333"
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if w.Code >= 400 && w.Body.Len() == 0 {
			t.Errorf("POST %s: %d with an empty body", target, w.Code)
		}
		return w.Code
	}
	at := "/v1/report?mac=" + hyphen + "&state="
	for _, tc := range []struct {
		target, text string
		status       int
	}{
		{at + "booted", "all\x1b[31m fine\x00\n", 204},
		{at + "failed", strings.Repeat("x", 5000) + "the end", 204},
		{at + "progress", "", 204},
		{at + "booted", strings.Repeat("x", 65537), 413},
		{at + "exploded", "", 400},
		{"/v1/report?state=booted&mac=zz", "", 400},
	} {
		h.options.Machines.Observe(machine.Machine{MAC: "52:54:00:00:00:33", Address: netip.MustParseAddr("10.0.0.8")})
		if strings.Contains(tc.target, "zz") {
			h = newHarness(t) // in which the address is nobody's
		}
		if got := post(tc.target, tc.text); got != tc.status {
			t.Errorf("POST %s is %d, want %d", tc.target, got, tc.status)
		}
		if tc.status != 204 {
			continue
		}
		events := h.events.take()
		if len(events) != 1 || events[0].MAC != node {
			t.Fatalf("POST %s records %+v", tc.target, events)
		}
		switch e := events[0]; {
		case e.Stage == event.Booted && e.Message != "all[31m fine", e.Stage == event.Progress && e.Message != "the machine reports: progress",
			e.Stage == event.Failed && (e.Level != event.Alarm || len(e.Message) != 4096 || !strings.HasSuffix(e.Message, "the end")):
			t.Errorf("POST %s records %+v", tc.target, e)
		}
	}
	limited := false
	for range 30 {
		limited = limited || post(at+"progress", "") == 429
	}
	if !limited {
		t.Error("30 reports at once were taken from one address")
	}
}

func TestPanicIsAnswered(t *testing.T) {
	h := newHarness(t)
	h.plan = func(boot.Ask) (*boot.Plan, error) { panic("boom") }
	r := h.get(http.MethodGet, "/ipxe?mac="+hyphen)
	if text := body(t, r); r.StatusCode != 503 || strings.Contains(text, "boom") {
		t.Errorf("a panic is answered with %d %q", r.StatusCode, text)
	}
	if events := h.events.take(); len(events) != 1 || events[0].Error != "boom" {
		t.Errorf("a panic records %+v", events)
	}
}

func TestMatchboxBodies(t *testing.T) {
	h := newHarness(t, func(o *web.Options) { o.Matchbox = true })
	h.plan = func(boot.Ask) (*boot.Plan, error) { return nil, fault.New(fault.NotFound, "no") }
	for _, target := range []string{"/ipxe", "/assets/missing", "/m/x/y", "/nothing"} {
		if got := body(t, h.get(http.MethodGet, target)); got != "404 page not found\n" {
			t.Errorf("%s is refused with %q", target, got)
		}
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	if _, err := web.New(web.Options{}); err == nil {
		t.Error("New without options succeeded")
	}
	h := newHarness(t)
	h.options.MaxConns = -1
	if _, err := web.New(h.options); err == nil {
		t.Error("New with a negative number of connections succeeded")
	}
}

// FuzzPaths throws paths, queries and headers at the handler: no panic, no empty failure, no redirect, a length always, nothing hidden shown.
func FuzzPaths(f *testing.F) {
	h := newHarness(f)
	h.file(f, ".hidden", "secret")
	h.file(f, "../outside", "secret")
	for _, seed := range [][3]string{
		{"/ipxe", "mac=52-54-00-00-00-01&uuid=%zz;a=b", ""}, {"/assets/../outside", "", "bytes=0-"}, {"/assets/.hidden", "", "bytes=-1"},
		{"//m//52-54-00-00-00-01/../x", "mac=", "bytes=0-0,1-1"}, {"/assets", "?", "x"}, {"/v1/report", "state=booted", ""}, {"*", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, path, query, ranges string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.RemoteAddr = path, query, "10.0.0.7:1"
		r.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		h.events.take()
		text := w.Body.String()
		if w.Code >= 300 && w.Code < 400 && w.Code != 304 {
			t.Errorf("%q is redirected: %d", path, w.Code)
		}
		if w.Code >= 400 && text == "" {
			t.Errorf("%q?%q fails with %d and an empty body", path, query, w.Code)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%q shows %q", path, text)
		}
		if length := w.Header().Get("Content-Length"); length != strconv.Itoa(len(text)) {
			t.Errorf("%q?%q with range %q: Content-Length is %q for %d bytes", path, query, ranges, length, len(text))
		}
	})
}
