package client_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// daemon runs one with an API.
func daemon(t *testing.T, files map[string]string) *matchdtest.Daemon {
	t.Helper()
	return matchdtest.Start(t, matchdtest.Options{API: true, Files: files, Config: func(c *matchd.Config) {}})
}

func options(d *matchdtest.Daemon, files matchdtest.Client) client.Options {
	return client.Options{Endpoint: d.RPC, CA: files.CA, Cert: files.Cert, Key: files.Key}
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func admin(t *testing.T, d *matchdtest.Daemon) *client.Client {
	t.Helper()
	return dial(t, options(d, d.NewClient(t, auth.Identity{Name: "admin", Role: auth.Admin})))
}

// TestExample runs the package's example.
func TestExample(t *testing.T) {
	if err := deploy(t.Context(), admin(t, daemon(t, nil)), "52:54:00:a1:9c:ae"); err != nil {
		t.Fatal(err)
	}
}

func TestErrors(t *testing.T) {
	d := daemon(t, map[string]string{"profiles/owned.yaml": "name: owned\n"})
	c := admin(t, d)
	group := func(id, profile string, revision *int64) error {
		_, err := c.Groups.PutGroup(t.Context(), &matchdpb.PutGroupRequest{Group: &matchdpb.Group{Id: id, Profile: profile, Selector: map[string]string{"a": "b"}}, Revision: revision})
		return err
	}
	_, missing := c.Groups.GetGroup(t.Context(), &matchdpb.GetGroupRequest{Id: "nobody"})
	if !client.IsNotFound(missing) || !fault.Is(missing, fault.NotFound) || client.IsUnreachable(missing) {
		t.Errorf("%v", missing)
	}
	if err := group("../../etc", "owned", nil); !client.IsInvalid(err) {
		t.Errorf("%v", err)
	}
	_, err := c.Templates.PutTemplate(t.Context(), &matchdpb.PutTemplateRequest{Template: &matchdpb.Template{
		Kind: "ignition", Name: "x.bu", Content: []byte("variant: fcos\nversion: 1.5.0\nstorage: 7\n"),
	}})
	var refused *client.Error
	if !client.IsInvalid(err) || !errors.As(err, &refused) || len(refused.Problems) == 0 || refused.Problems[0].GetLine() != 3 || !strings.Contains(err.Error(), "template/ignition/x.bu:3:") {
		t.Errorf("%+v", err)
	}
	stale := int64(99999)
	if err := group("g", "owned", &stale); !client.IsConflict(err) && !client.IsNotFound(err) {
		t.Errorf("a revision of nobody: %v", err)
	}
	_, err = c.Profiles.PutProfile(t.Context(), &matchdpb.PutProfileRequest{Profile: &matchdpb.Profile{Id: "owned", Name: "stolen"}})
	if !client.IsConflict(err) || !strings.Contains(err.Error(), "profiles/owned.yaml") {
		t.Errorf("what a file owns: %v", err)
	}
	viewer := dial(t, options(d, d.NewClient(t, auth.Identity{Name: "v", Role: auth.Viewer})))
	if _, err := viewer.Groups.DeleteGroup(t.Context(), &matchdpb.DeleteGroupRequest{Id: "g"}); !client.IsDenied(err) {
		t.Errorf("a viewer deletes: %v", err)
	}
	stream, err := viewer.Timelines.WatchEvents(t.Context(), &matchdpb.WatchEventsRequest{Machine: "nobody"})
	if err == nil {
		_, err = stream.Recv()
	}
	if !client.IsNotFound(err) || !errors.As(err, &refused) || refused.Method != "/matchd.v1.Timelines/WatchEvents" || refused.Code != "NOT_FOUND" {
		t.Errorf("a stream's error: %+v", err)
	}
}

// TestUnreachable: the error that kept the client from its server is in the chain, for whoever makes words of it.
func TestUnreachable(t *testing.T) {
	d := daemon(t, nil)
	own := d.NewClient(t, auth.Identity{Name: "admin", Role: auth.Admin})
	good := options(d, own)
	stranger := t.TempDir()
	if _, err := pki.Init(stranger, pki.Names{DNS: []string{"localhost"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	foreign := good
	foreign.CA = filepath.Join(stranger, pki.CACert)
	uninvited := good
	uninvited.Cert, uninvited.Key = filepath.Join(stranger, pki.AdminName+".crt"), filepath.Join(stranger, pki.AdminName+".key")
	renamed := good
	renamed.ServerName = "elsewhere.example"
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := good
	nobody.Endpoint = closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    client.Options
		is   func(error) bool
	}{
		{"another CA", foreign, func(err error) bool { var e x509.UnknownAuthorityError; return errors.As(err, &e) }},
		{"another name", renamed, func(err error) bool { var e x509.HostnameError; return errors.As(err, &e) }},
		{"nobody there", nobody, func(err error) bool { var e *net.OpError; return errors.As(err, &e) }},
		{"a certificate that the server does not know", uninvited, func(err error) bool { return strings.Contains(err.Error(), "certificate") }},
	} {
		_, err := dial(t, tt.o).Status.GetStatus(t.Context(), &matchdpb.GetStatusRequest{})
		if !client.IsUnreachable(err) || !fault.Is(err, fault.Unavailable) || !tt.is(err) || !strings.Contains(err.Error(), tt.o.Endpoint) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := dial(t, good).Status.GetStatus(t.Context(), &matchdpb.GetStatusRequest{}); err != nil {
		t.Error(err)
	}
}

func TestDial(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Init(dir, pki.Names{DNS: []string{"localhost"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	good := client.Options{CA: filepath.Join(dir, pki.CACert), Cert: filepath.Join(dir, pki.AdminName+".crt"), Key: filepath.Join(dir, pki.AdminName+".key")}
	text := func(name string) string {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	for name, tt := range map[string]struct {
		change func(*client.Options)
		want   string
	}{
		"files":          {func(*client.Options) {}, ""},
		"PEM text":       {func(o *client.Options) { o.CA, o.Cert, o.Key = text(o.CA), text(o.Cert), text(o.Key) }, ""},
		"no CA":          {func(o *client.Options) { o.CA = "" }, "no CA certificate is given"},
		"no such CA":     {func(o *client.Options) { o.CA = "/nowhere/ca.crt" }, "/nowhere/ca.crt"},
		"a CA of a key":  {func(o *client.Options) { o.CA = o.Key }, "holds no CA certificate"},
		"no such key":    {func(o *client.Options) { o.Key = "/nowhere/key" }, "/nowhere/key"},
		"another's key":  {func(o *client.Options) { o.Key = filepath.Join(dir, pki.ServerKey) }, pki.ServerKey},
		"text that lies": {func(o *client.Options) { o.Key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n" }, "(given as text)"},
	} {
		o := good
		tt.change(&o)
		c, err := client.Dial(o)
		switch {
		case err == nil && tt.want == "":
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want) || !fault.Is(err, fault.Invalid):
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		case strings.Contains(err.Error(), "c2VjcmV0"):
			t.Errorf("%s: the key is in the error: %v", name, err)
		}
	}
}

// TestListings reads more than a page.
func TestListings(t *testing.T) {
	c := admin(t, daemon(t, nil))
	request := &matchdpb.ApplyRequest{Changes: []*matchdpb.Change{{Change: &matchdpb.Change_Put{Put: &matchdpb.Object{
		Object: &matchdpb.Object_Profile{Profile: &matchdpb.Profile{Id: "p"}}}}}}}
	for i := range 1100 {
		request.Changes = append(request.Changes, &matchdpb.Change{Change: &matchdpb.Change_Put{Put: &matchdpb.Object{
			Object: &matchdpb.Object_Group{Group: &matchdpb.Group{Id: fmt.Sprintf("g%04d", i), Profile: "p", Selector: map[string]string{"n": fmt.Sprint(i)}}}}}})
	}
	if _, err := c.Changes.Apply(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	groups, err := client.Collect(c.AllGroups(t.Context(), nil))
	if err != nil || len(groups) != 1100 || groups[1099].GetId() != "g1099" {
		t.Errorf("%d groups, %v", len(groups), err)
	}
	for range c.AllGroups(t.Context(), nil) {
		break // the rest is not asked for
	}
	if some, err := client.Collect(c.AllGroups(t.Context(), map[string]string{"n": "7"})); err != nil || len(some) != 1 {
		t.Errorf("%d groups, %v", len(some), err)
	}
	profiles, err := client.Collect(c.AllProfiles(t.Context()))
	if err != nil || len(profiles) != 1 {
		t.Errorf("%v, %v", profiles, err)
	}
	for name, count := range map[string]func() (int, error){
		"machines":     func() (int, error) { l, err := client.Collect(c.AllMachines(t.Context(), nil)); return len(l), err },
		"templates":    func() (int, error) { l, err := client.Collect(c.AllTemplates(t.Context())); return len(l), err },
		"reservations": func() (int, error) { l, err := client.Collect(c.AllReservations(t.Context())); return len(l), err },
		"leases":       func() (int, error) { l, err := client.Collect(c.AllLeases(t.Context(), true)); return len(l), err },
		"timelines":    func() (int, error) { l, err := client.Collect(c.AllTimelines(t.Context())); return len(l), err },
		"assets":       func() (int, error) { l, err := client.Collect(c.AllAssets(t.Context(), "")); return len(l), err },
	} {
		if n, err := count(); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestCheckEndpoint(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"": true, "boot.example.com": true, "boot.example.com:8081": true, ":8081": true, "[2001:db8::1]:8081": true,
		"http://127.0.0.1:8081": false, "https://boot.example.com": false, "boot.example.com:8081/x": false,
	} {
		err := client.CheckEndpoint(endpoint)
		if (err == nil) != want {
			t.Errorf("%q: %v", endpoint, err)
		}
		if _, dialed := client.Dial(client.Options{Endpoint: endpoint}); !want && (dialed == nil || dialed.Error() != err.Error()) {
			t.Errorf("%q: dialing says %v", endpoint, dialed)
		}
	}
}
