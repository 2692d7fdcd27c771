package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

var morning = time.Date(2026, 11, 23, 6, 0, 1, 0, time.UTC)

// newPointing returns what pointers are made with, at a time that the test can move.
func newPointing(t *testing.T) (*Pointing, *time.Time) {
	t.Helper()
	clock := morning
	secret, err := auth.NewSecret(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	tickets, err := auth.NewTickets(secret, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	return &Pointing{Tickets: tickets, Port: 8443, CA: func() []byte { return []byte("CA") }}, &clock
}

// pointed is a catalog with machines of which two have pointer profiles: worker, also by its UUID when installed, and secure, whose document is wrong.
func pointed() Catalog {
	owned := func(id string, selector groups.Selector) catalog.Owned[groups.Group] {
		return catalog.Owned[groups.Group]{Value: groups.Group{ID: id, Profile: id, Selector: selector}}
	}
	profile := func(id string, args ...string) catalog.Owned[profiles.Profile] {
		p := profiles.Profile{ID: id, Config: profiles.ConfigPointer, IgnitionID: id + ".yaml"}
		p.Boot = profiles.Boot{Kernel: "/assets/k", Args: args}
		return catalog.Owned[profiles.Profile]{Value: p}
	}
	document := func(id, hostname string) catalog.Owned[profiles.Template] {
		text := "variant: fcos\nversion: 1.4.0\nstorage: {files: [{path: /etc/hostname, mode: 0644, contents: {inline: '" + hostname + "'}}]}\n"
		return catalog.Owned[profiles.Template]{Value: profiles.Template{Kind: profiles.Ignition, Name: id + ".yaml", Content: []byte(text)}}
	}
	return fixed{catalog.NewSnapshot(catalog.Objects{
		Groups: []catalog.Owned[groups.Group]{
			owned("live", groups.Selector{"mac": worker.String()}),
			owned("installed", groups.Selector{"uuid": "5ebf2b1c-0000-4000-8000-000000000001", "os": "installed"}),
			owned("wrong", groups.Selector{"mac": secure.String()}),
		},
		Profiles: []catalog.Owned[profiles.Profile]{
			profile("live"), profile("installed", "ignition.config.url="+ConfigURL), profile("wrong"),
		},
		Templates: []catalog.Owned[profiles.Template]{
			document("live", "live"), document("installed", "{{.request.raw_query}} by {{.matchd.server.url}}"), document("wrong", "{{.nothing}}"),
		},
	}, catalog.Options{})}
}

// pointer takes a pointer config apart.
type pointer struct {
	Ignition struct {
		Config struct {
			Replace struct {
				Source      string
				HTTPHeaders []struct{ Name, Value string } `json:"httpHeaders"`
			}
		}
		Timeouts struct{ HTTPTotal int } `json:"timeouts"`
	}
}

func follow(t *testing.T, config *Config) (source, token string) {
	t.Helper()
	var p pointer
	if err := json.Unmarshal(config.JSON, &p); err != nil {
		t.Fatal(err)
	}
	headers := p.Ignition.Config.Replace.HTTPHeaders
	if !config.Pointer || len(headers) != 1 || headers[0].Name != "Authorization" {
		t.Fatalf("no pointer: %s", config.JSON)
	}
	token, ok := strings.CutPrefix(headers[0].Value, "Bearer ")
	if !ok || p.Ignition.Timeouts.HTTPTotal <= 0 {
		t.Fatalf("no pointer: %s", config.JSON)
	}
	return p.Ignition.Config.Replace.Source, token
}

func TestPointerLeadsToTheConfig(t *testing.T) {
	pointing, clock := newPointing(t)
	p := newPlanner(pointed(), func(o *Options) { o.Pointing = pointing })
	for _, question := range []Ask{
		askAs("mac", worker.String()),
		askAs("uuid", "5ebf2b1c-0000-4000-8000-000000000001", "os", "installed", "empty", ""),
	} {
		given, err := p.Ignition(t.Context(), question)
		if err != nil {
			t.Fatal(err)
		}
		source, token := follow(t, given)
		if source != "https://10.0.0.1:8443/v1/ignition" {
			t.Errorf("it leads to %s", source)
		}
		ticket, err := p.Redeem(token)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Ticketed(t.Context(), ticket, base)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Own(t.Context(), Ask{Labels: ticket.Labels, BaseURL: base, RawQuery: query(ticket.Labels)})
		if err != nil || !bytes.Equal(got.JSON, want.JSON) || got.Version != "3.3.0" {
			t.Errorf("%v:\n%s\nwant\n%s\n%v", question.Labels, got.JSON, want.JSON, err)
		}
		*clock = morning.Add(30 * time.Minute)
		again, err := p.Ignition(t.Context(), question)
		if err != nil || !bytes.Equal(again.JSON, given.JSON) || again.ETag() != given.ETag() {
			t.Errorf("half an hour later the pointer is another one: %v", err)
		}
		*clock = morning
	}
}

// TestPointerOutlivesARestart: DHCP told the machine's UUID, its GRUB asks by its address alone, and the server that is asked for the config
// knows nothing any more.
func TestPointerOutlivesARestart(t *testing.T) {
	pointing, _ := newPointing(t)
	machines := machine.NewRegistry(0)
	machines.Observe(machine.Machine{MAC: stranger, UUID: "5ebf2b1c-0000-4000-8000-000000000001"})
	before := newPlanner(pointed(), func(o *Options) { o.Pointing, o.Machines = pointing, machines })
	question := askAs("mac", stranger.String(), "os", "installed")
	given, err := before.Ignition(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	_, token := follow(t, given)
	after := newPlanner(pointed(), func(o *Options) { o.Pointing = pointing })
	ticket, err := after.Redeem(token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Ticketed(t.Context(), ticket, base); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := after.Ignition(t.Context(), question); !fault.Is(err, fault.NotFound) {
		t.Errorf("the test proves nothing: without the ticket it is %v", err)
	}
}

func TestPointerIsInTheInitrd(t *testing.T) {
	pointing, _ := newPointing(t)
	p := newPlanner(pointed(), func(o *Options) { o.Pointing = pointing })
	question := askAs("mac", worker.String())
	image, err := p.ConfigImage(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	given, err := p.Ignition(t.Context(), question)
	if err != nil || !image.Config.Pointer || !strings.Contains(unpack(t, image.Image), string(given.JSON)) {
		t.Errorf("%s: %v", unpack(t, image.Image), err)
	}
	if e := image.Event(); e.Stage != event.PointerSent || strings.Contains(e.Message+e.Attrs[event.AttrDigest], "m1.") {
		t.Errorf("event %+v", e)
	}
}

func TestPointerNeeds(t *testing.T) {
	pointing, _ := newPointing(t)
	with := func(o *Options) { o.Pointing = pointing }
	many := askAs("mac", worker.String(), "serial", strings.Repeat("x", auth.MaxTicket))
	for _, test := range []struct {
		name   string
		change func(*Options)
		ask    Ask
		kind   fault.Kind
		want   string
	}{
		{"HTTPS", nil, askAs("mac", worker.String()), fault.Unavailable, "set machine_https"},
		{"a config that renders", with, askAs("mac", secure.String()), fault.Unavailable, "nothing"},
		{"a match", with, askAs("mac", stranger.String()), fault.NotFound, "no group matches"},
		{"room in the ticket", with, many, fault.Invalid, "at most 4096"},
		{"a way to us", with, Ask{Labels: groups.Labels{"mac": worker.String()}}, fault.Internal, "how the machine reaches us"},
	} {
		p := newPlanner(pointed(), test.change)
		if _, err := p.Ignition(t.Context(), test.ask); !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	var bad *BadAsk
	if _, err := newPlanner(pointed(), with).Ignition(t.Context(), many); !errors.As(err, &bad) {
		t.Errorf("labels that fit into no ticket: %T", err)
	}
	p := newPlanner(pointed(), nil)
	if _, err := p.Plan(t.Context(), askAs("mac", worker.String())); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a script without HTTPS: %v", err)
	}
	if _, err := p.Redeem("m1.a.b"); !fault.Is(err, fault.Denied) {
		t.Errorf("a ticket without HTTPS: %v", err)
	}
	if _, err := newPlanner(fixed{}, with).Ticketed(t.Context(), auth.Ticket{}, base); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a ticket before anything is loaded: %v", err)
	}
}

// TestPointerPlans tells the two ways apart by the kernel arguments.
func TestPointerPlans(t *testing.T) {
	for _, test := range []struct {
		arg      string
		embedded bool
	}{
		{"quiet", true},
		{"ignition.config.url=http://elsewhere.example/ignition", true},
		{"ignition.config.url=" + ConfigURL, false},
		{"coreos.inst.ignition_url=" + ConfigURL, false},
		{"coreos.inst.ignition_url=" + base + "/ignition?uuid=${uuid}", false},
		{"ignition.config.url=" + BaseURL + "/ignition?mac=${mac:hexhyp}", false},
	} {
		plan := mustPlan(t, profiles.Boot{Kernel: "/assets/k", Args: []string{"console=ttyS0", test.arg}}, profiles.ConfigPointer)
		got := len(plan.Initrds) == 1 && plan.Initrds[0].Name == ConfigImageName
		if got != test.embedded {
			t.Errorf("%s: embedded %v, want %v", test.arg, got, test.embedded)
		}
		kept := strings.Contains(strings.Join(plan.Args, " "), "ignition")
		if kept == test.embedded {
			t.Errorf("%s: arguments %v", test.arg, plan.Args)
		}
	}
	boot := profiles.Boot{Kernel: "/assets/k", Args: []string{"quiet"}}
	pointing, initrd := mustPlan(t, boot, profiles.ConfigPointer), mustPlan(t, boot, profiles.ConfigInitrd)
	if diff := cmp.Diff(string(initrd.IPXE()), string(pointing.IPXE())); diff != "" {
		t.Errorf("the script differs from config: initrd (-initrd +pointer):\n%s", diff)
	}
	if diff := cmp.Diff(string(initrd.GRUB()), string(pointing.GRUB())); diff != "" {
		t.Errorf("the GRUB config differs from config: initrd (-initrd +pointer):\n%s", diff)
	}
}
