package boot

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/profiles"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const base = "http://10.0.0.1:8080"

// ask is the question of one virtual machine's iPXE.
func ask() Ask {
	return Ask{
		Labels:   groups.Labels{"mac": "52:54:00:00:00:01", "uuid": "u-1", "product": "Node 1 & more", "asset": ""},
		RawQuery: "mac=52-54-00-00-00-01&uuid=u-1&product=Node%201%20%26%20more&asset=",
		BaseURL:  base,
	}
}

func coreOS() profiles.Boot {
	return profiles.Boot{
		Kernel: "/assets/fcos/vmlinuz",
		Initrd: []string{"--name main /assets/fcos/initrd.img"},
		Args: []string{
			"initrd=main", "coreos.live.rootfs_url=" + BaseURL + "/assets/fcos/rootfs.img", "ignition.firstboot",
			"ignition.platform.id=metal", "ignition.config.url=" + ConfigURL,
		},
	}
}

func TestPlanScripts(t *testing.T) {
	tests := []struct {
		name   string
		boot   profiles.Boot
		config profiles.ConfigMode
		plan   *Plan // instead of boot
	}{
		{name: "coreos", boot: coreOS()},
		{name: "typhoon", boot: profiles.Boot{
			Kernel: "http://mirror.example/vmlinuz", Initrd: []string{"http://mirror.example:81/a/initrd.cpio.gz?x=1"},
			Args: []string{"initrd=main", "coreos.inst.ignition_url=http://10.0.0.1:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}", "console=ttyS0"},
		}},
		{name: "unnamed", boot: profiles.Boot{
			Kernel: base + "/assets/vmlinuz", Initrd: []string{"/assets/a.img", "--name second /assets/b.img", "/assets/c.img"},
			Args: []string{"quiet", "initrd=second", "note=it's ${net0/mac} of ${serial} $HOME ${unknown}"},
		}},
		{name: "config-in-initrd", config: profiles.ConfigInitrd, boot: coreOS()},
		{name: "kernel-only", boot: profiles.Boot{Kernel: "/assets/vmlinuz"}},
		{name: "disk", plan: &Plan{Do: Disk, Exit: Exit1, BaseURL: base, Reason: "no group matches; nearest ${x} || exit\nnow"}},
		{name: "disk-exit0", plan: &Plan{Do: Disk, Exit: Exit0, BaseURL: base, Reason: "no group"}},
		{name: "disk-sanboot", plan: &Plan{Do: Disk, Exit: Sanboot, BaseURL: base, Reason: "no group"}},
		{name: "disk-grub-find", plan: &Plan{Do: Disk, Exit: GRUBFind, BaseURL: base, Reason: "no group"}},
		{name: "hold", plan: &Plan{Do: Hold, BaseURL: base, Query: "mac=52-54-00-00-00-01", Reason: "no group yet"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan := tt.plan
			if plan == nil {
				plan = mustPlan(t, tt.boot, tt.config)
			}
			golden(t, tt.name+".ipxe", plan.IPXE())
			golden(t, tt.name+".grub", plan.GRUB())
		})
	}
}

func mustPlan(t *testing.T, boot profiles.Boot, config profiles.ConfigMode) *Plan {
	t.Helper()
	plan, err := newPlan(ask(), ask().Labels, &groups.Group{ID: "rack"}, &profiles.Profile{ID: "worker", Boot: boot, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	return &plan
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestNewPlanRefuses(t *testing.T) {
	tests := []struct {
		name string
		boot profiles.Boot
		want string
	}{
		{"no kernel", profiles.Boot{Initrd: []string{"/assets/a"}}, `profile "worker" has boot.initrd or boot.args but no boot.kernel`},
		{"empty initrd", profiles.Boot{Kernel: "/k", Initrd: []string{" "}}, `profile "worker": boot.initrd " ": want "URL" or "--name NAME URL"`},
		{"two URLs", profiles.Boot{Kernel: "/k", Initrd: []string{"/a /b"}}, `profile "worker": boot.initrd "/a /b": want "URL" or "--name NAME URL"`},
		{"name without URL", profiles.Boot{Kernel: "/k", Initrd: []string{"--name main"}}, `profile "worker": boot.initrd "--name main": want "URL" or "--name NAME URL"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newPlan(ask(), nil, &groups.Group{ID: "g"}, &profiles.Profile{ID: "worker", Boot: tt.boot})
			if err == nil || err.Error() != tt.want || !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestBootScript(t *testing.T) {
	golden(t, "boot.ipxe", bootScript(base, "", true))
	golden(t, "boot-machine.ipxe", bootScript(base, "52:54:00:00:00:01", true))
	golden(t, "boot-once.ipxe", bootScript(base, "", false))
}

// FuzzGRUBArg holds that no argument can end its word and start a command of its own.
func FuzzGRUBArg(f *testing.F) {
	for _, seed := range []string{"", "quiet", "a b", "it's", "${uuid}", "x=${mac:hexhyp};reboot", "${", "}", "'; halt; '", "${a'b}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if rest := grubWord(t, grubArg(arg)); rest != "" {
			t.Errorf("%q is written as %q: %q stands outside of the word", arg, grubArg(arg), rest)
		}
	})
}

// grubWord removes quoted stretches as GRUB's lexer reads them and returns what is left unquoted.
func grubWord(t *testing.T, s string) string {
	var outside strings.Builder
	for len(s) > 0 {
		switch s[0] {
		case '\'', '"':
			end := strings.IndexByte(s[1:], s[0])
			if end < 0 {
				t.Fatalf("unbalanced quote in %q", s)
			}
			s = s[end+2:]
		case '\\':
			s = s[2:]
		default:
			outside.WriteByte(s[0])
			s = s[1:]
		}
	}
	return outside.String()
}

// TestEchoedTextIsOneEcho plays hostile labels, which reasons quote, through iPXE's way to find the end of a command.
func TestEchoedTextIsOneEcho(t *testing.T) {
	for _, hostile := range []string{
		"x ; chain http://evil/", "x || chain http://evil/", "x && reboot", "x\n\nchain http://evil/", "x\t;\tchain http://evil/", "x # cut", "; reboot", "${uuid}", "$${uuid}",
	} {
		plan := Plan{Do: Disk, Reason: "got " + hostile + " here"}
		lines := strings.Split(string(plan.IPXE()), "\n")
		if want := []string{"#!ipxe", lines[1], "exit 1", ""}; !slices.Equal(lines, want) {
			t.Errorf("%q: the script is %q", hostile, lines)
		}
		for _, word := range strings.Fields(lines[1]) {
			if word == ";" || word == "||" || word == "&&" || strings.HasPrefix(word, "#") || strings.Contains(word, "${") {
				t.Errorf("%q: the echo is %q", hostile, lines[1])
			}
		}
	}
}
