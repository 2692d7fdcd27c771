package matchd_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/matchdtest"
)

// asMatchbox makes a daemon what "matchd serve --matchbox" is, with the state in the data directory.
func asMatchbox(cfg *matchd.Config) {
	cfg.Matchbox, cfg.Unmatched, cfg.StateDir = true, boot.UnmatchedIgnore, ""
	cfg.AssetsDir = filepath.Join(cfg.Site, "assets")
}

var matchboxFiles = map[string]string{
	"groups/node.json":   `{"id":"node","profile":"node","selector":{"mac":"52-54-00-00-00-01"}}`,
	"profiles/node.json": `{"id":"node","ignition_id":"node.ign","boot":{"kernel":"/assets/vmlinuz","initrd":["/assets/initrd"],"args":["initrd=initrd","ignition.config.url=${next-server}"]}}`,
	"ignition/node.ign":  `{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}`,
	"assets/vmlinuz":     "kernel", "assets/initrd": "initrd",
}

// TestMatchboxBoots: --matchbox with DHCP and TFTP asked for boots machines with matchbox's script.
func TestMatchboxBoots(t *testing.T) {
	loaders := t.TempDir()
	matchdtest.WriteFiles(t, loaders, map[string]string{"undionly.kpxe": "undi", "snponly.efi": "snp"})
	d := matchdtest.Start(t, matchdtest.Options{Files: matchboxFiles, Config: func(cfg *matchd.Config) {
		asMatchbox(cfg)
		cfg.LoadersDir = loaders
	}})
	for _, kind := range []firmware.Kind{firmware.BIOS, firmware.IPXEROM, firmware.OVMF, firmware.OVMFHTTP} {
		trace := d.Boots(t, firmware.Machine{Kind: kind, MAC: "52:54:00:00:00:01"}, dhcp.Proxy)
		if !trace.Booted || !strings.HasSuffix(trace.Kernel, "/assets/vmlinuz") || !strings.Contains(trace.Args, "initrd=initrd") {
			t.Errorf("%s: %s\n%v", kind, trace.Reason, trace.Steps)
		}
	}
	if trace := d.Boots(t, firmware.Machine{Kind: firmware.BIOS, MAC: "52:54:00:00:00:02"}, dhcp.Proxy); trace.Booted {
		t.Errorf("a stranger boots: %v", trace.Steps)
	}
}

// TestMatchboxWithoutState: where nothing can be written into the data directory it is served all the same, and what was kept elsewhere meanwhile is
// removed in the end.
func TestMatchboxWithoutState(t *testing.T) {
	files := map[string]string{".matchd": "a file where the directory would be, which stops root, too"}
	maps.Copy(files, matchboxFiles)
	d := matchdtest.Start(t, matchdtest.Options{Files: files, Config: func(cfg *matchd.Config) {
		asMatchbox(cfg)
		t.Setenv("TMPDIR", t.TempDir())
	}})
	if status, script := d.Get(t, "/ipxe?mac=52:54:00:00:00:01"); status != http.StatusOK {
		t.Errorf("%d %s", status, script)
	}
	if kept, err := filepath.Glob(filepath.Join(os.TempDir(), "matchd-*", "config.db")); err != nil || len(kept) != 1 {
		t.Errorf("%v, %v", kept, err)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
