// Package doctor looks for what would stop a boot on this host before a machine finds it.
//
// [Run] checks listeners, interfaces, firewall, other DHCP servers, network boot programs, the site, the clock, the state
// directory and capabilities, and answers with findings; each that is not fine says what to do next. It changes nothing on the
// host except a probe file in the state directory that it removes at once. Everything it learns about the host comes through
// a [System], so every check is a function of its input.
package doctor

import (
	"context"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/profiles"
)

// DefaultTimeout bounds a [Run] whose options set no other.
const DefaultTimeout = 10 * time.Second

// Severity says how much a finding matters.
type Severity string

// Severities, the least first.
const (
	OK    Severity = "ok"
	Info  Severity = "info"  // worth knowing, or could not be looked at
	Warn  Severity = "warn"  // some machines, or some day, will not boot
	Error Severity = "error" // no machine will boot, or the daemon will not start
)

var ranks = map[Severity]int{OK: 0, Info: 1, Warn: 2, Error: 3}

// Finding is the result of one check on one subject.
type Finding struct {
	ID       string   `json:"id"`             // stable, such as "port.taken"
	Severity Severity `json:"severity"`       //
	Subject  string   `json:"subject"`        // what was looked at, such as "udp 67" or "eth0"
	What     string   `json:"what"`           // what was found, a sentence without a full stop
	Next     string   `json:"next,omitempty"` // what to do about it; empty where nothing is to be done
}

// Worst returns the highest severity of the findings, [OK] for none.
func Worst(findings []Finding) Severity {
	worst := OK
	for _, f := range findings {
		if ranks[f.Severity] > ranks[worst] {
			worst = f.Severity
		}
	}
	return worst
}

// Mode is what the daemon does about DHCP on an interface.
type Mode string

// Modes.
const (
	Proxy  Mode = "proxy"  // adds boot offers to the addresses that another server gives
	Server Mode = "server" // gives addresses itself
	Off    Mode = "off"
)

// Listener is a socket that the daemon opens.
type Listener struct {
	Name    string         // of the configuration key, such as "boot_http"
	Network string         // "udp" or "tcp"
	Addr    netip.AddrPort // unspecified address: all interfaces
	// Machines says that machines must be able to reach it, not only operators of this host.
	Machines bool
	// PerInterface says that the daemon binds it to one interface, so that a neighbour who does the same is in nobody's way.
	PerInterface bool
}

// Interface is an interface that the daemon serves DHCP on.
type Interface struct {
	Name string
	Mode Mode
}

// Loaders are the network boot programs found for one architecture.
type Loaders struct {
	Arch  string   // such as "x86_64-efi"
	Names []string // candidates in the order in which they are tried; none: machines of this architecture are refused
}

// Site is what the daemon would serve.
type Site struct {
	Dir      string
	Err      error    // why it could not be read; nothing else is looked at then
	Problems []string // records that were left out, and dangling references
	Groups   []groups.Group
	Profiles []profiles.Profile
	Assets   fs.FS // nil: there is no assets directory
	// Unmatched is what happens to machines that no group wants: "local", "ignore" or "hold".
	Unmatched string
}

// Options say what to look at. A zero field switches its check off.
type Options struct {
	Listeners  []Listener
	Interfaces []Interface
	Subnets    []netip.Prefix // that the daemon gives addresses of
	Advertise  netip.Addr     // address that machines are told; the zero Addr: the one that a request arrived at
	Loaders    []Loaders
	Site       *Site
	StateDir   string
	BuildTime  time.Time // a clock before it is wrong
	// FindServers asks for DHCP servers on an interface and returns those that answered. It must honour its context.
	FindServers func(ctx context.Context, iface string) ([]netip.Addr, error)
	Timeout     time.Duration // of the whole run; 0: [DefaultTimeout]
	System      *System       // nil: this host
}

type check func(context.Context, *Options) []Finding

// Run performs all checks side by side and returns their findings in a stable order. It returns when the slowest check has, which
// the options' timeout bounds.
func Run(ctx context.Context, opts Options) []Finding {
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.System == nil {
		opts.System = Host()
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()

	checks := []check{
		checkPorts, checkReach, checkCapabilities, checkInterfaces, checkServers, checkFirewall,
		checkLoaders, checkSite, checkClock, checkState,
	}
	results := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = c(ctx, &opts) })
	}
	wg.Wait()

	var findings []Finding
	for _, r := range results {
		findings = append(findings, r...)
	}
	return findings
}

// serving returns the interfaces on which the daemon answers DHCP.
func (o *Options) serving() []Interface {
	var on []Interface
	for _, i := range o.Interfaces {
		if i.Mode != Off {
			on = append(on, i)
		}
	}
	return on
}
