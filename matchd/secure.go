package matchd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/profiles"
)

// The state directory's files that sign. Backups do not have them.
const (
	SecretsKey    = "secrets.key"    // signs the tickets of machines
	MachineCACert = "machine-ca.crt" // what machines trust by their pointer
	MachineCAKey  = "machine-ca.key"
)

// When health begins to tell that a certificate ends.
const (
	machineCAWarning   = 180 * 24 * time.Hour // there is no hurry, and nobody looks often
	machineCertWarning = 14 * 24 * time.Hour  // of files that somebody else renews, who has failed by then
)

// machineTLS is what the machines' HTTPS shows, and what machines know it by.
type machineTLS struct {
	getCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ca             func() []byte              // PEM for the pointer
	ending         func() (string, time.Time) // what ends first for which health looks out, and when
	warning        time.Duration
	names          func() []doctor.Finding // what keeps machines from taking us for who they are told; nil: certificates are made as machines need them
}

// openMachineTLS takes the operator's files, or the daemon's own authority, which it makes at its first start.
func (c *Config) openMachineTLS(s *Server) (*machineTLS, error) {
	if c.MachineTLSCert != "" {
		leaf, err := pki.OpenFileLeaf(pki.LeafFiles{Cert: c.MachineTLSCert, Key: c.MachineTLSKey, CA: c.MachineTLSCA}, s.log)
		if err != nil {
			return nil, fmt.Errorf("opening machine_tls_cert: %w", err)
		}
		ending := func() (string, time.Time) { return c.MachineTLSCert, leaf.Ends() }
		names := func() []doctor.Finding {
			return doctor.CheckName(leaf.Certificate(), c.MachineTLSCert, c.machineHost())
		}
		return &machineTLS{leaf.GetCertificate, leaf.CA, ending, machineCertWarning, names}, nil
	}
	name := "matchd machine CA"
	if host, err := os.Hostname(); err == nil {
		name += " " + host
	}
	certFile := filepath.Join(c.StateDir, MachineCACert)
	ca, err := pki.OpenCA(certFile, filepath.Join(c.StateDir, MachineCAKey), name, time.Now())
	if err != nil {
		return nil, fmt.Errorf("opening the machines' certificate authority: %w", err)
	}
	ending := func() (string, time.Time) { return certFile, ca.Certificate().NotAfter }
	return &machineTLS{pki.NewLeaves(ca, c.machineNames()).GetCertificate, ca.CertPEM, ending, machineCAWarning, nil}, nil
}

// machineHost returns the name or address that machines are told; empty: the address that they came to.
func (c *Config) machineHost() string {
	host := c.Advertise
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.Trim(host, "[]")
}

// machineNames returns what machines are told to reach us by besides the address that they came to.
func (c *Config) machineNames() pki.Names {
	host := c.machineHost()
	if addr, err := netip.ParseAddr(host); err == nil {
		return pki.Names{IPs: []netip.Addr{addr}}
	}
	if host == "" {
		return pki.Names{}
	}
	return pki.Names{DNS: []string{host}}
}

// openSecure makes what the machines' HTTPS needs, if it is on.
func (s *Server) openSecure(context.Context) error {
	if s.cfg.MachineHTTPS == "" {
		return nil
	}
	var err error
	if s.machineTLS, err = s.cfg.openMachineTLS(s); err != nil {
		return err
	}
	secret, err := auth.OpenSecret(filepath.Join(s.cfg.StateDir, SecretsKey))
	if err != nil {
		return err
	}
	s.tickets, err = auth.NewTickets(secret, nil)
	return err
}

// pointing returns what pointer configs are made with; nil if the machines' HTTPS is off.
func (s *Server) pointing() *boot.Pointing {
	if s.secureListener == nil {
		return nil
	}
	return &boot.Pointing{Tickets: s.tickets, Port: httpPort(s.secureListener.Addr()), CA: s.machineTLS.ca}
}

func (s *Server) serveSecure(ctx context.Context) error {
	return s.web.ServeTLS(ctx, s.secureListener, &tls.Config{GetCertificate: s.machineTLS.getCertificate})
}

// secureFindings returns what is wrong with the machines' HTTPS, or will be soon.
func (s *Server) secureFindings(now time.Time) []doctor.Finding {
	if s.machineTLS == nil {
		var list []profiles.Profile
		if snapshot := s.catalog.Current(); snapshot != nil {
			for _, profile := range snapshot.Profiles {
				list = append(list, *profile)
			}
		}
		return doctor.CheckPointers(list)
	}
	var findings []doctor.Finding
	if s.machineTLS.names != nil {
		findings = s.machineTLS.names()
	}
	what, end := s.machineTLS.ending()
	left := end.Sub(now)
	if left > s.machineTLS.warning {
		return findings
	}
	finding := doctor.Finding{
		ID: "machine_https.expiry", Severity: doctor.Warn, Subject: what, What: "ends at " + end.UTC().Format(time.RFC3339),
		Next: "renew it; for matchd's own, stop matchd, move " + MachineCACert + " and " + MachineCAKey + " away and start it: a new one is made, and machines get it with their next boot",
	}
	if left <= 0 {
		finding.Severity, finding.What = doctor.Error, "ended at "+end.UTC().Format(time.RFC3339)+": no machine believes the HTTPS that its config comes by"
	}
	return append(findings, finding)
}

// examinedNames looks at machine_tls_cert for the doctor, which may run beside no daemon. A file that cannot be read keeps the daemon from
// starting, and the doctor says the same.
func (c *Config) examinedNames() []doctor.Finding {
	if c.MachineHTTPS == "" || c.MachineTLSCert == "" {
		return nil
	}
	leaf, err := pki.OpenFileLeaf(pki.LeafFiles{Cert: c.MachineTLSCert, Key: c.MachineTLSKey, CA: c.MachineTLSCA}, slog.New(slog.DiscardHandler))
	if err != nil {
		return []doctor.Finding{{
			ID: doctor.NameID, Severity: doctor.Error, Subject: c.MachineTLSCert, What: err.Error(),
			Next: "correct machine_tls_cert, machine_tls_key and machine_tls_ca",
		}}
	}
	return doctor.CheckName(leaf.Certificate(), c.MachineTLSCert, c.machineHost())
}
