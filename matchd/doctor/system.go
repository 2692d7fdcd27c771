package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// commandGrace is how long a command that was told to stop may keep its output open.
const commandGrace = time.Second

// maxCommandOutput bounds what is read of a command's output, in bytes.
const maxCommandOutput = 16 << 20

// NIC is a network interface of the host.
type NIC struct {
	Name     string
	Up       bool           // switched on
	Running  bool           // and with a carrier
	Loopback bool           //
	Addrs    []netip.Prefix // IPv4 only: DHCP here is
}

// Clock is the state of the host's clock.
type Clock struct {
	Now          time.Time
	Synchronised bool // the kernel's clock is disciplined, by NTP or the like
}

// System is the host as the checks see it. Its functions may be called side by side.
type System struct {
	Files      fs.FS // the root directory; only /proc is read
	PID        int   // of this process: its own sockets are in nobody's way
	Interfaces func() ([]NIC, error)
	// Command returns a command's standard output. The error wraps [exec.ErrNotFound] where the command is not installed.
	Command func(ctx context.Context, name string, args ...string) ([]byte, error)
	Clock   func() (Clock, error)
	Space   func(dir string) (bytes uint64, err error) // free for an unprivileged user
	Probe   func(dir string) error                     // writes and removes a file in dir
}

// Host is the system that this process runs on.
func Host() *System {
	return &System{
		Files:      os.DirFS("/"),
		PID:        os.Getpid(),
		Interfaces: hostInterfaces,
		Command:    hostCommand,
		Clock:      hostClock,
		Space:      hostSpace,
		Probe:      hostProbe,
	}
}

func hostInterfaces() ([]NIC, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	nics := make([]NIC, 0, len(ifaces))
	for _, i := range ifaces {
		nic := NIC{
			Name:     i.Name,
			Up:       i.Flags&net.FlagUp != 0,
			Running:  i.Flags&net.FlagRunning != 0,
			Loopback: i.Flags&net.FlagLoopback != 0,
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("listing addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				nic.Addrs = append(nic.Addrs, p)
			}
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

// limitedBuffer keeps the first maxCommandOutput bytes and fails the command that writes more.
type limitedBuffer struct{ bytes []byte }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.bytes)+len(p) > maxCommandOutput {
		return 0, fmt.Errorf("more than %d bytes of output", maxCommandOutput)
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

func hostCommand(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		// An operator's PATH often lacks the administrator's directories.
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
	}
	var out, complaint limitedBuffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaint, commandGrace
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, firstLine(complaint.bytes))
	}
	return out.bytes, nil
}

func hostClock() (Clock, error) {
	clock := Clock{Now: time.Now()}
	var tx unix.Timex // Modes 0 only reads
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return clock, fmt.Errorf("asking the kernel: %w", err)
	}
	clock.Synchronised = state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
	return clock, nil
}

func hostSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil //nolint:gosec // a block size is positive
}

func hostProbe(dir string) error {
	f, err := os.CreateTemp(dir, ".matchd-doctor-*")
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("probe\n"))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// firstLine returns the first line of b, for an error message.
func firstLine(b []byte) string {
	for i, c := range b {
		if c == '\n' {
			return string(b[:i])
		}
	}
	return string(b)
}
