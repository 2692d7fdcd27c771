package examples_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/examples"
)

func TestMain(m *testing.M) {
	if err := cache.Check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestAccepted has each config validated and applied by the Ignition that its system carries, and the units checked by systemd.
func TestAccepted(t *testing.T) {
	cases, err := examples.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Site+"/"+c.Group, func(t *testing.T) { accept(t, c) })
	}
}

func accept(t *testing.T, c *examples.Case) {
	t.Parallel()
	rendered, err := c.Render(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	name := filepath.Join(dir, "config.ign")
	if err := os.WriteFile(name, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(t.Context(), name); err != nil {
		t.Error(err)
	}
	root, err := c.Apply(t.Context(), dir, rendered)
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	checkTexts(t, c, root)
	checkNodes(t, config, root)
	for _, user := range config.Passwd.Users {
		keys, err := os.ReadFile(filepath.Join(root, "home", user.Name, ".ssh/authorized_keys.d/ignition"))
		if want := strings.Join(user.SSHAuthorizedKeys, "\n"); err != nil || !strings.Contains(string(keys), want) {
			t.Errorf("keys of %s are %q, want %q (%v)", user.Name, keys, want, err)
		}
	}
	if err := examples.VerifyUnits(t.Context(), root, config); err != nil {
		t.Error(err)
	}
}

// openDir returns a directory that other users can reach, other than t.TempDir's.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "examples")
	if err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// checkTexts compares what Ignition wrote with every text of the golden file.
func checkTexts(t *testing.T, c *examples.Case, root string) {
	t.Helper()
	for part, want := range c.Parts {
		path, isFile := strings.CutPrefix(part, "files")
		unit, isUnit := strings.CutPrefix(part, "units/")
		if isUnit {
			path = "/etc/systemd/system/" + unit
		}
		if !isFile && !isUnit {
			continue
		}
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Errorf("Ignition did not write %s: %v", path, err)
		} else if strings.TrimSuffix(string(got), "\n") != strings.TrimSuffix(want, "\n") {
			t.Errorf("Ignition wrote to %s\n%s\nwant\n%s", path, got, want)
		}
	}
}

// checkNodes compares modes and owners of files and directories. Without a mode a file gets 0644 and a directory 0755.
func checkNodes(t *testing.T, config *examples.Config, root string) {
	t.Helper()
	check := func(node examples.Node, mode fs.FileMode, isDir bool) {
		t.Helper()
		info, err := os.Lstat(filepath.Join(root, node.Path))
		if err != nil {
			t.Errorf("Ignition did not make %s: %v", node.Path, err)
			return
		}
		if node.Mode != nil {
			mode = *node.Mode
		}
		if info.Mode().Perm() != mode || info.IsDir() != isDir {
			t.Errorf("%s is %v, want %v", node.Path, info.Mode(), mode)
		}
		if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != node.User.ID || int(owner.Gid) != node.Group.ID {
			t.Errorf("%s belongs to %d:%d, want %d:%d", node.Path, owner.Uid, owner.Gid, node.User.ID, node.Group.ID)
		}
	}
	for _, file := range config.Storage.Files {
		check(file, 0o644, false)
	}
	for _, dir := range config.Storage.Directories {
		check(dir, 0o755, true)
	}
}
