package boot

import (
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

// The texts below are what matchbox v0.11.0 sends.
const (
	goldenIPXE = "#!ipxe\n" +
		"kernel /assets/vmlinuz initrd=main coreos.inst.ignition_url=http://m/ignition?uuid=${uuid}&mac=${mac:hexhyp}\n" +
		"initrd --name main http://m/initrd.img\n" +
		"initrd /assets/second\n" +
		"boot\n"
	goldenGRUB = `default=0
fallback=1
timeout=1
menuentry "CoreOS (EFI)" {
echo "Loading kernel"
linuxefi "/assets/vmlinuz" initrd=main coreos.inst.ignition_url=http://m/ignition?uuid=${uuid}&mac=${mac:hexhyp}
echo "Loading initrd"
initrdefi  "--name main http://m/initrd.img" "/assets/second"
}
menuentry "CoreOS (BIOS)" {
echo "Loading kernel"
linux "/assets/vmlinuz" initrd=main coreos.inst.ignition_url=http://m/ignition?uuid=${uuid}&mac=${mac:hexhyp}
echo "Loading initrd"
initrd  "--name main http://m/initrd.img" "/assets/second"
}
`
)

func TestMatchboxTexts(t *testing.T) {
	typhoon := profiles.Boot{
		Kernel: "/assets/vmlinuz", Initrd: []string{"--name main http://m/initrd.img", "/assets/second"},
		Args: []string{"initrd=main", "coreos.inst.ignition_url=http://m/ignition?uuid=${uuid}&mac=${mac:hexhyp}"},
	}
	empty := "#!ipxe\nkernel \nboot\n"
	for _, tt := range []struct{ name, got, want string }{
		{"iPXE", string(matchboxIPXE(typhoon)), goldenIPXE},
		{"GRUB", string(matchboxGRUB(typhoon)), goldenGRUB},
		{"a profile that boots nothing", string(matchboxIPXE(profiles.Boot{})), empty},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, tt.got, tt.want)
		}
	}
	if len(matchboxBootScript) != 132 {
		t.Errorf("the boot script has %d bytes, matchbox's has 132", len(matchboxBootScript))
	}
}

// TestMatchboxPlanner: scripts and labels are matchbox's, even where matchd's own plan would be refused or lead to the disk.
func TestMatchboxPlanner(t *testing.T) {
	p := NewPlanner(Options{
		Catalog: loaded(t), Machines: machine.NewRegistry(0), Loaders: allLoaders(), Matchbox: true, Unmatched: UnmatchedIgnore,
	})
	script, err := p.BootScript(t.Context(), Ask{BaseURL: "http://m"}, "")
	if err != nil || string(script) != matchboxBootScript {
		t.Errorf("boot script: %q, %v", script, err)
	}
	if own, err := p.BootScript(t.Context(), Ask{BaseURL: "http://m"}, worker); err != nil || string(own) == matchboxBootScript {
		t.Errorf("a machine that our DHCP serves is asked by its own script, which has absolute URLs: %q, %v", own, err)
	}
	plan, err := p.Plan(t.Context(), Ask{Labels: groups.Labels{"mac": diskOnly.String()}})
	if err != nil || plan.Do != Run || string(plan.IPXE()) != "#!ipxe\nkernel \nboot\n" {
		t.Errorf("a profile without a kernel: %v, %v", plan, err)
	}
	if labels := p.labels(Ask{Labels: groups.Labels{"platform": "efi"}}); len(labels) != 1 || labels["platform"] != "efi" {
		t.Errorf("labels %v, want the query's alone", labels)
	}
	p.opt.Machines.Pin(machine.Machine{MAC: worker, Labels: map[string]string{"role": "etcd"}})
	if labels := p.labels(Ask{Labels: groups.Labels{"mac": worker.String(), "role": "x"}}); labels["role"] != "etcd" {
		t.Errorf("labels %v, want what an operator set", labels)
	}
}
