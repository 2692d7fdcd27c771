package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchboxpb"
)

// terraform calls what matchbox's Terraform provider calls, in its order and with as many calls at once. It was traced: see its methods.
type terraform struct {
	t testing.TB
	*client.Matchbox
}

// tfProfile and tfGroup are the provider's two resources with all fields that they have.
type tfProfile struct {
	name, kernel   string
	initrd, args   []string
	raw, container string // raw_ignition, container_linux_config: one of them
	generic        string
}

type tfGroup struct {
	name, profile      string
	selector, metadata map[string]string
}

// terraformParallelism is Terraform's own.
const terraformParallelism = 10

func newTerraform(t testing.TB, d *matchdtest.Daemon) *terraform {
	t.Helper()
	c := d.NewClient(t, auth.Identity{Name: "terraform", Role: auth.Operator})
	dialed, err := client.DialMatchbox(client.Options{Endpoint: d.RPC, CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() })
	return &terraform{t, dialed}
}

// ignitionName is how the provider names a profile's config.
func (p *tfProfile) ignitionName() string {
	switch {
	case p.raw != "":
		return p.name + ".ign"
	case p.container != "":
		return p.name + ".yaml.tmpl"
	}
	return ""
}

func (p *tfProfile) config() string { return p.raw + p.container }

func (p *tfProfile) genericName() string {
	if p.generic == "" {
		return ""
	}
	return p.name
}

func (tf *terraform) createProfile(ctx context.Context, p *tfProfile) error {
	_, err := tf.Profiles.ProfilePut(ctx, &matchboxpb.ProfilePutRequest{Profile: &matchboxpb.Profile{
		Id: p.name, IgnitionId: p.ignitionName(), GenericId: p.genericName(), Boot: &matchboxpb.NetBoot{Kernel: p.kernel, Initrd: p.initrd, Args: p.args},
	}})
	if err == nil && p.config() != "" {
		_, err = tf.Ignition.IgnitionPut(ctx, &matchboxpb.IgnitionPutRequest{Name: p.ignitionName(), Config: []byte(p.config())})
	}
	if err == nil && p.generic != "" {
		_, err = tf.Generic.GenericPut(ctx, &matchboxpb.GenericPutRequest{Name: p.name, Config: []byte(p.generic)})
	}
	return err
}

func (tf *terraform) deleteProfile(ctx context.Context, p *tfProfile) error {
	_, err := tf.Profiles.ProfileDelete(ctx, &matchboxpb.ProfileDeleteRequest{Id: p.name})
	if err == nil && p.config() != "" {
		_, err = tf.Ignition.IgnitionDelete(ctx, &matchboxpb.IgnitionDeleteRequest{Name: p.ignitionName()})
	}
	if err == nil && p.generic != "" {
		_, err = tf.Generic.GenericDelete(ctx, &matchboxpb.GenericDeleteRequest{Name: p.name})
	}
	return err
}

// profileDiffers reads a profile as a refresh does, and says what a plan would change: nothing, or all of it. Any error counts as "gone".
func (tf *terraform) profileDiffers(ctx context.Context, p *tfProfile) string {
	got, err := tf.Profiles.ProfileGet(ctx, &matchboxpb.ProfileGetRequest{Id: p.name})
	if err != nil {
		return "gone"
	}
	profile := got.GetProfile()
	boot := profile.Boot // the provider looks into it unasked
	state := tfProfile{name: profile.GetId(), kernel: boot.Kernel, initrd: boot.Initrd, args: boot.Args}
	if profile.GetIgnitionId() != "" {
		config, err := tf.Ignition.IgnitionGet(ctx, &matchboxpb.IgnitionGetRequest{Name: profile.GetIgnitionId()})
		switch {
		case err != nil:
			return "config gone"
		case strings.HasSuffix(profile.GetIgnitionId(), ".ign"):
			state.raw = string(config.GetConfig())
		default:
			state.container = string(config.GetConfig())
		}
	}
	if profile.GetGenericId() != "" {
		config, err := tf.Generic.GenericGet(ctx, &matchboxpb.GenericGetRequest{Name: profile.GetGenericId()})
		if err != nil {
			return "generic gone"
		}
		state.generic = string(config.GetConfig())
	}
	if want, got := fmt.Sprintf("%q", *p), fmt.Sprintf("%q", state); want != got {
		return got
	}
	return ""
}

func (tf *terraform) createGroup(ctx context.Context, g *tfGroup) error {
	metadata, err := json.Marshal(g.metadata)
	if g.metadata == nil {
		metadata = []byte("{}")
	}
	if err == nil {
		_, err = tf.Groups.GroupPut(ctx, &matchboxpb.GroupPutRequest{Group: &matchboxpb.Group{Id: g.name, Profile: g.profile, Selector: g.selector, Metadata: metadata}})
	}
	return err
}

func (tf *terraform) deleteGroup(ctx context.Context, g *tfGroup) error {
	_, err := tf.Groups.GroupDelete(ctx, &matchboxpb.GroupDeleteRequest{Id: g.name})
	return err
}

func (tf *terraform) groupDiffers(ctx context.Context, g *tfGroup) string {
	got, err := tf.Groups.GroupGet(ctx, &matchboxpb.GroupGetRequest{Id: g.name})
	if err != nil {
		return "gone"
	}
	group := got.GetGroup()
	metadata := map[string]string{}
	if len(group.GetMetadata()) > 0 {
		if err := json.Unmarshal(group.GetMetadata(), &metadata); err != nil { // into texts: another value makes the refresh fail
			return err.Error()
		}
	}
	if group.GetProfile() != g.profile || !maps.Equal(group.GetSelector(), g.selector) || !maps.Equal(metadata, g.metadata) {
		return fmt.Sprintf("%v", group)
	}
	return ""
}

// plan returns what differs, by resource.
func (tf *terraform) plan(profiles []*tfProfile, groups []*tfGroup) []string {
	var mu sync.Mutex
	var differing []string
	note := func(name, what string) {
		if what != "" {
			mu.Lock()
			differing = append(differing, name+": "+what)
			mu.Unlock()
		}
	}
	each(profiles, func(p *tfProfile) error { note(p.name, tf.profileDiffers(tf.t.Context(), p)); return nil })
	each(groups, func(g *tfGroup) error { note(g.name, tf.groupDiffers(tf.t.Context(), g)); return nil })
	slices.Sort(differing)
	return differing
}

// each does something with all, as many at a time as Terraform does.
func each[T any](list []T, do func(T) error) error {
	var group errgroup.Group
	group.SetLimit(terraformParallelism)
	for _, one := range list {
		group.Go(func() error { return do(one) })
	}
	return group.Wait()
}

// cluster is what Typhoon makes for bare metal, with MAC addresses in every notation that people write.
func cluster(n int) (profiles []*tfProfile, groups []*tfGroup) {
	notations := []string{"52:54:00:a1:9c:%02x", "52-54-00-a1-9c-%02x", "52:54:00:A1:9C:%02X", "5254.00a1.9c%02x", "525400a19c%02x"}
	for i := range n {
		name := fmt.Sprintf("node%d", i)
		profiles = append(profiles, &tfProfile{
			name: name, kernel: "/assets/vmlinuz", initrd: []string{"--name main http://m/initrd.img"}, args: []string{"initrd=main", "n=" + name},
			raw: fmt.Sprintf(`{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/etc/hostname","contents":{"source":"data:,%s%%0A"},"mode":420}]}}`, name), generic: "generic of " + name + "\r\n",
		})
		groups = append(groups, &tfGroup{name: name, profile: name, selector: map[string]string{"mac": fmt.Sprintf(notations[i%len(notations)], i)}})
	}
	groups[0].metadata = map[string]string{"number": "012", "text": "<&>", "empty": ""}
	profiles[1].raw, profiles[1].container = "", "variant: fcos\nversion: 1.5.0\npasswd:\n  users:\n    - name: {{.number}}\n"
	groups[1].metadata = map[string]string{"number": "core"}
	return profiles, groups
}

func macOf(i int) string { return fmt.Sprintf("52:54:00:a1:9c:%02x", i) }

// bothModes runs a test against "matchd serve --matchbox" and against a daemon without files.
func bothModes(t *testing.T, test func(t *testing.T, d *matchdtest.Daemon)) {
	t.Run("matchbox", func(t *testing.T) { test(t, matchboxDaemon(t, nil)) })
	t.Run("store", func(t *testing.T) {
		test(t, matchdtest.Start(t, matchdtest.Options{API: true, Unready: true, Config: storeOnly}))
	})
}

// TestTerraform plays the life of a cluster: create, plan, refresh, change, destroy.
func TestTerraform(t *testing.T) {
	bothModes(t, func(t *testing.T, d *matchdtest.Daemon) {
		tf := newTerraform(t, d)
		profiles, groups := cluster(20)
		create := func(p *tfProfile) error { return tf.createProfile(t.Context(), p) }
		// Nothing says that a profile comes before its group.
		if err := each(groups, func(g *tfGroup) error { return tf.createGroup(t.Context(), g) }); err != nil {
			t.Fatal(err)
		}
		if err := each(profiles, create); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if diff := tf.plan(profiles, groups); len(diff) > 0 {
				t.Fatalf("a plan after apply would change:\n%s", strings.Join(diff, "\n"))
			}
		}
		for i := range profiles {
			if status, script := d.Get(t, "/ipxe?mac="+macOf(i)); status != http.StatusOK || !strings.Contains(script, "n="+profiles[i].name) {
				t.Errorf("%s boots %d %s", profiles[i].name, status, script)
			}
			if status, config := d.Get(t, "/ignition?mac="+macOf(i)); status != http.StatusOK || !strings.Contains(config, `"3.4.0"`) {
				t.Errorf("%s has the config %d %s", profiles[i].name, status, config)
			}
		}

		profiles[3].args = append(profiles[3].args, "more")
		if diff := tf.plan(profiles, groups); len(diff) != 1 {
			t.Errorf("a plan after one change: %v", diff)
		}
		if err := errorsOf(tf.deleteProfile(t.Context(), profiles[3]), tf.createProfile(t.Context(), profiles[3])); err != nil {
			t.Error(err)
		}
		if diff := tf.plan(profiles, groups); len(diff) > 0 {
			t.Errorf("a plan after the replacement: %v", diff)
		}

		for range 2 { // the second time with -refresh=false
			if err := each(groups, func(g *tfGroup) error { return tf.deleteGroup(t.Context(), g) }); err != nil {
				t.Fatal(err)
			}
			if err := each(profiles, func(p *tfProfile) error { return tf.deleteProfile(t.Context(), p) }); err != nil {
				t.Fatal(err)
			}
		}
		if diff := tf.plan(profiles, groups); len(diff) != len(profiles)+len(groups) {
			t.Errorf("after destroy %d of %d resources are gone", len(diff), len(profiles)+len(groups))
		}
	})
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// poll fetches a path until it is told to stop and counts the answers that are neither one of the allowed bodies nor 503.
func poll(stop *atomic.Bool, url string, allowed func(status int, body string) bool) (asked, waiting int, wrong []string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	for !stop.Load() {
		response, err := c.Get(url)
		if err != nil {
			return asked, waiting, append(wrong, err.Error())
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		asked++
		switch {
		case response.StatusCode == http.StatusServiceUnavailable:
			waiting++
		case !allowed(response.StatusCode, string(body)):
			wrong = append(wrong, fmt.Sprintf("%d %.80s", response.StatusCode, body))
		}
	}
	return asked, waiting, wrong
}

// TestTerraformReplaces: while the provider replaces groups and profiles, by deleting them first, their machines get what they had, what they
// shall have, or wait. They never get 404, nor the installer that everybody else gets.
func TestTerraformReplaces(t *testing.T) {
	bothModes(t, func(t *testing.T, d *matchdtest.Daemon) {
		tf := newTerraform(t, d)
		profiles, groups := cluster(2)
		everybody := &tfProfile{name: "installer", kernel: "/assets/wipe-the-disk"}
		for _, p := range append(profiles, everybody) {
			if err := tf.createProfile(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for _, g := range append(groups, &tfGroup{name: "default", profile: "installer"}) {
			if err := tf.createGroup(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		var stop atomic.Bool
		var pollers sync.WaitGroup
		contains := func(word string) func(int, string) bool {
			return func(status int, body string) bool { return status == http.StatusOK && strings.Contains(body, word) }
		}
		waited := map[string]*int{}
		watch := func(path string, allowed func(int, string) bool) {
			waits := new(int)
			waited[path] = waits
			pollers.Go(func() {
				asked, waiting, wrong := poll(&stop, d.Boot+path, allowed)
				if len(wrong) > 0 || asked == 0 {
					t.Errorf("%s: %d of %d answers are wrong: %.500v", path, len(wrong), asked, wrong)
				}
				*waits = waiting
			})
		}
		watch("/ipxe?mac="+macOf(0), contains("n=node0"))
		watch("/grub?mac="+macOf(0), contains("n=node0"))
		watch("/ignition?mac="+macOf(0), contains("node0"))
		watch("/generic?mac="+macOf(0), contains("generic of node0"))
		watch("/metadata?mac="+macOf(0), contains("NUMBER=012"))
		watch("/ipxe?mac=52:54:00:ff:ff:ff", contains("wipe-the-disk")) // a stranger never waits for others
		for round := range 25 {
			profiles[0].args = []string{"initrd=main", "n=node0", fmt.Sprint("round=", round)}
			groups[0].metadata["round"] = fmt.Sprint(round)
			err := errorsOf(
				tf.deleteProfile(t.Context(), profiles[0]), tf.createProfile(t.Context(), profiles[0]),
				tf.deleteGroup(t.Context(), groups[0]), tf.createGroup(t.Context(), groups[0]),
			)
			if err != nil {
				t.Error(err)
			}
		}
		stop.Store(true)
		pollers.Wait()
		if n := *waited["/ipxe?mac=52:54:00:ff:ff:ff"]; n > 0 {
			t.Errorf("a stranger was told to wait %d times", n)
		}
		if status, script := d.Get(t, "/ipxe?mac="+macOf(0)); status != http.StatusOK || !strings.Contains(script, "round=24") {
			t.Errorf("after all: %d %s", status, script)
		}
		if err := tf.deleteGroup(t.Context(), groups[0]); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"/ipxe", "/grub", "/ignition", "/cloud", "/generic", "/metadata"} {
			if status, body := d.Get(t, path+"?mac="+macOf(0)); status != http.StatusServiceUnavailable {
				t.Errorf("%s right after its group was deleted: %d %s", path, status, body)
			}
		}
	})
}

// TestDirectoryFollows: what the API writes is in the data directory as matchbox would have it, and reading the directory again changes nothing; what a person
// writes there is served, and a file that cannot be used harms nobody else.
func TestDirectoryFollows(t *testing.T) {
	d := matchboxDaemon(t, map[string]string{"groups/by-hand.json": `{"id":"by-hand","profile":"node0","selector":{"os":"hand"}}`, "groups/broken.json": "{"})
	tf := newTerraform(t, d)
	profiles, groups := cluster(3)
	for i := range profiles {
		if err := errorsOf(tf.createProfile(t.Context(), profiles[i]), tf.createGroup(t.Context(), groups[i])); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"groups/node1.json":   "{\n\t\"id\": \"node1\",\n\t\"profile\": \"node1\",\n\t\"selector\": {\n\t\t\"mac\": \"52-54-00-a1-9c-01\"\n\t},\n\t\"metadata\": {\n\t\t\"number\": \"core\"\n\t}\n}",
		"profiles/node2.json": "{\n\t\"id\": \"node2\",\n\t\"ignition_id\": \"node2.ign\",\n\t\"boot\": {\n\t\t\"kernel\": \"/assets/vmlinuz\",\n\t\t\"initrd\": [\n\t\t\t\"--name main http://m/initrd.img\"\n\t\t],\n\t\t\"args\": [\n\t\t\t\"initrd=main\",\n\t\t\t\"n=node2\"\n\t\t]\n\t},\n\t\"generic_id\": \"node2\"\n}",
		"ignition/node2.ign":  profiles[2].raw, "ignition/node1.yaml.tmpl": profiles[1].container, "generic/node0": profiles[0].generic,
		"groups/broken.json": "{",
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(d.Site, name))
		if err != nil || string(got) != text {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, text)
		}
	}
	before := revision(t, d)
	if _, health := d.GetAdmin(t, "/v1/health"); !strings.Contains(health, "groups/broken.json") {
		t.Errorf("health does not tell of the broken file: %s", health)
	}
	// A change by hand is seen; with it, everything that the API wrote is read again.
	matchdtest.WriteFiles(t, d.Site, map[string]string{"groups/new.json": `{"id":"new","profile":"node0","selector":{"os":"new"}}`})
	for status := 0; status != http.StatusOK; {
		status, _ = d.Get(t, "/ipxe?os=new")
	}
	if after := revision(t, d); after != before+1 {
		t.Errorf("reading the directory made %d revisions, want 1, of the new group", after-before)
	}
	matchdtest.WriteFiles(t, d.Site, map[string]string{"groups/unread.json": "{"})
	if err := tf.deleteGroup(t.Context(), &tfGroup{name: "unread"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(d.Site, "groups/unread.json")); err == nil {
		t.Error("a file that cannot be read is still there after its group was deleted")
	}
	if err := tf.createGroup(t.Context(), &tfGroup{name: "broken", profile: "node0", selector: map[string]string{"os": "mended"}}); err != nil {
		t.Error(err)
	}
	if status, _ := d.Get(t, "/ipxe?os=mended"); status != http.StatusOK {
		t.Errorf("a put over a broken file: %d", status)
	}
}

// revision is that which is served.
func revision(t testing.TB, d *matchdtest.Daemon) int {
	t.Helper()
	_, body := d.GetAdmin(t, "/v1/health")
	var health struct{ Revision int }
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&health); err != nil {
		t.Fatal(err)
	}
	return health.Revision
}
