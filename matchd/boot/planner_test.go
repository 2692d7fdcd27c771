package boot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/profiles"
)

const (
	worker   = machine.MAC("52:54:00:00:00:01") // its group wants it by its address
	secure   = machine.MAC("52:54:00:00:00:02") // its profile wants shim
	diskOnly = machine.MAC("52:54:00:00:00:03") // its profile has no kernel
	serial   = machine.MAC("52:54:00:00:00:04") // its group wants a serial number, which firmware does not tell
	stranger = machine.MAC("52:54:00:00:00:99")
)

var server = netip.MustParseAddr("10.0.0.1")

// loaders is a set of network boot programs by architecture and family.
type loaders map[string][]string

func (l loaders) For(arch, family string) []string { return l[arch+"/"+family] }

func allLoaders() loaders {
	return loaders{
		"x86-bios/": {"undionly.kpxe", "ipxe.pxe"}, "x86_64-efi/": {"snponly.efi", "ipxe.efi"},
		"x86_64-efi/shim": {"shimx64.efi"}, "arm64-efi/": {"grubaa64.efi"}, "x86_64-efi/ipxe": {"snponly.efi"},
	}
}

type fixed struct{ snapshot *catalog.Snapshot }

func (f fixed) Current() *catalog.Snapshot { return f.snapshot }

// loaded returns a catalog with a few machines in it.
func loaded(t *testing.T) Catalog {
	t.Helper()
	owned := func(id, profile string, selector groups.Selector) catalog.Owned[groups.Group] {
		return catalog.Owned[groups.Group]{Value: groups.Group{ID: id, Profile: profile, Selector: selector}}
	}
	profile := func(p profiles.Profile) catalog.Owned[profiles.Profile] {
		return catalog.Owned[profiles.Profile]{Value: p}
	}
	objects := catalog.Objects{
		Groups: []catalog.Owned[groups.Group]{
			owned("worker", "worker", groups.Selector{"mac": worker.String()}),
			owned("secure", "secure", groups.Selector{"mac": secure.String()}),
			owned("disk-only", "disk-only", groups.Selector{"mac": diskOnly.String()}),
			owned("serial", "worker", groups.Selector{"mac": serial.String(), "serial": "s4"}),
			owned("installed", "disk-only", groups.Selector{"mac": worker.String(), "os": "installed"}),
		},
		Profiles: []catalog.Owned[profiles.Profile]{
			profile(profiles.Profile{ID: "worker", Boot: profiles.Boot{Kernel: "/assets/k"}, IgnitionID: "w.ign", GenericID: "g", CloudID: "c"}),
			profile(profiles.Profile{ID: "secure", Boot: profiles.Boot{Kernel: "/assets/k"}, Loader: profiles.LoaderShim}),
			profile(profiles.Profile{ID: "disk-only", GenericID: "g"}),
		},
		Templates: []catalog.Owned[profiles.Template]{
			{Value: profiles.Template{Kind: profiles.Ignition, Name: "w.ign", Content: []byte(`{"ignition":{"version":"3.4.0"},"passwd":{"users":[{"name":"core"}]}}`)}},
			{Value: profiles.Template{Kind: profiles.Generic, Name: "g", Content: []byte("{{.matchd.machine.mac}} {{.matchd.machine.platform}}")}},
			{Value: profiles.Template{Kind: profiles.Cloud, Name: "c", Content: []byte("#cloud-config\nhostname: c\n")}},
		},
	}
	opened, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	revision, _, err := catalog.ReplaceSite(t.Context(), opened, objects)
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(opened, catalog.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	snapshot, err := c.WaitFor(ctx, revision)
	if err != nil {
		t.Fatal(err)
	}
	return fixed{snapshot}
}

func newPlanner(c Catalog, change func(*Options)) *Planner {
	options := Options{Catalog: c, Machines: machine.NewRegistry(0), Loaders: allLoaders(), HTTPPort: 8080}
	if change != nil {
		change(&options)
	}
	return NewPlanner(options)
}

func TestStage(t *testing.T) {
	const bios, x64, arm64, x64HTTP, arm64HTTP, itanium = machine.ArchBIOS, machine.ArchX64, machine.ArchARM64, machine.ArchX64HTTP, machine.ArchARM64HTTP, machine.Arch(2)
	request := func(mac machine.MAC, arches ...machine.Arch) Request {
		return Request{Machine: machine.Machine{MAC: mac}, Arches: arches, Server: server}
	}
	with := func(r Request, change func(*Request)) Request { change(&r); return r }
	tests := []struct {
		name    string
		request Request
		change  func(*Options)
		action  Action
		file    string
		reason  string // part of it
	}{
		{"BIOS", request(worker, bios), nil, Load, "m/52-54-00-00-00-01/undionly.kpxe", `group "worker"`},
		{"UEFI", request(worker, x64), nil, Load, "m/52-54-00-00-00-01/snponly.efi", ""},
		{"old VMware", request(worker, machine.ArchEBC), nil, Load, "m/52-54-00-00-00-01/snponly.efi", ""},
		{"arm64", request(worker, arm64), nil, Load, "m/52-54-00-00-00-01/grubaa64.efi", ""},
		{"UEFI HTTP", with(request(worker, x64HTTP), func(r *Request) { r.HTTPBoot = true }), nil, Load, "http://10.0.0.1:8080/m/52-54-00-00-00-01/snponly.efi", ""},
		{"arm64 HTTP with GRUB alone", with(request(worker, arm64HTTP), func(r *Request) { r.HTTPBoot = true }), nil, Refuse, "", "let the firmware boot by PXE"},
		{"Secure Boot by profile", request(secure, x64), nil, Load, "m/52-54-00-00-00-02/shimx64.efi", ""},
		{"Secure Boot over HTTP", with(request(secure, x64HTTP), func(r *Request) { r.HTTPBoot = true }), nil, Refuse, "", "cannot go on over HTTP"},
		{"shim for a BIOS", request(secure, bios), nil, Refuse, "", "there is no shim loader"},
		{"first known of several", request(worker, itanium, x64), nil, Load, "m/52-54-00-00-00-01/snponly.efi", ""},
		{"Itanium", request(worker, itanium), nil, Refuse, "", "2 (Itanium) is not served"},
		{"unregistered", request(worker, 4711), nil, Refuse, "", "4711 (not in the registry)"},
		{"no loader for it", request(worker, 6), nil, Refuse, "", "i386-efi"},
		{"no architecture", request(worker), nil, Refuse, "", "tells no architecture"},
		{"Raspberry Pi", request("dc:a6:32:00:00:01", bios), nil, Refuse, "", "Raspberry Pi"},
		{"Raspberry Pi with UEFI", request("dc:a6:32:00:00:01", arm64), nil, Load, "m/dc-a6-32-00-00-01/grubaa64.efi", ""},
		{"iPXE", with(request(worker, x64), func(r *Request) { r.IPXE, r.Capable = true, true }), nil, Script, "http://10.0.0.1:8080/m/52-54-00-00-00-01/boot.ipxe", ""},
		{"iPXE that cannot boot Linux", with(request(worker, bios), func(r *Request) { r.IPXE = true }), nil, Load, "tftp://10.0.0.1/m/52-54-00-00-00-01/undionly.kpxe", ""},
		{"stranger goes to its disk by a loader", request(stranger, x64), nil, Load, "m/52-54-00-00-00-99/snponly.efi", ""},
		{"stranger ignored", request(stranger, x64), func(o *Options) { o.Unmatched = UnmatchedIgnore }, Silence, "", "no group can match"},
		{"not ignored while facts are missing", request(serial, x64), func(o *Options) { o.Unmatched = UnmatchedIgnore }, Load, "m/52-54-00-00-00-04/snponly.efi", ""},
		{"machine's own file", request(worker, x64), func(o *Options) { o.Overrides = map[machine.MAC]Override{worker: {Loader: "special.efi"}} }, Load, "m/52-54-00-00-00-01/special.efi", ""},
		{"machine's own family", request(secure, x64), func(o *Options) { o.Overrides = map[machine.MAC]Override{secure: {Loader: "ipxe"}} }, Load, "m/52-54-00-00-00-02/snponly.efi", ""},
		{"nothing loaded", request(worker, x64), func(o *Options) { o.Catalog = fixed{} }, Load, "m/52-54-00-00-00-01/snponly.efi", "no site has been loaded"},
		{"advertised", with(request(worker, x64HTTP), func(r *Request) { r.HTTPBoot = true }), func(o *Options) { o.Advertise = "boot.example:80" }, Load, "http://boot.example/m/52-54-00-00-00-01/snponly.efi", ""},
	}
	c := loaded(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := newPlanner(c, tt.change).Stage(t.Context(), tt.request)
			if got.Action != tt.action || got.File != tt.file || !strings.Contains(got.Reason, tt.reason) || got.Reason == "" {
				t.Errorf("got action %d, file %q, reason %q\nwant action %d, file %q, reason with %q", got.Action, got.File, got.Reason, tt.action, tt.file, tt.reason)
			}
			if got.Server != server {
				t.Errorf("server %v", got.Server)
			}
		})
	}
}

func TestBaseURL(t *testing.T) {
	v6 := netip.MustParseAddr("fd00::1")
	for _, tt := range []struct {
		advertise string
		server    netip.Addr
		port      uint16
		want      string
	}{
		{"", server, 8080, "http://10.0.0.1:8080"},
		{"", netip.MustParseAddr("::ffff:10.0.0.1"), 80, "http://10.0.0.1"},
		{"", v6, 8080, "http://[fd00::1]:8080"},
		{"", v6, 80, "http://[fd00::1]"},
		{"10.0.0.2", server, 8080, "http://10.0.0.2:8080"},
		{"boot.example:80", server, 8080, "http://boot.example"},
		{"fd00::2", server, 8080, "http://[fd00::2]:8080"},
		{"[fd00::2]", server, 8080, "http://[fd00::2]:8080"},
		{"[fd00::2]:80", server, 8080, "http://[fd00::2]"},
	} {
		p := NewPlanner(Options{Advertise: tt.advertise, HTTPPort: tt.port})
		if got := p.BaseURL(tt.server); got != tt.want {
			t.Errorf("advertise %q, reached at %s port %d: %s, want %s", tt.advertise, tt.server, tt.port, got, tt.want)
		}
	}
}

func TestStageTriesTheNextLoaderAfterALoop(t *testing.T) {
	var log recorded
	loops := NewLoops(&log, nil)
	p := newPlanner(loaded(t), func(o *Options) { o.Loops = loops })
	request := Request{Machine: machine.Machine{MAC: worker}, Arches: []machine.Arch{machine.ArchX64}, Server: server}
	var got []string
	for range 3 {
		got = append(got, p.Stage(t.Context(), request).Loader)
		for range LoopDeliveries {
			loops.Record(event.Event{MAC: worker, Stage: event.LoaderSent})
		}
	}
	if want := "snponly.efi ipxe.efi snponly.efi"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// askAs is a question with the given labels.
func askAs(pairs ...string) Ask {
	labels := groups.Labels{}
	for i := 0; i < len(pairs); i += 2 {
		labels[pairs[i]] = pairs[i+1]
	}
	return Ask{Labels: labels, BaseURL: base}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name   string
		ask    Ask
		change func(*Options)
		do     Disposition
		kind   fault.Kind // of the error; Internal: none
		reason string
	}{
		{name: "match", ask: askAs("mac", worker.String()), do: Run, reason: `group "worker" gives profile "worker"`},
		{name: "more pairs win", ask: askAs("mac", worker.String(), "os", "installed"), do: Disk, reason: "no boot.kernel"},
		{name: "to disk", ask: askAs("mac", stranger.String()), do: Disk, reason: stranger.String()},
		{name: "hold", ask: askAs("mac", stranger.String()), change: func(o *Options) { o.Unmatched = UnmatchedHold }, do: Hold, reason: stranger.String()},
		{name: "ignore", ask: askAs("mac", stranger.String()), change: func(o *Options) { o.Unmatched = UnmatchedIgnore }, kind: fault.NotFound, reason: stranger.String()},
		{name: "nothing loaded", ask: askAs("mac", worker.String()), change: func(o *Options) { o.Catalog = fixed{} }, kind: fault.Unavailable, reason: "no site"},
		{name: "claimed serial", ask: askAs("mac", serial.String(), "serial", "s4"), do: Run, reason: `group "serial"`},
		{name: "known serial outranks the claim", ask: askAs("mac", serial.String(), "serial", "s4"), change: func(o *Options) {
			o.Machines.Pin(machine.Machine{MAC: serial, Serial: "other"})
		}, do: Disk, reason: "other"},
		{name: "found by its UUID", ask: askAs("uuid", "00112233-4455-6677-8899-aabbccddeeff"), change: func(o *Options) {
			o.Machines.Observe(machine.Machine{MAC: worker, UUID: "00112233-4455-6677-8899-aabbccddeeff"})
		}, do: Run, reason: `group "worker"`},
	}
	c := loaded(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := newPlanner(c, tt.change).Plan(t.Context(), tt.ask)
			if err != nil {
				if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("got %v (%v), want %v with %q", err, fault.KindOf(err), tt.kind, tt.reason)
				}
				return
			}
			if tt.kind != fault.Internal || plan.Do != tt.do || !strings.Contains(plan.Reason, tt.reason) {
				t.Errorf("got %d %q, want %d with %q", plan.Do, plan.Reason, tt.do, tt.reason)
			}
		})
	}
}

func TestExitMethodOfOneMachine(t *testing.T) {
	p := newPlanner(loaded(t), func(o *Options) {
		o.Exit = Exit0
		o.Overrides = map[machine.MAC]Override{stranger: {ExitMethod: HTTP404}}
	})
	plan, err := p.Plan(t.Context(), askAs("mac", "52:54:00:00:00:98"))
	if err != nil || plan.Exit != Exit0 {
		t.Errorf("default: %v, %v", plan, err)
	}
	var noMatch *catalog.NoMatch
	if _, err := p.BootScript(t.Context(), Ask{BaseURL: base}, stranger); !fault.Is(err, fault.NotFound) || !errors.As(err, &noMatch) {
		t.Errorf("http404: the script is still given: %v", err)
	}
	if _, err := p.BootScript(t.Context(), Ask{BaseURL: base}, worker); err != nil {
		t.Errorf("a wanted machine gets no script: %v", err)
	}
}

// TestHTTP404IsFinal: a machine that is to give up on a 404 must not be told to ask again after one.
func TestHTTP404IsFinal(t *testing.T) {
	for _, tt := range []struct {
		unmatched Unmatched
		exit      ExitMethod
		mac       machine.MAC
		again     bool
	}{
		{UnmatchedLocal, Exit1, "", true},
		{UnmatchedLocal, Exit1, serial, true},
		{UnmatchedHold, Exit1, "", true},
		{UnmatchedIgnore, Exit1, "", false},
		{UnmatchedLocal, HTTP404, "", false},
		{UnmatchedLocal, HTTP404, serial, false},
	} {
		p := newPlanner(loaded(t), func(o *Options) { o.Unmatched, o.Exit = tt.unmatched, tt.exit })
		script, err := p.BootScript(t.Context(), Ask{BaseURL: base}, tt.mac)
		if again := strings.Contains(string(script), "goto ask"); err != nil || again != tt.again {
			t.Errorf("%s, %s, machine %q: asks again %v, %v, want %v:\n%s", tt.unmatched, tt.exit, tt.mac, again, err, tt.again, script)
		}
	}
}

// TestPossibleInEitherByteOrder: firmware's UUID may have its first fields swapped; the group is not ruled out by that.
func TestPossibleInEitherByteOrder(t *testing.T) {
	index := groups.Build([]groups.Group{{ID: "g", Profile: "p", Selector: groups.Selector{"uuid": "00112233-4455-6677-8899-aabbccddeeff"}}})
	for uuid, want := range map[string]bool{
		"00112233-4455-6677-8899-aabbccddeeff": true, "33221100-5544-7766-8899-aabbccddeeff": true,
		"10112233-4455-6677-8899-aabbccddeeff": false, "other": false,
	} {
		if got := possible(index, groups.Labels{"uuid": uuid}); got != want {
			t.Errorf("%s: possible is %v, want %v", uuid, got, want)
		}
	}
}

func TestDocuments(t *testing.T) {
	p := newPlanner(loaded(t), nil)
	config, err := p.Ignition(t.Context(), askAs("mac", worker.String()))
	if err != nil || !strings.Contains(string(config.JSON), `"core"`) {
		t.Errorf("Ignition: %v, %v", config, err)
	}
	generic, err := p.Generic(t.Context(), askAs("mac", worker.String()))
	if err != nil || string(generic) != worker.String()+" metal" {
		t.Errorf("Generic: %q, %v", generic, err)
	}
	cloud, err := p.Cloud(t.Context(), askAs("mac", worker.String()))
	if err != nil || !strings.HasPrefix(string(cloud), "#cloud-config") {
		t.Errorf("Cloud: %q, %v", cloud, err)
	}
	if _, err := p.Metadata(t.Context(), askAs("mac", worker.String())); err != nil {
		t.Errorf("Metadata: %v", err)
	}
	for name, ask := range map[string]func() error{
		"Ignition": func() error { _, err := p.Ignition(t.Context(), askAs("mac", stranger.String())); return err },
		"Generic":  func() error { _, err := p.Generic(t.Context(), askAs()); return err },
		"Cloud":    func() error { _, err := p.Cloud(t.Context(), askAs()); return err },
		"Metadata": func() error { _, err := p.Metadata(t.Context(), askAs()); return err },
	} {
		if err := ask(); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s without a match: %v", name, err)
		}
	}
}
