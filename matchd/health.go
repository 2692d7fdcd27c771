package matchd

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
)

// health collects what is wrong, for /readyz and /v1/health.
type health struct {
	mu       sync.Mutex
	siteErr  error // of the last attempt to read or apply the site; nil: it is served
	siteTime time.Time
	leftOut  []string // of the data directory that is served leniently
	findings []doctor.Finding
}

// firstSite hands the first reading of the site to the doctor, so that a large one is not read twice at start.
type firstSite struct {
	once sync.Once
	read chan struct{} // closed when there is one
	site *site.Site
	err  error
}

func (f *firstSite) set(loaded *site.Site, err error) {
	f.once.Do(func() {
		f.site, f.err = loaded, err
		close(f.read)
	})
}

// wait returns the reading, once, or an error of kind Unavailable when ctx ends first. It keeps nothing, since a site may be large.
func (f *firstSite) wait(ctx context.Context) (*site.Site, error) {
	select {
	case <-f.read:
		read := f.site
		f.site = nil
		return read, f.err
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "the site is still being read: %w", ctx.Err())
	}
}

func (h *health) setSite(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.siteErr, h.siteTime = err, time.Now()
}

func (h *health) setLeftOut(problems []site.Problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leftOut = nil
	for _, problem := range problems {
		h.leftOut = append(h.leftOut, problem.String())
	}
}

func (h *health) setFindings(findings []doctor.Finding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.findings = findings
}

// Health is what /v1/health answers.
type Health struct {
	Ready        bool             `json:"ready"`
	NotReady     []string         `json:"not_ready,omitempty"` // why /readyz is 503
	Revision     uint64           `json:"revision"`            // that is served
	SiteProblems []string         `json:"site_problems,omitempty"`
	LeftOut      []string         `json:"left_out,omitempty"`           // records that cannot be decoded
	OtherServers []OtherServer    `json:"other_dhcp_servers,omitempty"` // found at start on interfaces in server mode
	Findings     []doctor.Finding `json:"findings"`                     // of matchd doctor, at start
}

// OtherServer is another DHCP server on an interface that this one serves.
type OtherServer struct {
	Interface string     `json:"interface"`
	Server    netip.Addr `json:"server"`
	Offered   netip.Addr `json:"offered,omitzero"` // the address it would give; none: it is a proxy
}

// notReady says why machines may be served wrongly or not at all; empty: all is well.
func (s *Server) notReady() []string {
	var reasons []string
	instead := "the last good state is served"
	if s.catalog.Current() == nil {
		instead = "machines are told to wait"
		reasons = append(reasons, "nothing to serve: no site has been loaded")
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.siteErr != nil {
		reasons = append(reasons, "the site has problems, "+instead+": "+firstLine(s.health.siteErr.Error()))
	}
	return reasons
}

func (s *Server) healthReport(context.Context) any {
	report := Health{NotReady: s.notReady()}
	report.Ready = len(report.NotReady) == 0
	if snapshot := s.catalog.Current(); snapshot != nil {
		report.Revision = uint64(snapshot.Revision)
		for _, problem := range snapshot.Problems {
			report.LeftOut = append(report.LeftOut, problem.Error())
		}
	}
	if s.dhcp != nil {
		for _, other := range s.dhcp.Others() {
			report.OtherServers = append(report.OtherServers, OtherServer{other.Interface, other.Server, other.Offered})
		}
	}
	secure := append(s.secureFindings(time.Now()), s.apiFindings(time.Now())...)
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.siteErr != nil {
		report.SiteProblems = strings.Split(s.health.siteErr.Error(), "\n")
	}
	report.SiteProblems = append(report.SiteProblems, s.health.leftOut...)
	for _, finding := range s.health.findings {
		if finding.ID != doctor.PointerID && finding.ID != doctor.NameID { // secure has what is true by now
			secure = append(secure, finding)
		}
	}
	report.Findings = secure
	if report.Findings == nil {
		report.Findings = []doctor.Finding{} // never null, also before the doctor is done
	}
	return report
}

// examine looks for what would stop a boot and tells it in the log, once at start.
func (s *Server) examine(ctx context.Context) error {
	findings := examine(ctx, &s.cfg, s.loaders, s.opt.Built, func() (*site.Site, error) { return s.first.wait(ctx) })
	if ctx.Err() != nil {
		return nil
	}
	s.health.setFindings(findings)
	for _, f := range findings {
		level := slog.LevelDebug
		switch f.Severity {
		case doctor.Error:
			level = slog.LevelError
		case doctor.Warn:
			level = slog.LevelWarn
		}
		s.log.Log(ctx, level, "doctor: "+f.Subject+": "+f.What, "check", f.ID, "next", f.Next)
	}
	return nil
}

// Examine looks for what would stop a boot with this configuration on this host, without serving.
func Examine(ctx context.Context, cfg Config, built time.Time) []doctor.Finding {
	load := func() (*site.Site, error) {
		return site.Read(context.Background(), cfg.Site, site.ReadOptions{RefuseOverlaps: cfg.Overlaps == OverlapsError})
	}
	options := assets.LoaderOptions{Overrides: cfg.Loaders}
	if cfg.LoadersDir != "" {
		options.Dirs = []string{cfg.LoadersDir}
	}
	loaders, err := assets.NewLoaders(options)
	if err != nil {
		finding := doctor.Finding{ID: "loaders.config", Severity: doctor.Error, Subject: "loaders", What: err.Error(), Next: "correct the key in the configuration"}
		return append([]doctor.Finding{finding}, examine(ctx, &cfg, nil, built, load)...)
	}
	return examine(ctx, &cfg, loaders, built, load)
}

// checkedArchs are the architectures whose loaders are looked for: those that every build is meant to serve.
var checkedArchs = [...]string{"x86-bios", "x86_64-efi", "arm64-efi"}

func examine(ctx context.Context, cfg *Config, loaders *assets.Loaders, built time.Time, load func() (*site.Site, error)) []doctor.Finding {
	options := doctor.Options{StateDir: cfg.StateDir, BuildTime: built, FindServers: findServers}
	var findings []doctor.Finding
	interfaces, err := cfg.dhcpInterfaces()
	if err != nil {
		findings = append(findings, doctor.Finding{ID: "interface.none", Severity: doctor.Error, Subject: "dhcp.interfaces", What: err.Error(), Next: "name the interface that the machines are on"})
	}
	for _, iface := range interfaces {
		options.Interfaces = append(options.Interfaces, doctor.Interface{Name: iface.Name, Mode: doctor.Mode(iface.Mode)})
	}
	for _, subnet := range cfg.DHCP.Subnets {
		if subnet.Mode == "" || subnet.Mode == ModeServer {
			options.Subnets = append(options.Subnets, subnet.Subnet)
		}
	}
	options.Listeners = cfg.listeners(len(interfaces) > 0)
	if addr, err := netip.ParseAddr(cfg.Advertise); err == nil {
		options.Advertise = addr
	}
	if loaders != nil {
		for _, arch := range checkedArchs {
			options.Loaders = append(options.Loaders, doctor.Loaders{Arch: arch, Names: loaders.For(arch, "")})
		}
	}
	options.Site = examinedSite(cfg, load)
	if options.Site != nil && cfg.MachineHTTPS == "" {
		findings = append(findings, doctor.CheckPointers(options.Site.Profiles)...)
	}
	findings = append(findings, cfg.examinedNames()...)
	return append(findings, doctor.Run(ctx, options)...)
}

func examinedSite(cfg *Config, load func() (*site.Site, error)) *doctor.Site {
	if cfg.Site == "" {
		return nil
	}
	examined := &doctor.Site{Dir: cfg.Site, Unmatched: string(cfg.Unmatched)}
	if info, err := os.Stat(cfg.assetsDir()); err == nil && info.IsDir() {
		examined.Assets = os.DirFS(cfg.assetsDir())
	}
	loaded, err := load()
	if err != nil {
		examined.Err = err
		return examined
	}
	examined.Groups, examined.Profiles = loaded.GroupList(), loaded.ProfileList()
	return examined
}

// listeners returns the sockets that the daemon opens, for the doctor.
func (c *Config) listeners(dhcpOn bool) []doctor.Listener {
	var listeners []doctor.Listener
	add := func(name, network, address string, machines, perInterface bool) {
		if addr, ok := resolveListen(address); ok {
			listeners = append(listeners, doctor.Listener{Name: name, Network: network, Addr: addr, Machines: machines, PerInterface: perInterface})
		}
	}
	add("boot_http", "tcp", c.BootHTTP, true, false)
	add("machine_https", "tcp", c.MachineHTTPS, true, false)
	add("admin", "tcp", c.Admin, false, false)
	add("tftp", "udp", c.TFTP, true, false)
	if all, _, _ := c.rpcFiles().Exist(); all {
		add("rpc", "tcp", c.RPC, false, false)
	}
	if dhcpOn {
		add("dhcp", "udp", ":67", true, true)
		add("dhcp boot service", "udp", ":4011", true, true)
	}
	return listeners
}

// resolveListen reads an address to listen on; ":8080" is every address of the host.
func resolveListen(address string) (netip.AddrPort, bool) {
	if rest, any := strings.CutPrefix(address, ":"); any {
		address = "0.0.0.0:" + rest
	}
	addr, err := netip.ParseAddrPort(address)
	return addr, err == nil
}

// findServers asks for the DHCP servers on an interface.
func findServers(ctx context.Context, iface string) ([]netip.Addr, error) {
	others, err := dhcp.Search(ctx, iface)
	var servers []netip.Addr
	for _, other := range others {
		if other.Offered.IsValid() && !slices.Contains(servers, other.Server) {
			servers = append(servers, other.Server)
		}
	}
	return servers, err
}

func firstLine(s string) string {
	line, rest, more := strings.Cut(s, "\n")
	if more && rest != "" {
		return line + " …"
	}
	return line
}

// Timeline returns a machine's timeline; see [event.Log.Timeline].
func (s *Server) Timeline(name string) (event.Timeline, bool) { return s.events.Timeline(name) }
