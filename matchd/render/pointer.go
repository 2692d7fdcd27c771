package render

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"time"

	"github.com/coreos/ignition/v2/config/v3_1/types"

	"github.com/matchd/matchd/matchd/fault"
)

// pointerVersion is the spec of pointer configs: the first with httpHeaders, so that every Ignition that can send a token reads it.
const pointerVersion = "3.1.0"

// PointerPatience is how long Ignition goes on asking for what a pointer leads to. Without it that would be for ever, and a machine that
// cannot reach us would never say so on its console; with Ignition's own two minutes for a first config, a mistake in a document would not be a
// wait that people can end. It is shorter than any ticket's life, so that the wait ends in a timeout and not in a refusal.
const PointerPatience = 12 * time.Hour

// Pointer is a config that leads to another one: it says where, by which token, and whom to trust there.
type Pointer struct {
	Source string // URL of the real config; https, so that the token is shown to nobody else
	Token  string // for the Authorization header, without "Bearer "
	CA     []byte // PEM certificates that the source's is signed by; empty: one of those that the system's image knows
}

// Config returns the pointer as an Ignition config that replaces itself by what it leads to. The same pointer gives the same bytes. Errors are of
// kind Invalid.
func (p Pointer) Config() (*Config, error) {
	if u, err := url.Parse(p.Source); err != nil || u.Scheme != "https" || u.Host == "" || p.Token == "" {
		return nil, fault.New(fault.Invalid, "a pointer needs an https URL and a token, not %q", p.Source)
	}
	authorization := "Bearer " + p.Token
	patience := int(PointerPatience.Seconds())
	config := types.Config{Ignition: types.Ignition{
		Version: pointerVersion,
		Config: types.IgnitionConfig{Replace: types.Resource{
			Source:      &p.Source,
			HTTPHeaders: types.HTTPHeaders{{Name: "Authorization", Value: &authorization}},
		}},
		Timeouts: types.Timeouts{HTTPTotal: &patience},
	}}
	if len(p.CA) > 0 {
		bundle := "data:;base64," + base64.StdEncoding.EncodeToString(p.CA)
		config.Ignition.Security.TLS.CertificateAuthorities = []types.Resource{{Source: &bundle}}
	}
	out, entries, err := specs()[specIndex(pointerVersion)].write(config)
	if err != nil {
		return nil, fault.New(fault.Invalid, "writing a pointer config: %w", err)
	}
	if len(entries.Entries) > 0 {
		return nil, fault.New(fault.Invalid, "writing a pointer config: %v", entries.String())
	}
	if len(out) > MaxResult {
		return nil, fault.New(fault.Invalid, "the pointer config has %d bytes, at most %d are allowed", len(out), MaxResult)
	}
	sum := sha256.Sum256(out)
	return &Config{JSON: out, Version: pointerVersion, Digest: hex.EncodeToString(sum[:])}, nil
}
