package examples

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/matchd/matchd/lab/server"
)

// Units and programs that the systems bring and Debian does not.
var (
	systemUnits = map[string]string{
		"afterburn.service":       "[Service]\nExecStart=/bin/true\n",
		"containerd.service":      "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
		"coreos-metadata.service": "[Service]\nExecStart=/bin/true\n",
		"docker.service":          "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
		"locksmithd.service":      "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
		"rpc-statd.service":       "[Service]\nExecStart=/bin/true\n",
		"sshd.socket":             "[Socket]\nListenStream=22\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
		"sshd@.service":           "[Service]\nExecStart=/bin/true\n",
	}
	systemPrograms = []string{"bin/sh", "bin/true", "bin/touch", "bin/rm", "bin/chmod", "usr/bin/curl", "usr/bin/docker", "usr/bin/podman"}
)

// dressUp adds what the system brings to a root file system: the host's systemd units, and stand-ins for other units and programs.
func dressUp(root string) error {
	units := filepath.Join(root, "usr/lib/systemd/system")
	if err := os.CopyFS(units, os.DirFS("/usr/lib/systemd/system")); err != nil {
		return fmt.Errorf("copying systemd's units: %w", err)
	}
	for name, content := range systemUnits {
		if err := os.WriteFile(filepath.Join(units, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	for _, name := range systemPrograms {
		if err := server.WriteFile(filepath.Join(root, name), ""); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// VerifyUnits lets systemd enable the units that a config enables and check every unit that the config has a part in. systemd logs what it
// passes over in a unit and goes on, so any word from it is an error.
func VerifyUnits(ctx context.Context, root string, config *Config) error {
	if err := dressUp(root); err != nil {
		return err
	}
	args := []string{"verify", "--man=no", "--root=" + root}
	for _, unit := range config.Systemd.Units {
		if !unit.Mask {
			args = append(args, unit.Name)
		}
	}
	if output, err := exec.CommandContext(ctx, "systemd-analyze", args...).CombinedOutput(); err != nil || len(output) > 0 {
		return fmt.Errorf("systemd-analyze %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	for _, unit := range config.Systemd.Units {
		if err := verifyEnabled(ctx, root, unit); err != nil {
			return err
		}
	}
	return nil
}

// verifyEnabled presets a unit, as systemd does at the first boot.
func verifyEnabled(ctx context.Context, root string, unit Unit) error {
	want := ""
	switch {
	case unit.Mask:
		want = "masked"
	case unit.Enabled:
		want = "enabled"
		if output, err := exec.CommandContext(ctx, "systemctl", "--root="+root, "preset", unit.Name).CombinedOutput(); err != nil {
			return fmt.Errorf("systemctl preset %s: %w\n%s", unit.Name, err, output)
		}
	default:
		return nil
	}
	// It exits with 1 for a masked unit, which is told by the word already.
	state, err := exec.CommandContext(ctx, "systemctl", "--root="+root, "is-enabled", unit.Name).Output()
	if got := strings.TrimSpace(string(state)); got != want {
		return fmt.Errorf("systemd says that %s is %s, not %s: %w", unit.Name, got, want, err)
	}
	return nil
}
