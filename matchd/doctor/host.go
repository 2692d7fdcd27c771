package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// Free space in the state directory below which the findings complain, in bytes.
const (
	tightSpace = 1 << 30
	noSpace    = 64 << 20
)

// Capabilities by their number in /proc/self/status (linux/capability.h).
const (
	capNetBindService = 10
	capNetRaw         = 13
)

// firstFreePort is the kernel's default for net.ipv4.ip_unprivileged_port_start.
const firstFreePort = 1024

// checkClock looks for a clock that TLS and timelines could not live with.
func checkClock(_ context.Context, o *Options) []Finding {
	clock, err := o.System.Clock()
	f := Finding{ID: "clock.time", Severity: OK, Subject: "clock", What: "is synchronised"}
	switch {
	case clock.Now.Before(o.BuildTime):
		f.Severity = Error
		f.What = fmt.Sprintf("says %s, before this program was built", clock.Now.UTC().Format("2006-01-02 15:04 MST"))
		f.Next = "set it, and start a time service such as chrony or systemd-timesyncd"
	case err != nil:
		f.Severity, f.What = Info, "cannot tell whether it is synchronised: "+err.Error()
	case !clock.Synchronised:
		f.Severity = Warn
		f.What = "is not synchronised"
		f.Next = "start a time service such as chrony or systemd-timesyncd: leases, timelines and TLS go by the clock"
	}
	return []Finding{f}
}

// checkState looks whether state can be kept.
func checkState(_ context.Context, o *Options) []Finding {
	if o.StateDir == "" {
		return nil
	}
	if err := o.System.Probe(o.StateDir); err != nil {
		return []Finding{unwritable(o, err)}
	}
	free, err := o.System.Space(o.StateDir)
	f := Finding{ID: "state.space", Severity: OK, Subject: o.StateDir}
	switch {
	case err != nil:
		f.Severity, f.What = Info, "is writable; cannot tell how much space is free: "+err.Error()
	case free < noSpace:
		f.Severity, f.What = Error, fmt.Sprintf("has %d MiB free, too little to keep leases", free>>20)
		f.Next = "free some space: a lease is written to disk before it is acknowledged"
	case free < tightSpace:
		f.Severity, f.What = Warn, fmt.Sprintf("has %d MiB free", free>>20)
		f.Next = "free some space before it runs out: leases and timelines are kept there"
	default:
		f.What = fmt.Sprintf("is writable, %d GiB free", free>>30)
	}
	return []Finding{f}
}

// unwritable judges a state directory that cannot be written. One that does not exist yet is created at start, if its parent allows.
func unwritable(o *Options, cause error) Finding {
	f := Finding{ID: "state.writable", Severity: Error, Subject: o.StateDir}
	if !errors.Is(cause, fs.ErrNotExist) {
		f.What = "cannot be written: " + cause.Error()
		f.Next = "make it writable for the daemon's user, or choose another state_dir"
		return f
	}
	if err := o.System.Probe(filepath.Dir(o.StateDir)); err != nil {
		f.What = "does not exist, and cannot be created: " + err.Error()
		f.Next = fmt.Sprintf("install -d -m 0700 %s, owned by the daemon's user", o.StateDir)
		return f
	}
	f.ID, f.Severity, f.What = "state.missing", OK, "does not exist yet and can be created"
	return f
}

// checkCapabilities looks whether this process may open low ports and the raw sockets that DHCP needs.
func checkCapabilities(_ context.Context, o *Options) []Finding {
	status, err := fs.ReadFile(o.System.Files, "proc/self/status")
	if err != nil {
		return []Finding{{ID: "capability.unknown", Severity: Info, Subject: "capabilities", What: "cannot tell: " + err.Error()}}
	}
	caps, ok := effectiveCapabilities(string(status))
	if !ok {
		return []Finding{{ID: "capability.unknown", Severity: Info, Subject: "capabilities", What: "cannot tell: no CapEff in /proc/self/status"}}
	}
	var lacking []string
	if needsLowPort(o) && caps&(1<<capNetBindService) == 0 {
		lacking = append(lacking, "CAP_NET_BIND_SERVICE (ports below 1024)")
	}
	if len(o.serving()) > 0 && caps&(1<<capNetRaw) == 0 {
		lacking = append(lacking, "CAP_NET_RAW (DHCP to machines without an address)")
	}
	if len(lacking) == 0 {
		return []Finding{{ID: "capability.enough", Severity: OK, Subject: "capabilities", What: "are sufficient"}}
	}
	return []Finding{{
		ID: "capability.missing", Severity: Error, Subject: "capabilities",
		What: "this process lacks " + strings.Join(lacking, " and "),
		Next: "start it by its systemd unit or as root; or setcap cap_net_bind_service,cap_net_raw+ep on the binary",
	}}
}

func effectiveCapabilities(status string) (caps uint64, ok bool) {
	for line := range strings.Lines(status) {
		if value, found := strings.CutPrefix(line, "CapEff:"); found {
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return caps, err == nil
		}
	}
	return 0, false
}

// needsLowPort reports whether a listener's port is reserved for privileged processes here.
func needsLowPort(o *Options) bool {
	first := uint64(firstFreePort)
	if text, err := fs.ReadFile(o.System.Files, "proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16); err == nil {
			first = n
		}
	}
	for _, l := range o.Listeners {
		if p := uint64(l.Addr.Port()); p != 0 && p < first {
			return true
		}
	}
	return false
}
