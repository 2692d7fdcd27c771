package e2e_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/server"
)

// pointed boots a machine whose profile has config: pointer, with these kernel arguments more, and asserts that Ignition followed the pointer: what it wrote came by
// HTTPS, for a ticket, from a server that it verified by the CA in the pointer.
func pointed(t *testing.T, f machine.Firmware, pointer string, args ...string) {
	t.Helper()
	l := newLab(t)
	site := server.Site(f, mac1, "db")
	extra := map[string]any{"config": "pointer"}
	if f == machine.SecureBoot {
		extra["loader"] = "shim"
	}
	args = append([]string{"initrd=initrd", "panic=1", "console=" + f.Console(), "BOOTIF=01-${net0/mac:hexhyp}", "lab.base=${matchd:base-url}"}, args...)
	site["profiles/guest.json"] = server.ProfileWithArgs("guest", f, args, extra)
	l.start(server.Options{Site: site, Config: server.Subnet})
	m := l.powerOn(machine.Spec{Firmware: f, MAC: mac1, UUID: uuid1, Serial: "LAB1"})
	r := l.result(m)
	timeline := l.configured(m, r, "db")

	sent := map[string]string{}
	for _, e := range timeline.Events {
		sent[e.Stage] += e.Message + "\n"
	}
	if !strings.Contains(sent["pointer-sent"], pointer) {
		l.Errorf("the timeline does not say %q:\n%s", pointer, timeline)
	}
	for line := range strings.Lines(sent["config-sent"]) {
		if !strings.Contains(line, "by HTTPS") {
			l.Errorf("a config was sent, and not by HTTPS: %s", line)
		}
	}
	log := r.Fact("ignition.log")
	if !strings.Contains(log, "https://10.77.0.1:8443/v1/ignition") {
		l.Errorf("Ignition did not fetch by HTTPS:\n%s", log)
	}
	for _, text := range []string{log, r.Fact("cmdline"), timeline.String(), strings.Join(l.server.Lines(), "\n")} {
		if strings.Contains(text, "Bearer") || strings.Contains(text, "m1.") {
			l.Errorf("the ticket shows:\n%s", text)
		}
	}
}

const (
	inInitrd = "sent the pointer in an initrd"
	byURL    = "sent the pointer that leads to"
)

// TestPointerInitrd: iPXE loads the pointer as one more initrd.
func TestPointerInitrd(t *testing.T) { pointed(t, machine.BIOS, inInitrd) }

// TestPointerInitrdUEFI: a UEFI kernel finds it by its name.
func TestPointerInitrdUEFI(t *testing.T) { pointed(t, machine.UEFI, inInitrd) }

// TestPointerURL: Ignition fetches the pointer by plain HTTP, and from there goes on by HTTPS.
func TestPointerURL(t *testing.T) {
	pointed(t, machine.BIOS, byURL, "ignition.config.url=${matchd:config-url}")
}

// TestPointerGRUB: with Secure Boot, GRUB loads the pointer by TFTP.
func TestPointerGRUB(t *testing.T) { pointed(t, machine.SecureBoot, inInitrd) }
