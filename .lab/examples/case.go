// Package examples gives the example sites' rendered configs to the real programs that read them: the Ignition release that a system
// carries, its validator, and systemd.
//
// The cases are the golden files of the main module's tests, each of which begins with the command that renders it: what a case asserts
// is therefore what `matchd render` prints, applied to an empty root file system.
package examples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/server"
)

// Case is one group of one example: the command that shows what its machine gets, and what that is.
type Case struct {
	Site, Group string
	// Command is "matchd render …", to be run by a shell in the checkout.
	Command string
	// Parts are the texts in the config: files/PATH, units/NAME, units/NAME.d/DROPIN, and config.json for the rest.
	Parts map[string]string
}

// Cases reads the golden files. Examples without an Ignition config are left out.
func Cases() ([]*Case, error) {
	names, err := filepath.Glob(filepath.Join(cache.Root(), "matchd", "testdata", "examples", "*", "*.txt"))
	if err != nil {
		return nil, err
	}
	var cases []*Case
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		c := &Case{Site: filepath.Base(filepath.Dir(name)), Group: strings.TrimSuffix(filepath.Base(name), ".txt"), Parts: map[string]string{}}
		c.read(string(content))
		if c.Parts["config.json"] != "" {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, errors.New("no golden files: go test ./matchd -run Golden -update writes them")
	}
	return cases, nil
}

// read takes a golden file apart, which is a txtar archive.
func (c *Case) read(content string) {
	c.Command, content, _ = strings.Cut(content, "\n")
	part := ""
	for line := range strings.Lines(content) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && strings.HasSuffix(line, " --\n") {
			part = name
			continue
		}
		if part != "" {
			c.Parts[part] += line
		}
	}
}

// System is the directory of .lab/ignition that pins the Ignition of the case's system.
func (c *Case) System() string {
	if strings.Contains(c.Site, "flatcar") {
		return "flatcar"
	}
	return "fedora-coreos"
}

// Render runs the command and returns the config as a machine would be sent it.
func (c *Case) Render(ctx context.Context) ([]byte, error) {
	binary, err := server.Binary()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", `matchd() { "$MATCHD_BINARY" "$@"; }; `+c.Command+" -o ignition")
	cmd.Dir = cache.Root()
	cmd.Env = append(os.Environ(), "MATCHD_BINARY="+binary)
	config, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("%s: %w\n%s", c.Command, err, failed.Stderr)
	}
	return config, err
}

// Validate returns what the system's ignition-validate has to say of a config: nothing, if all is well.
func (c *Case) Validate(ctx context.Context, config string) error {
	output, err := exec.CommandContext(ctx, cache.Path("ignition", c.System()+"-validate"), config).CombinedOutput()
	if err != nil || len(output) > 0 {
		return fmt.Errorf("ignition-validate: %w\n%s", err, output)
	}
	return nil
}

// maxLog is how much of Ignition's log, in bytes from its end, is told when it fails. Before that it logs whole configs.
const maxLog = 1500

// skeleton is what every system has before Ignition runs.
var skeleton = map[string]string{
	"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\n",
	"etc/shadow":     "root:*:19000:0:99999:7:::\n",
	"etc/group":      "root:x:0:\nsudo:x:27:\nwheel:x:10:\nadm:x:4:\n",
	"etc/gshadow":    "root:*::\nsudo:*::\nwheel:*::\nadm:*::\n",
	"etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nENCRYPT_METHOD SHA512\nCREATE_HOME yes\n",
}

// Apply lets the system's Ignition fetch a config and write it to a root file system, in a new directory below dir, as its initrd does at the
// first boot: the stages fetch-offline, fetch and files. Others must be able to reach dir: Ignition writes users' keys as these users.
func (c *Case) Apply(ctx context.Context, dir string, config []byte) (root string, err error) {
	root = filepath.Join(dir, "root")
	for name, content := range skeleton {
		if err := server.WriteFile(filepath.Join(root, name), content); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"etc/skel", "home", "root", "var/home", "usr/lib", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return "", err
		}
	}
	if err := server.WriteFile(filepath.Join(dir, "base", "user.ign"), string(config)); err != nil {
		return "", err
	}
	for _, stage := range []string{"fetch-offline", "fetch", "files"} {
		cmd := exec.CommandContext(ctx, cache.Path("ignition", c.System()), "--platform=metal", "--root="+root, "--stage="+stage, "--log-to-stdout",
			"--config-cache="+filepath.Join(dir, "ignition.json"), "--state-file="+filepath.Join(dir, "state"), "--neednet="+filepath.Join(dir, "neednet"))
		cmd.Env = append(os.Environ(), "IGNITION_SYSTEM_CONFIG_DIR="+filepath.Join(dir, "base"))
		if output, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("ignition, stage %s: %w\n%s", stage, err, output[max(0, len(output)-maxLog):])
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "neednet")); err == nil {
		return "", errors.New("ignition wants a network: the config refers to other places")
	}
	return root, nil
}

// Config is what config.json says besides the contents of files and units.
type Config struct {
	Passwd struct {
		Users []struct {
			Name              string
			SSHAuthorizedKeys []string
		}
	}
	Storage struct {
		Directories []Node
		Files       []Node
	}
	Systemd struct {
		Units []Unit
	}
}

// Node is a file or a directory.
type Node struct {
	Path  string
	Mode  *fs.FileMode
	User  struct{ ID int }
	Group struct{ ID int }
}

// Unit is a systemd unit.
type Unit struct {
	Name    string
	Enabled bool
	Mask    bool
	Dropins []struct{ Name string }
}

// Config decodes the case's config.json.
func (c *Case) Config() (*Config, error) {
	var config Config
	if err := json.Unmarshal([]byte(c.Parts["config.json"]), &config); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return &config, nil
}
