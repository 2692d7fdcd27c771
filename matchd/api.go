package matchd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/rpc"
)

// DefaultPKI is where the API's certificates are looked for, and where "matchd pki" puts them.
const DefaultPKI = "/etc/matchd/pki"

// api is the gRPC API. All is nil if it is off.
type api struct {
	keys       *pki.Reloader
	unreadable error // why there are no keys, though there are files; machines are served all the same
	listener   net.Listener
	audit      *audit.Log
	server     *rpc.Server
}

// unreadableAdvice is what to do about a key that the daemon's user cannot read.
const unreadableAdvice = `make server.key readable for the user that matchd runs as (chown), then start matchd again; the unit of "make install" does that by itself`

// rpcFiles are the API's certificates.
func (c *Config) rpcFiles() pki.Files {
	return pki.Files{Cert: c.RPCCert, Key: c.RPCKey, CA: c.RPCCA}
}

// rpcDefaults reports whether nobody named the API's certificates.
func (c *Config) rpcDefaults() bool {
	d := DefaultConfig()
	return c.rpcFiles() == d.rpcFiles()
}

func (c *Config) validateRPC(bad func(key, format string, args ...any)) {
	if _, err := auth.ParseRole(c.RPCDefaultRole); c.RPCDefaultRole != "" && err != nil {
		bad("rpc_default_role", "%w", err)
	}
	for _, file := range [...][2]string{{"rpc_cert", c.RPCCert}, {"rpc_key", c.RPCKey}, {"rpc_ca", c.RPCCA}} {
		if file[1] == "" && c.RPC != "" {
			bad(file[0], `the API is never served without it; to switch the API off, set rpc: ""`)
		}
	}
}

// openAPI reads the API's certificates. With none of them at the default place, the API is off: nobody has set it up. Some of them, or none where they are said to
// be, is an error.
func (s *Server) openAPI(ctx context.Context) error {
	if s.cfg.RPC == "" {
		return nil
	}
	files := s.cfg.rpcFiles()
	_, none, err := files.Exist()
	if err == nil && none && s.cfg.rpcDefaults() {
		s.log.Info("the API is off: it has no certificates yet", "looked_in", filepath.Dir(files.Cert), "next", `"matchd pki init" makes them; then start matchd again`)
		return nil
	}
	if err == nil {
		s.api.keys, err = pki.NewReloader(files, s.log, nil)
	}
	if errors.Is(err, fs.ErrPermission) && s.cfg.rpcDefaults() {
		s.api.unreadable = err
		s.log.Error("the API is off: its certificates cannot be read", "error", err, "next", unreadableAdvice)
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the API's certificates (\"matchd pki init\" makes them, rpc: \"\" switches the API off): %w", err)
	}
	s.metrics.MustRegister(s.api.keys.Collector("rpc"))
	s.api.audit, err = audit.Open(ctx, audit.Options{Written: s.stores["config"], Refused: s.stores["events"], Logger: s.log, Metrics: s.metrics})
	return err
}

func (s *Server) bindAPI(ctx context.Context) error {
	if s.api.keys == nil {
		return nil
	}
	var config net.ListenConfig
	var err error
	if s.api.listener, err = config.Listen(ctx, "tcp", s.cfg.RPC); err != nil {
		return fmt.Errorf("binding rpc: %w", err)
	}
	return nil
}

func (s *Server) buildAPI(context.Context) error {
	if s.api.listener == nil {
		return nil
	}
	var err error
	s.applier = s.newApplier()
	if s.api.server, err = rpc.New(s.apiOptions()); err != nil {
		return fmt.Errorf("making the API: %w", err)
	}
	return nil
}

// apiOptions gives every service of the API its parts.
func (s *Server) apiOptions() rpc.Options {
	return rpc.Options{
		Logger: s.log, Metrics: s.metrics, Keys: s.api.keys, DefaultRole: auth.Role(s.cfg.RPCDefaultRole), Reads: s.readParts(),
		Audit: s.api.audit, Status: apiStatus{s}, Matchbox: s.matchboxParts(s.applier),
		Objects: rpc.ObjectParts{Catalog: s.catalog, Applier: s.applier, Store: s.stores["config"]},
	}
}

// serveAPI serves the API until ctx ends.
func (s *Server) serveAPI(ctx context.Context) error { return s.api.server.Serve(ctx, s.api.listener) }

// apiStatus answers the API's Status service.
type apiStatus struct{ server *Server }

// Status implements rpc.StatusSource.
func (a apiStatus) Status(ctx context.Context) rpc.ServerStatus {
	report, _ := a.server.healthReport(ctx).(Health)
	status := rpc.ServerStatus{Version: a.server.opt.Version, Revision: report.Revision, Site: a.server.cfg.Site, Ready: report.Ready}
	add := func(level, advice string, texts ...string) {
		for _, text := range texts {
			status.Findings = append(status.Findings, rpc.Finding{Level: level, What: text, Advice: advice})
		}
	}
	add("error", "", report.NotReady...)
	add("error", "correct the site's files", report.SiteProblems...)
	add("warn", "put them again, or delete them", report.LeftOut...)
	for _, f := range report.Findings {
		level := map[doctor.Severity]string{doctor.Error: "error", doctor.Warn: "warn"}[f.Severity]
		if level != "" {
			add(level, f.Next, f.Subject+": "+f.What)
		}
	}
	return status
}

// apiFindings returns what is wrong with the API's certificates, or will be soon.
func (s *Server) apiFindings(now time.Time) []doctor.Finding {
	if s.api.unreadable != nil {
		return []doctor.Finding{{
			ID: "rpc.certificate", Severity: doctor.Error, Subject: "the API is off", What: s.api.unreadable.Error(), Next: unreadableAdvice,
		}}
	}
	if s.api.keys == nil {
		return nil
	}
	var findings []doctor.Finding
	if err := s.api.keys.Broken(); err != nil {
		findings = append(findings, doctor.Finding{
			ID: "rpc.certificate", Severity: doctor.Error, Subject: "the API's certificates", What: "the ones on disk cannot be used, those before are: " + err.Error(),
			Next: `"matchd pki server" makes a new server certificate`,
		})
	}
	for _, e := range s.api.keys.Expiries("rpc") {
		warning := e.Warning(now)
		if warning == "" {
			continue
		}
		f := doctor.Finding{ID: "rpc.expiry", Severity: doctor.Warn, Subject: e.Name, What: warning, Next: `"matchd pki server" renews it; the daemon takes it up by itself`}
		if e.End.Before(now) {
			f.Severity = doctor.Error
		}
		if strings.HasSuffix(e.Name, "-ca") {
			f.Next = `make a new authority with "matchd pki init" in another directory, and new certificates for all clients`
		}
		findings = append(findings, f)
	}
	return findings
}

// watchAPICertificates tells the log of certificates that end soon, at start and once a day.
func (s *Server) watchAPICertificates(ctx context.Context) error {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		for _, f := range s.apiFindings(time.Now()) {
			s.log.Warn(f.Subject+": "+f.What, "next", f.Next)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
