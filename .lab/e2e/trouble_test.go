package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/server"
)

// TestFailureIsTold: a config that Ignition cannot carry out leaves the machine's own
// words on its timeline.
func TestFailureIsTold(t *testing.T) {
	l := newLab(t)
	site := server.Site(machine.BIOS, mac1, "db")
	// The group does not exist in the guest: valid for matchd, not for the machine.
	site["ignition/lab.bu"] = strings.Replace(server.Butane, "groups: [sudo]", "groups: [nobody-has-it]", 1)
	l.start(server.Options{Site: site, Config: server.Subnet})
	m := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1})
	r := l.result(m)
	if r.Fact("state") != "failed" {
		l.Fatalf("the machine says %q, want failed", r.Fact("state"))
	}
	event, err := l.server.WaitStage(l.ctx, mac1, "failed")
	if err != nil {
		l.Fatal(err)
	}
	if text := event.Message + event.Error; !strings.Contains(text, "ignition files exited") {
		l.Errorf("the event says %q, want the machine's words", text)
	}
}

// TestEditWhileServing: a broken edit of the site changes nothing, a good one reaches the
// next machine.
func TestEditWhileServing(t *testing.T) {
	l := newLab(t)
	site := server.Site(machine.BIOS, mac1, "db")
	l.start(server.Options{Site: site, Config: server.Subnet})
	edit := func(name, content string) {
		if err := server.WriteFile(l.dir+"/site/"+name, content); err != nil {
			l.Fatal(err)
		}
	}
	edit("profiles/guest.json", "{not json")
	if _, err := l.server.Output.Wait(l.ctx, "guest.json"); err != nil {
		l.Fatal(err)
	}
	m := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1})
	l.configured(m, l.result(m), "db")
}

// TestKilledMidBoot: matchd dies after a machine's kernel and before its initrd, and comes
// back; the machine asks again and boots, and nobody had to walk to it.
func TestKilledMidBoot(t *testing.T) {
	l := newLab(t)
	opts := server.Options{Dir: l.dir, Site: server.Site(machine.BIOS, mac1, "db"), Config: server.Subnet}
	first, err := server.Start(l.ctx, l.seg.Namespace, opts)
	if err != nil {
		l.Fatal(err)
	}
	m := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1})
	_, err = first.WaitStage(l.ctx, mac1, "kernel-sent")
	first.Kill()
	if err != nil {
		l.Fatal(err)
	}
	l.start(opts)
	r := l.result(m)
	if r.Fact("state") != "booted" {
		l.Fatalf("the machine says %q: %s", r.Fact("state"), r.Fact("error"))
	}
	if role, _ := r.Root("/etc/lab/role"); role.Content != "db" {
		l.Errorf("Ignition wrote %q, want db", role.Content)
	}
}

// TestMistakeIsAWait: a template that fails for one machine makes that machine wait, not
// give up; when the mistake is mended it goes on.
func TestMistakeIsAWait(t *testing.T) {
	l := newLab(t)
	site := server.Site(machine.BIOS, mac1, "db")
	// The group is found by MAC, so the UUID is not known before the machine asks and no
	// trial can warn of what only it brings about.
	broken := strings.Replace(server.Butane, "{{.role}}", `{{if eq (index .request.query "uuid") "`+uuid1+`"}}{{fail "mended soon"}}{{end}}`, 1)
	site["ignition/lab.bu"] = broken
	l.start(server.Options{Site: site, Config: server.Subnet})
	m := l.powerOn(machine.Spec{Firmware: machine.BIOS, MAC: mac1, UUID: uuid1})
	if _, err := l.server.WaitStage(l.ctx, mac1, "config-refused"); err != nil {
		l.Fatal(err)
	}
	if err := server.WriteFile(filepath.Join(l.dir, "site/ignition/lab.bu"), server.Butane); err != nil {
		l.Fatal(err)
	}
	l.configured(m, l.result(m), "db")
}

// TestMatchboxSite: a data directory as matchbox's users have it, with iPXE's variables in
// the arguments and no name of ours anywhere.
func TestMatchboxSite(t *testing.T) {
	for _, f := range []machine.Firmware{machine.BIOS, machine.SecureBoot} {
		t.Run(string(f), func(t *testing.T) {
			l := newLab(t)
			site := server.Site(f, mac1, "db")
			args := []string{"initrd=initrd", "panic=1", "console=" + f.Console(), "BOOTIF=01-${net0/mac:hexhyp}",
				"ignition.config.url=http://10.77.0.1:8080/ignition?uuid=${uuid}&mac=${mac:hexhyp}"}
			loader := map[string]any{}
			if f == machine.SecureBoot {
				loader["loader"] = "shim"
			}
			site["profiles/guest.json"] = server.ProfileWithArgs("guest", f, args, loader)
			l.start(server.Options{Site: site, Config: server.Subnet})
			m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1})
			r := l.result(m)
			l.configured(m, r, "db")
		})
	}
}

// TestConfigInInitrd: the config comes with the boot and is never asked for over HTTP.
func TestConfigInInitrd(t *testing.T) {
	// With UEFI the kernel itself puts the initrds together, and leaves no gap between them.
	for _, f := range []machine.Firmware{machine.BIOS, machine.UEFI, machine.SecureBoot} {
		t.Run(string(f), func(t *testing.T) {
			l := newLab(t)
			site := server.Site(f, mac1, "db")
			args := []string{"initrd=initrd", "panic=1", "console=" + f.Console(), "BOOTIF=01-${net0/mac:hexhyp}", "lab.base=${matchd:base-url}"}
			extra := map[string]any{"config": "initrd"}
			if f == machine.SecureBoot {
				extra["loader"] = "shim"
			}
			site["profiles/guest.json"] = server.ProfileWithArgs("guest", f, args, extra)
			l.start(server.Options{Site: site, Config: server.Subnet})
			m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1})
			r := l.result(m)
			l.configured(m, r, "db")
			if strings.Contains(r.Fact("cmdline"), "ignition.config.url") {
				l.Errorf("the command line has a config URL, which would outrank the initrd: %s", r.Fact("cmdline"))
			}
		})
	}
}
