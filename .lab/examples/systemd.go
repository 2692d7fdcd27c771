package examples

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/process"
	"github.com/matchd/matchd/lab/server"
)

//go:embed container
var containerProgram string

//go:embed kubectl
var kubectlProgram string

// statusBound is how long systemctl may take to tell what became of units when a test has failed.
const statusBound = 10 * time.Second

// hostUnits are the units of the host that a boot cannot do without.
var hostUnits = []string{
	"basic.target", "final.target", "local-fs.target", "multi-user.target", "network-online.target", "network.target", "paths.target",
	"poweroff.target", "shutdown.target", "slices.target", "sockets.target", "swap.target", "sysinit.target", "systemd-poweroff.service",
	"timers.target", "umount.target",
}

// Booted is a root file system that systemd runs in, with stand-ins for whatever would start a container.
type Booted struct {
	Root  string
	Calls *process.Output // one line for each call of a stand-in
	cmd   *exec.Cmd
	fifo  *os.File
	done  chan struct{}
}

// Boot runs systemd in a root file system that Ignition wrote, as at the first boot, where units are enabled by their presets. metadata is what
// the platform's metadata unit finds out; it names the machine late, as DHCP may.
func Boot(ctx context.Context, root, metadata string) (*Booted, error) {
	b := &Booted{Root: root, Calls: process.NewOutput(), done: make(chan struct{})}
	if err := b.furnish(metadata); err != nil {
		return nil, err
	}
	calls := filepath.Join(root, "calls")
	if err := syscall.Mkfifo(calls, 0o600); err != nil && !errors.Is(err, fs.ErrExist) { // it is there at a second boot
		return nil, err
	}
	var err error
	if b.fifo, err = os.OpenFile(calls, os.O_RDWR, 0); err != nil { // to write as well: it never ends
		return nil, err
	}
	b.cmd = exec.CommandContext(ctx, filepath.Join(cache.Root(), ".lab", "examples", "enter"), root)
	b.cmd.Stdout, b.cmd.Stderr = b.Calls, b.Calls // what goes wrong before systemd runs
	b.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		// Not cloned: the mounts of a cloned namespace would be shared with the machine's.
		Unshareflags: syscall.CLONE_NEWNS,
	}
	if err := b.cmd.Start(); err != nil {
		b.fifo.Close()
		return nil, err
	}
	go func() {
		defer close(b.done)
		_, _ = io.Copy(b.Calls, b.fifo) // until it is closed
	}()
	return b, nil
}

// furnish adds what the system brings.
func (b *Booted) furnish(metadata string) error {
	files := map[string]string{
		"etc/machine-id":  "uninitialized\n",
		"etc/resolv.conf": "nameserver 192.0.2.1\n",
		"metadata":        metadata,
		"usr/lib/systemd/system-preset/99-default.preset": "disable *\n",
	}
	files["usr/lib/systemd/system/booted.service"] = "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo booted >/calls'\n"
	files["usr/lib/systemd/system/multi-user.target.d/booted.conf"] = "[Unit]\nWants=booted.service\n"
	for _, name := range []string{"containerd", "docker"} {
		files["usr/lib/systemd/system/"+name+".service"] = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
	}
	for unit, file := range map[string]string{"afterburn": "afterburn", "coreos-metadata": "coreos"} {
		files["usr/lib/systemd/system/"+unit+".service"] = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/mkdir -p /run/metadata\n" +
			"ExecStart=/bin/cp /metadata /run/metadata/" + file + "\nExecStart=/bin/sh -c 'echo node-7 >/proc/sys/kernel/hostname'\n"
	}
	for _, name := range hostUnits {
		content, err := os.ReadFile(filepath.Join("/usr/lib/systemd/system", name))
		if err != nil {
			return err
		}
		files["usr/lib/systemd/system/"+name] = string(content)
	}
	for name, content := range files {
		if err := server.WriteFile(filepath.Join(b.Root, name), content); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{"podman": containerProgram, "docker": containerProgram, "kubectl": kubectlProgram, "curl": "#!/bin/sh\n"} {
		name = filepath.Join(b.Root, "usr/bin", name)
		if err := errors.Join(server.WriteFile(name, content), os.Chmod(name, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// Await waits for a call of a stand-in that has this text, and returns it. When the system is up it calls "booted".
func (b *Booted) Await(ctx context.Context, text string) (string, error) {
	call, err := b.Calls.Wait(ctx, text)
	if err != nil {
		// A context of its own: the caller's may be over.
		ctx, cancel := context.WithTimeout(context.Background(), statusBound)
		defer cancel()
		return "", fmt.Errorf("%w; calls:\n%s\nunits:\n%s", err, b.Calls.Tail(20, "  "), b.Systemctl(ctx, "status", "--no-pager", "*.service", "*.path"))
	}
	return call, nil
}

// Systemctl runs systemctl beside systemd and returns what it prints. Its exit status, which for many questions repeats the answer, is
// left out.
func (b *Booted) Systemctl(ctx context.Context, args ...string) string {
	enter := []string{"--target", strconv.Itoa(b.cmd.Process.Pid), "--mount", "--pid", "--root", "/usr/bin/systemctl"}
	output, _ := exec.CommandContext(ctx, "nsenter", append(enter, args...)...).CombinedOutput()
	return strings.TrimSpace(string(output))
}

// PowerOff lets systemd stop everything in order, and waits for its end. Then all calls have been read.
func (b *Booted) PowerOff(ctx context.Context) error {
	const powerOff = 34 + 4 // SIGRTMIN+4, see systemd(1)
	if err := b.cmd.Process.Signal(syscall.Signal(powerOff)); err != nil {
		return err
	}
	var ended *exec.ExitError
	if err := b.cmd.Wait(); err != nil && !errors.As(err, &ended) { // a namespace that is switched off ends by a signal
		return err
	}
	const last = "powered off"
	if _, err := fmt.Fprintln(b.fifo, last); err != nil {
		return err
	}
	_, err := b.Await(ctx, last)
	return errors.Join(err, b.clear())
}

// Kill ends systemd and all that it started, if it has not been powered off.
func (b *Booted) Kill() error {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	return b.clear()
}

// clear stops listening and removes the cgroups of what has ended.
func (b *Booted) clear() error {
	b.fifo.Close()
	<-b.done
	var groups []string
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		err := filepath.WalkDir(filepath.Join(hierarchy, filepath.Base(filepath.Dir(b.Root))), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	slices.Reverse(groups) // the innermost first
	for _, group := range groups {
		if err := os.Remove(group); err != nil {
			return err
		}
	}
	return nil
}
