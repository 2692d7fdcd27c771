package matchd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/matchd/web"
)

// MatchboxConfig returns what matchbox does when it is told nothing: no DHCP, no TFTP, the site is its data directory.
func MatchboxConfig() Config {
	cfg := DefaultConfig()
	cfg.Matchbox = true
	cfg.Unmatched = boot.UnmatchedIgnore
	cfg.TFTP = ""
	cfg.MachineHTTPS = ""
	cfg.RPCDefaultRole = string(auth.Admin) // matchbox's certificates name no role
	cfg.StateDir = ""
	return cfg
}

// matchboxState is the state directory within matchbox's data directory; its name begins with a dot, so that nobody takes it for content.
const matchboxState = ".matchd"

// stateDir returns the directory of the state. matchbox needs none, and its unit file gives it nothing to write to but the data directory: the
// state is kept there or, should that be read-only, not at all, in a directory that discard removes.
func (c *Config) stateDir(log *slog.Logger) (dir string, discard func() error, err error) {
	if c.StateDir != "" || !c.Matchbox {
		if err := os.MkdirAll(c.StateDir, 0o750); err != nil {
			return "", nil, fmt.Errorf("making the state directory: %w", err)
		}
		return c.StateDir, nil, nil
	}
	dir = filepath.Join(c.Site, matchboxState)
	if err := os.MkdirAll(dir, 0o700); err == nil && writable(dir) {
		return dir, nil, nil
	}
	if dir, err = os.MkdirTemp("", "matchd-"); err != nil {
		return "", nil, fmt.Errorf("making a state directory, since the data directory cannot be written to: %w", err)
	}
	log.Warn("the data directory cannot be written to: the API can change nothing, and timelines end with this process; --state-dir names a place to keep them", "dir", c.Site)
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

func writable(dir string) bool {
	probe, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return false
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name())) == nil
}

// openKeyRing returns what signs what machines fetch; nil if nothing is configured.
func (c *Config) openKeyRing() (web.Signer, error) {
	if c.KeyRing == "" {
		return nil, nil
	}
	passphrase := c.Passphrase
	if c.PassphraseFile != "" {
		text, err := keyfile.ReadSecret(c.PassphraseFile)
		if err != nil {
			return nil, fmt.Errorf("key_ring_passphrase_file: %w", err)
		}
		passphrase = strings.TrimRight(string(text), "\r\n")
	}
	ring, err := web.OpenKeyRing(c.KeyRing, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key_ring: %w", err)
	}
	return ring, nil
}

// bootTLS returns how boot_http is served by HTTPS. A renewed certificate is used without a restart.
func (c *Config) bootTLS(log *slog.Logger) (*tls.Config, error) {
	files, err := pki.NewReloader(pki.Files{Cert: c.BootTLS.Cert, Key: c.BootTLS.Key}, log, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of boot_http: %w", err)
	}
	return &tls.Config{GetCertificate: files.GetCertificate, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}
