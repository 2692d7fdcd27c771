// Package matchd is the daemon: it puts the parts together, starts and stops them.
//
// [New] opens the state and binds every address, so that a port that is taken is an error before anything is served; [Server.Run]
// serves until its context ends and then stops in order: edges first, so that what they promised is still written.
package matchd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/matchd/tftp"
	"github.com/matchd/matchd/matchd/web"
)

// The state directory's files. Leases and events have their own, so that an ACK's fsync waits neither for an upload nor for a timeline.
const (
	ConfigDB = "config.db"
	LeasesDB = "leases.db"
	EventsDB = "events.db"
)

// Options are what a [Server] takes from its surroundings. The zero value works.
type Options struct {
	Logger  *slog.Logger // nil: slog.Default
	Version string       // for the build_info metric
	Built   time.Time    // a clock before this is wrong; zero: not checked
}

// Server is one daemon.
type Server struct {
	cfg     Config
	opt     Options
	log     *slog.Logger
	metrics *prometheus.Registry

	stores   map[string]*boltstore.Store // by the file's name without .db
	assets   *assets.Tree
	loaders  *assets.Loaders
	machines *machine.Registry
	events   *event.Log
	catalog  *catalog.Catalog
	pool     *lease.Pool // nil: no subnet is served
	planner  *boot.Planner
	tickets  *auth.Tickets // nil: machine_https is off
	health   health
	first    firstSite

	discardState func() error    // removes a state directory that nobody asked to keep; nil: it is kept
	directory    *site.Directory // matchbox's; nil: the site is read strictly and never written
	replaced     *boot.Replacements
	applier      *change.Applier // nil: there is no API

	siteMetrics *siteMetrics

	dhcpOptions dhcp.Options

	dhcp  *dhcp.Server // nil: DHCP is off
	tftp  *tftp.Server
	web   *web.Server
	admin *web.Admin

	machineTLS *machineTLS // nil: machine_https is off
	api        api

	bootListener   net.Listener
	adminListener  net.Listener // nil: off
	secureListener net.Listener // nil: off
	tftpConn       *net.UDPConn // nil: off
}

// Addrs is where a server listens; a zero value means that it does not.
type Addrs struct {
	BootHTTP, Admin, TFTP, MachineHTTPS, RPC netip.AddrPort
}

// New opens the state, builds every part and binds every address. The configuration must have been validated. Whoever gets a
// server must call [Server.Run] or [Server.Close].
func New(ctx context.Context, cfg Config, opt Options) (*Server, error) {
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	s := &Server{
		cfg: cfg, opt: opt, log: opt.Logger, metrics: prometheus.NewRegistry(),
		stores: map[string]*boltstore.Store{}, machines: machine.NewRegistry(0), first: firstSite{read: make(chan struct{})},
	}
	for _, step := range []func(context.Context) error{s.openState, s.openStores, s.openAssets, s.openSecure, s.openAPI, s.buildCore, s.bind, s.bindAPI, s.buildEdges, s.buildAPI} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// openState makes the state directory.
func (s *Server) openState(context.Context) (err error) {
	s.cfg.StateDir, s.discardState, err = s.cfg.stateDir(s.log)
	return err
}

func (s *Server) openStores(context.Context) error {
	for _, file := range []string{ConfigDB, LeasesDB, EventsDB} {
		name := file[:len(file)-len(filepath.Ext(file))]
		options := boltstore.Options{Name: name}
		if file != ConfigDB {
			options.History = -1 // nobody watches these
		}
		opened, err := boltstore.Open(filepath.Join(s.cfg.StateDir, file), options)
		if err != nil {
			return fmt.Errorf("opening the %s store: %w", name, err)
		}
		s.stores[name] = opened
	}
	return nil
}

func (s *Server) openAssets(context.Context) error {
	var err error
	if dir := s.cfg.assetsDir(); dir != "" { // matchbox's can be switched off
		if s.assets, err = assets.OpenTree(dir); err != nil {
			return err
		}
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			s.log.Info("no assets directory yet: kernels must come from elsewhere until there is one", "dir", dir)
		}
	}
	options := assets.LoaderOptions{Overrides: s.cfg.Loaders}
	if s.cfg.LoadersDir != "" {
		options.Dirs = []string{s.cfg.LoadersDir}
	}
	if s.loaders, err = assets.NewLoaders(options); err != nil {
		return err
	}
	if s.loaders.Embedded() == 0 {
		s.log.Warn("no network boot programs are inside this binary: build with make build, or install Debian's ipxe package", "looking_in", assets.SystemDirs())
	}
	return nil
}

// bind opens the TCP and TFTP sockets. DHCP binds when it serves, once per interface.
func (s *Server) bind(ctx context.Context) error {
	var err error
	var config net.ListenConfig
	if s.bootListener, err = config.Listen(ctx, "tcp", s.cfg.BootHTTP); err != nil {
		return fmt.Errorf("binding boot_http: %w", err)
	}
	if s.cfg.BootTLS != (KeyFiles{}) {
		secure, err := s.cfg.bootTLS(s.log)
		if err != nil {
			return err
		}
		s.bootListener = tls.NewListener(s.bootListener, secure)
	}
	if s.cfg.Admin != "" {
		if s.adminListener, err = config.Listen(ctx, "tcp", s.cfg.Admin); err != nil {
			return fmt.Errorf("binding admin: %w", err)
		}
	}
	if s.cfg.MachineHTTPS != "" {
		if s.secureListener, err = config.Listen(ctx, "tcp", s.cfg.MachineHTTPS); err != nil {
			return fmt.Errorf("binding machine_https: %w", err)
		}
	}
	if s.cfg.TFTP != "" {
		if s.tftpConn, err = tftp.Listen(ctx, s.cfg.TFTP); err != nil {
			return fmt.Errorf("binding tftp: %w", err)
		}
	}
	return nil
}

func (s *Server) buildCore(ctx context.Context) error {
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(s.opt.Version))
	var err error
	s.events, err = event.NewLog(event.Options{Store: s.stores["events"], Logger: s.log, Registry: s.metrics})
	if err != nil {
		return fmt.Errorf("opening the timeline: %w", err)
	}
	s.siteMetrics = newSiteMetrics(s.metrics)
	s.catalog = catalog.New(s.stores["config"], catalog.Options{
		Logger: s.log, Registry: s.metrics, RefuseOverlaps: s.cfg.Overlaps == OverlapsError, Lenient: s.cfg.Matchbox,
		Fixed: s.cfg.fixedObjects(), Follow: s.followObjects,
	})
	s.replaced = boot.NewReplacements()
	if s.cfg.Matchbox {
		s.directory = site.NewDirectory(s.cfg.Site)
	}
	_, subnets, err := s.cfg.dhcpSubnets()
	if err != nil {
		return err
	}
	if len(subnets) == 0 {
		return nil
	}
	s.pool, err = lease.Open(ctx, lease.Options{
		Store: s.stores["leases"], Subnets: subnets, Logger: s.log, Registry: s.metrics, Prober: s.prober(),
	})
	if err != nil {
		return fmt.Errorf("opening the leases: %w", err)
	}
	return nil
}

// prober asks by ARP whether an address is in use; nil if that is switched off.
func (s *Server) prober() lease.Prober {
	if !s.cfg.DHCP.ConflictProbe {
		return nil
	}
	return dhcp.NewProber(dhcp.ProberOptions{Log: s.log, Metrics: s.metrics})
}

func (s *Server) buildEdges(context.Context) error {
	loops := boot.NewLoops(s.events, nil)
	s.planner = boot.NewPlanner(boot.Options{
		Catalog: s.catalog, Machines: s.machines, Loaders: s.loaders, Loops: loops,
		Unmatched: s.cfg.Unmatched, Exit: s.cfg.ExitMethod, Overrides: s.cfg.Overrides(s.machines),
		Advertise: s.cfg.Advertise, HTTPPort: httpPort(s.bootListener.Addr()), Pointing: s.pointing(),
		HTTPS: s.cfg.BootTLS != (KeyFiles{}), Replaced: s.replaced, Matchbox: s.cfg.Matchbox,
	})
	roles := bootfile.NewRoles()
	space := &bootfile.Space{Loaders: s.loaders, Planner: s.planner, Assets: s.assets, Machines: s.machines, Roles: roles}
	if err := s.buildDHCP(loops); err != nil {
		return err
	}
	signer, err := s.cfg.openKeyRing()
	if err != nil {
		return err
	}
	s.tftp, err = tftp.New(tftp.Options{
		Source: space, Recorder: loops, Logger: s.log, Metrics: s.metrics, BaseURL: s.planner.BaseURL,
		BlockSize:    s.blksize,
		MaxTransfers: s.cfg.TFTPMaxTransfers, SinglePort: s.cfg.TFTPSinglePort,
	})
	if err != nil {
		return err
	}
	s.web, err = web.New(web.Options{
		Planner: s.planner, Configurer: s.planner, Files: space, Assets: s.assets, Machines: s.machines, Roles: roles,
		Recorder: loops, Logger: s.log, Metrics: s.metrics, Pointed: s.planner,
		BaseURL: func(local netip.AddrPort) string { return s.planner.BaseURL(local.Addr()) },
		Signer:  signer, Matchbox: s.cfg.Matchbox,
	})
	if err != nil {
		return err
	}
	return s.buildAdmin()
}

func (s *Server) buildAdmin() error {
	if s.adminListener == nil {
		return nil
	}
	backups := map[string]web.Backuper{}
	for name, opened := range s.stores {
		backups[name] = opened
	}
	var err error
	s.admin, err = web.NewAdmin(web.AdminOptions{
		Events: s.events, Ready: s.notReady, Health: s.healthReport, Gatherer: s.metrics, Stores: backups, Logger: s.log,
	})
	return err
}

func (s *Server) buildDHCP(recorder dhcp.Recorder) error {
	interfaces, err := s.cfg.dhcpInterfaces()
	if err != nil {
		return err
	}
	subnets, _, err := s.cfg.dhcpSubnets()
	if err != nil {
		return err
	}
	s.dhcpOptions = dhcp.Options{
		Interfaces: interfaces, Subnets: subnets, ProxyOffer: dhcp.ProxyOffer(s.cfg.ProxyOffer),
		Booter: s.planner, Registry: s.machines, Recorder: recorder, Log: s.log,
	}
	if s.pool != nil {
		s.dhcpOptions.Addresser = s.pool
	}
	if len(interfaces) == 0 {
		return nil
	}
	options := s.dhcpOptions
	options.Metrics = s.metrics
	s.dhcp, err = dhcp.New(options)
	return err
}

// DHCPHandler returns what would answer DHCP packets, without sockets: for tests and for playing a boot. It decides, leases and records as
// the server itself does.
func (s *Server) DHCPHandler() (*dhcp.Handler, error) { return dhcp.NewHandler(s.dhcpOptions) }

// Addrs returns the addresses bound.
func (s *Server) Addrs() Addrs {
	var addrs Addrs
	if s.bootListener != nil {
		addrs.BootHTTP = s.bootListener.Addr().(*net.TCPAddr).AddrPort()
	}
	if s.adminListener != nil {
		addrs.Admin = s.adminListener.Addr().(*net.TCPAddr).AddrPort()
	}
	if s.secureListener != nil {
		addrs.MachineHTTPS = s.secureListener.Addr().(*net.TCPAddr).AddrPort()
	}
	if s.api.listener != nil {
		addrs.RPC = s.api.listener.Addr().(*net.TCPAddr).AddrPort()
	}
	if s.tftpConn != nil {
		addrs.TFTP = s.tftpConn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return addrs
}

// Run serves until ctx ends or a part fails, then stops everything and closes the server. It returns the first part's failure, nil
// when ctx ended.
func (s *Server) Run(ctx context.Context) error {
	err := s.serve(ctx)
	s.log.Info("stopped", "version", s.opt.Version)
	if closing := s.Close(); err == nil {
		err = closing
	}
	return err
}

func (s *Server) serve(ctx context.Context) error {
	// The state outlives the edges: what they promise while they stop is still recorded.
	stateCtx, stopState := context.WithCancel(context.WithoutCancel(ctx))
	var state errgroup.Group
	defer func() { stopState(); _ = state.Wait() }()

	edges, edgesCtx := errgroup.WithContext(ctx)
	part := func(group *errgroup.Group, ctx context.Context, name string, run func(context.Context) error) {
		group.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part(&state, stateCtx, "timeline", s.events.Run)
	part(edges, edgesCtx, "catalog", s.catalog.Run)
	part(edges, edgesCtx, "site", s.followSite)
	if s.pool != nil {
		part(&state, stateCtx, "leases", s.pool.Run)
	}
	part(edges, edgesCtx, "boot_http", func(ctx context.Context) error { return s.web.Serve(ctx, s.bootListener) })
	if s.adminListener != nil {
		part(edges, edgesCtx, "admin", func(ctx context.Context) error { return s.admin.Serve(ctx, s.adminListener) })
	}
	if s.secureListener != nil {
		part(edges, edgesCtx, "machine_https", s.serveSecure)
	}
	if s.api.server != nil {
		part(&state, stateCtx, "audit log", s.api.audit.Run)
		part(edges, edgesCtx, "rpc", s.serveAPI)
		part(edges, edgesCtx, "certificates", s.watchAPICertificates)
	}
	if s.tftpConn != nil {
		part(edges, edgesCtx, "tftp", func(ctx context.Context) error { return s.tftp.Serve(ctx, s.tftpConn) })
	}
	if s.dhcp != nil {
		part(edges, edgesCtx, "dhcp", s.dhcp.Serve)
	}
	part(edges, edgesCtx, "doctor", s.examine)
	s.announce()
	return edges.Wait()
}

func (s *Server) announce() {
	addrs := s.Addrs()
	s.log.Info("serving", "version", s.opt.Version, "site", s.cfg.Site, "boot_http", addrs.BootHTTP, "tftp", addrs.TFTP, "machine_https", addrs.MachineHTTPS, "rpc", addrs.RPC, "admin", addrs.Admin)
}

// Close releases what New opened. A server that ran is closed already.
func (s *Server) Close() error {
	var errs []error
	for _, listener := range []net.Listener{s.bootListener, s.adminListener, s.secureListener, s.api.listener} {
		if listener != nil {
			errs = append(errs, ignoreClosed(listener.Close()))
		}
	}
	if s.tftpConn != nil {
		errs = append(errs, ignoreClosed(s.tftpConn.Close()))
	}
	if s.assets != nil {
		errs = append(errs, s.assets.Close())
		s.assets = nil
	}
	for name, opened := range s.stores {
		errs = append(errs, opened.Close())
		delete(s.stores, name)
	}
	if s.discardState != nil {
		errs = append(errs, s.discardState())
		s.discardState = nil
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "matchd_build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	return info
}
