package e2e_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/server"
)

// TestUnmatchedByGRUB: firmware that goes nowhere after iPXE is helped by GRUB, which
// finds the disk's own boot loader.
func TestUnmatchedByGRUB(t *testing.T) {
	l := newLab(t)
	l.start(server.Options{Site: server.Site(machine.UEFI, mac2, "db"), Config: server.Subnet + "exit_method: grub-find\n"})
	l.fromDisk(machine.UEFI, "disk/uefi.img")
	timeline, err := l.server.Timeline(l.ctx, mac1)
	if err != nil {
		l.Fatal(err)
	}
	if text := timeline.String(); !strings.Contains(text, "grubx64.efi") || !strings.Contains(text, "GRUB config: no group") {
		l.Errorf("GRUB did not lead to the disk:\n%s", text)
	}
}
