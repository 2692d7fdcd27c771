package bootfile_test

import (
	"context"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

const (
	first  machine.MAC = "52:54:00:00:00:01"
	second machine.MAC = "52:54:00:00:00:02"
)

var (
	firstAddr = netip.MustParseAddr("10.0.0.1")
	strange   = netip.MustParseAddr("10.0.0.99")
)

// loaders has the files of one directory.
type loaders struct{ tree *assets.Tree }

func (l loaders) Open(name string) (assets.File, assets.Info, error) {
	if strings.Contains(name, "/") {
		return nil, assets.Info{}, fs.ErrNotExist
	}
	file, info, err := l.tree.OpenFold(name)
	if err != nil || file == nil {
		return nil, assets.Info{}, fs.ErrNotExist
	}
	return file, info, nil
}

// planner is a fake: it answers with what it was asked, and fails as told.
type planner struct{ err error }

func (p planner) BootScript(_ context.Context, ask boot.Ask, mac machine.MAC) ([]byte, error) {
	return []byte("script for " + string(mac) + " by " + ask.BaseURL), p.err
}

func (p planner) Plan(_ context.Context, ask boot.Ask) (*boot.Plan, error) {
	if p.err != nil {
		return nil, p.err
	}
	return &boot.Plan{
		Reason: "plan for " + ask.Labels["mac"], Kernel: "/assets/fcos//vmlinuz", BaseURL: ask.BaseURL,
		Initrds: []boot.Initrd{{Name: "main", URL: "http://10.0.0.254:8080/assets/fcos/initrd.img?x"}, {URL: "http://mirror.example/other"}},
		Group:   &groups.Group{ID: "g"}, Profile: &profiles.Profile{ID: "p"},
	}, nil
}

func (p planner) ConfigImage(_ context.Context, ask boot.Ask) (*boot.ConfigImage, error) {
	if p.err != nil {
		return nil, p.err
	}
	return &boot.ConfigImage{Image: []byte("config of " + ask.Labels["mac"]), Config: &boot.Config{Config: &render.Config{Version: "3.4.0", Digest: "d1"}}}, nil
}

func space(t *testing.T, p planner) *bootfile.Space {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"l/snponly.efi": "snponly", "l/undionly.kpxe": "undionly", "a/fcos/vmlinuz": "kernel", "a/fcos/initrd.img": "initrd", "a/other": "other"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree := func(sub string) *assets.Tree {
		tree, err := assets.OpenTree(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tree.Close() })
		return tree
	}
	machines := machine.NewRegistry(0)
	machines.Observe(machine.Machine{MAC: first, Address: firstAddr, UUID: "u-1"})
	return &bootfile.Space{Loaders: loaders{tree("l")}, Planner: p, Assets: tree("a"), Machines: machines, Roles: bootfile.NewRoles()}
}

func open(t *testing.T, s *bootfile.Space, name string, peer netip.Addr) (*bootfile.File, string, error) {
	t.Helper()
	file, err := s.Open(t.Context(), bootfile.Request{Name: name, Peer: netip.AddrPortFrom(peer, 2000), BaseURL: "http://10.0.0.254:8080", Fold: true})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = file.Body.Close() }()
	content, err := io.ReadAll(file.Body)
	if err != nil || int64(len(content)) != file.Size {
		t.Errorf("Open(%q) reads %d bytes, %v; its size is %d", name, len(content), err, file.Size)
	}
	return file, string(content), nil
}

func TestOpen(t *testing.T) {
	s := space(t, planner{})
	for _, tc := range []struct {
		name  string
		peer  netip.Addr
		want  string
		mac   machine.MAC
		stage event.Stage
		kind  string
	}{
		{"snponly.efi", firstAddr, "snponly", first, event.LoaderSent, bootfile.TypeEFI},
		{"/SNPONLY.EFI", strange, "snponly", "", event.LoaderSent, bootfile.TypeEFI},
		{"m/52-54-00-00-00-01/undionly.kpxe", firstAddr, "undionly", first, event.LoaderSent, bootfile.TypeBinary},
		{`\M\52:54:00:00:00:02//undionly.kpxe`, firstAddr, "undionly", second, event.LoaderSent, bootfile.TypeBinary},
		{"autoexec.ipxe", firstAddr, "script for  by http://10.0.0.254:8080", first, event.ScriptSent, bootfile.TypeScript},
		{"m/52-54-00-00-00-02/config.img", firstAddr, "config of " + string(second), second, event.ConfigSent, bootfile.TypeBinary},
		{"m/52-54-00-00-00-02/autoexec.ipxe", firstAddr, "script for " + string(second) + " by http://10.0.0.254:8080", second, event.ScriptSent, bootfile.TypeScript},
		{"grub/grub.cfg", firstAddr, boot.Trampoline, first, event.ScriptSent, bootfile.TypeScript},
		{"assets/other", firstAddr, "other", first, event.AssetSent, bootfile.TypeBinary},
		{"ASSETS/FCOS/VMLINUZ", strange, "kernel", "", event.AssetSent, bootfile.TypeBinary},
	} {
		file, got, err := open(t, s, tc.name, tc.peer)
		if err != nil {
			t.Errorf("Open(%q): %v", tc.name, err)
			continue
		}
		if got != tc.want || file.Event.MAC != tc.mac || file.Event.Stage != tc.stage || file.Type != tc.kind {
			t.Errorf("Open(%q) = %q, %s for %q as %s\nwant %q, %s for %q as %s", tc.name, got, file.Event.Stage, file.Event.MAC, file.Type, tc.want, tc.stage, tc.mac, tc.kind)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s := space(t, planner{})
	for _, name := range []string{
		"", "/", "nothing.efi", "m/52-54-00-00-00-01", "m/52-54-00-00-00-01/", "m/52-54-00-00-00-01/nothing", "m/zz/snponly.efi",
		"assets", "assets/", "assets/fcos", "../etc/passwd", "m/52-54-00-00-00-01/../../../etc/passwd", "assets/../../l/snponly.efi", "a\x00b", "config.img",
	} {
		if _, got, err := open(t, s, name, firstAddr); !fault.Is(err, fault.NotFound) {
			t.Errorf("Open(%q) = %q, %v; want not found", name, got, err)
		}
	}
}

func TestGRUBPlanTeachesRoles(t *testing.T) {
	s := space(t, planner{})
	for _, name := range []string{"m/52-54-00-00-00-02/grub.cfg", "m/52-54-00-00-00-02/grub/grub.cfg", "grub/grub.cfg-01-52-54-00-00-00-02"} {
		file, got, err := open(t, s, name, strange)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, "plan for "+string(second)) || file.Event.Attrs[event.AttrProfile] != "p" || file.Event.MAC != second {
			t.Errorf("%s is %q with event %+v", name, got, file.Event)
		}
	}
	// The fetches that follow come from the same address and no longer say whose they are.
	for name, want := range map[string]event.Stage{"assets/fcos/vmlinuz": event.KernelSent, "assets/fcos/initrd.img": event.InitrdSent, "assets/other": event.AssetSent} {
		file, _, err := open(t, s, name, strange)
		if err != nil {
			t.Fatal(err)
		}
		if file.Event.Stage != want || file.Event.MAC != second {
			t.Errorf("%s is %s for %q, want %s for %s", name, file.Event.Stage, file.Event.MAC, want, second)
		}
	}
}

func TestAddressOfAKnownMachineStays(t *testing.T) {
	s := space(t, planner{})
	if _, _, err := open(t, s, "m/52-54-00-00-00-02/snponly.efi", firstAddr); err != nil {
		t.Fatal(err)
	}
	if mac := s.Whose("assets/other", firstAddr); mac != first {
		t.Errorf("address %v is now %q's, want %q's", firstAddr, mac, first)
	}
}

func TestPlannerFailures(t *testing.T) {
	down := space(t, planner{err: fault.New(fault.Unavailable, "secret: catalog not loaded")})
	file, got, err := open(t, down, "m/52-54-00-00-00-01/grub.cfg", firstAddr)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "secret") || !strings.Contains(got, "asking again") || file.Event.Stage != event.Error {
		t.Errorf("GRUB gets %q with event %+v, want a config that asks again", got, file.Event)
	}
	if _, _, err := open(t, down, "autoexec.ipxe", firstAddr); !fault.Is(err, fault.Unavailable) {
		t.Errorf("script: %v, want unavailable", err)
	}
	none := space(t, planner{err: fault.New(fault.NotFound, "no group")})
	if _, _, err := open(t, none, "m/52-54-00-00-00-01/grub.cfg", firstAddr); !fault.Is(err, fault.NotFound) {
		t.Errorf("GRUB config of a machine that shall get nothing: %v, want not found", err)
	}
}

func TestRolesAreBounded(t *testing.T) {
	r := bootfile.NewRoles()
	plan, err := planner{}.Plan(t.Context(), boot.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	r.Learn("", plan)
	if e := r.Event("", "fcos/vmlinuz"); e.Stage != event.AssetSent {
		t.Errorf("nobody's asset is %s", e.Stage)
	}
	if e := r.Event("", ""); e.Stage != event.AssetSent {
		t.Errorf("no asset is %s", e.Stage)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add("m/52-54-00-00-00-01/snponly.efi")
	f.Add(`assets\..\..\l\snponly.efi`)
	f.Add("grub/grub.cfg-01-525400000001")
	s := &bootfile.Space{Loaders: none{}, Planner: planner{}, Machines: machine.NewRegistry(16), Roles: bootfile.NewRoles()}
	f.Fuzz(func(t *testing.T, name string) {
		file, err := s.Open(t.Context(), bootfile.Request{Name: name, Peer: netip.AddrPortFrom(strange, 1)})
		if err != nil && !fault.Is(err, fault.NotFound) {
			t.Errorf("Open(%q): %v", name, err)
		}
		if err == nil && file.Type != bootfile.TypeScript {
			t.Errorf("Open(%q) opens %s", name, file.Name)
		}
	})
}

type none struct{}

func (none) Open(string) (assets.File, assets.Info, error) { return nil, assets.Info{}, fs.ErrNotExist }
