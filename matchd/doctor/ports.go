package doctor

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// tcpListen is the state of a listening TCP socket in /proc/net/tcp.
const tcpListen = "0A"

// maxProcesses bounds the search for a socket's owner.
const maxProcesses = 65536

// socket is a bound UDP or listening TCP socket of the host.
type socket struct {
	network string // "udp" or "tcp"
	local   netip.AddrPort
	inode   string
}

// owner is the process that holds a socket.
type owner struct {
	pid  int
	name string
}

func (o owner) String() string {
	if o.pid == 0 {
		return "another program"
	}
	return fmt.Sprintf("%s (process %d)", o.name, o.pid)
}

// checkPorts reports every listener of ours whose port somebody else holds, by name where /proc tells it.
func checkPorts(_ context.Context, o *Options) []Finding {
	if len(o.Listeners) == 0 {
		return nil
	}
	sockets, err := readSockets(o.System.Files)
	if err != nil {
		return []Finding{{ID: "port.taken", Severity: Info, Subject: "ports", What: "cannot tell which ports are taken: " + err.Error()}}
	}
	var findings []Finding
	for _, l := range o.Listeners {
		i := slices.IndexFunc(sockets, func(s socket) bool { return l.collides(s) })
		if i < 0 {
			findings = append(findings, Finding{ID: "port.free", Severity: OK, Subject: l.subject(), What: "is free for " + l.Name})
			continue
		}
		by := findOwner(o.System.Files, sockets[i].inode)
		if by.pid != 0 && by.pid == o.System.PID {
			findings = append(findings, Finding{ID: "port.free", Severity: OK, Subject: l.subject(), What: "is ours, for " + l.Name})
			continue
		}
		findings = append(findings, l.taken(sockets[i], by))
	}
	return findings
}

func (l Listener) subject() string { return l.Network + " " + l.Addr.String() }

// collides reports whether s keeps l from being bound: same port, and the same or an unspecified address on either side.
func (l Listener) collides(s socket) bool {
	if l.Network != s.network || l.Addr.Port() != s.local.Port() || l.Addr.Port() == 0 {
		return false
	}
	ours, theirs := l.Addr.Addr().Unmap(), s.local.Addr().Unmap()
	if ours.IsUnspecified() || !ours.IsValid() || theirs.IsUnspecified() {
		return true
	}
	return ours == theirs
}

// taken is the finding about s in the way of l.
func (l Listener) taken(s socket, by owner) Finding {
	f := Finding{ID: "port.taken", Severity: Error, Subject: l.subject(), What: fmt.Sprintf("%s has %s, which %s needs", by, s.local, l.Name)}
	switch {
	case by.name == "matchd":
		f.Severity = Info
		f.What = fmt.Sprintf("a running %s has it; a second one cannot start beside it", by)
	case l.PerInterface:
		f.Severity = Warn
		f.Next = "make sure it serves other interfaces than these, or stop it: two programs would answer the same machines"
	case by.pid != 0:
		f.Next = fmt.Sprintf("stop %s, or move %s to another port", by.name, l.Name)
	default:
		f.Next = fmt.Sprintf("find it with `ss -lnp sport = :%d` as root, and stop it or move %s to another port", l.Addr.Port(), l.Name)
	}
	return f
}

// readSockets reads the socket tables of this network namespace.
func readSockets(root fs.FS) ([]socket, error) {
	var sockets []socket
	tables := 0
	for _, name := range []string{"udp", "udp6", "tcp", "tcp6"} {
		f, err := root.Open("proc/self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		tables++
		found, err := parseSockets(f, strings.TrimSuffix(name, "6"))
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("reading /proc/self/net/%s: %w", name, err)
		}
		sockets = append(sockets, found...)
	}
	if tables == 0 {
		return nil, errors.New("/proc/self/net has no socket tables")
	}
	return sockets, nil
}

// parseSockets parses a table such as /proc/net/udp: a header, then "sl local remote state … inode …" with addresses in
// hexadecimal, each 32-bit word in the host's byte order.
func parseSockets(r io.Reader, network string) ([]socket, error) {
	const local, state, inode = 1, 3, 9
	var sockets []socket
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) <= inode || !strings.Contains(fields[local], ":") || fields[0] == "sl" {
			continue
		}
		if network == "tcp" && fields[state] != tcpListen {
			continue
		}
		addr, err := parseSocketAddr(fields[local])
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, socket{network: network, local: addr, inode: fields[inode]})
	}
	return sockets, lines.Err()
}

func parseSocketAddr(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no socket address", s)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no socket address", s)
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// findOwner looks for the process that holds the socket's inode. Other users' processes show their sockets to root only, so the
// zero owner is a normal answer.
func findOwner(root fs.FS, inode string) owner {
	want := "socket:[" + inode + "]"
	procs, err := fs.ReadDir(root, "proc")
	if err != nil {
		return owner{}
	}
	for i, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || i > maxProcesses {
			continue
		}
		dir := path.Join("proc", p.Name())
		if holds(root, path.Join(dir, "fd"), want) {
			comm, _ := fs.ReadFile(root, path.Join(dir, "comm")) // gone with its process: the number still helps
			return owner{pid: pid, name: strings.TrimSpace(string(comm))}
		}
	}
	return owner{}
}

func holds(root fs.FS, dir, want string) bool {
	fds, err := fs.ReadDir(root, dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(fd fs.DirEntry) bool {
		target, err := fs.ReadLink(root, path.Join(dir, fd.Name()))
		return err == nil && target == want
	})
}
