package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Times and bounds of server certificates.
const (
	// LeafLifetime is how long a server's certificate is good for. It lives in memory only and is renewed long before: what is left covers
	// machines whose clocks run ahead.
	LeafLifetime = 90 * 24 * time.Hour
	// leafRenewal is the age at which a server's certificate is made anew.
	leafRenewal = LeafLifetime / 3
	// maxLeaves is the number of addresses whose certificates are kept; beyond it, all are forgotten. A host has a handful, but one that
	// listens on every address can be asked by any of 127.0.0.0/8.
	maxLeaves = 64
)

// Names is what a server is called by its clients.
type Names struct {
	DNS []string
	IPs []netip.Addr
}

// IssueServer makes a key and a certificate for a TLS server with these names, good from [Epoch] to lifetime after now. The chain holds the
// certificate alone, since clients have the authority's.
func (c *CA) IssueServer(names Names, lifetime time.Duration, now time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "matchd"},
		NotBefore: Epoch(), NotAfter: now.Add(lifetime).UTC(),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names.DNS,
		// A leaf says that it is one; Go writes the extension only where this is set.
		BasicConstraintsValid: true,
	}
	for _, ip := range names.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.Unmap().WithZone("").AsSlice()))
	}
	der, err := c.Issue(template, key.Public())
	if err != nil {
		return nil, fmt.Errorf("making a server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate just made: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Leaves makes the certificates of a server that has several addresses, when a client comes by one. A certificate names the address that
// the client reached and the names that clients are told besides; what a client asks for by name (SNI) decides nothing, so that nobody
// can have certificates made for names of others.
type Leaves struct {
	ca    *CA
	names Names

	mu   sync.Mutex
	made map[netip.Addr]leaf
}

type leaf struct {
	cert *tls.Certificate
	at   time.Time
}

// NewLeaves returns an empty store of certificates that the authority signs. Every certificate has the given names too.
func NewLeaves(ca *CA, names Names) *Leaves {
	return &Leaves{ca: ca, names: names, made: map[netip.Addr]leaf{}}
}

// GetCertificate returns the certificate for the address that the client reached, for tls.Config.
func (l *Leaves) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	at, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return nil, fmt.Errorf("finding out which address a client reached: %w", err)
	}
	return l.forAddress(at.Addr().Unmap().WithZone(""), time.Now())
}

// forAddress holds the lock while it signs: that takes well under a millisecond, and clients that come at the same time share the result.
func (l *Leaves) forAddress(addr netip.Addr, now time.Time) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, found := l.made[addr]
	// A clock that was set back must not keep a certificate for longer.
	if age := now.Sub(known.at); found && age >= 0 && age < leafRenewal {
		return known.cert, nil
	}
	names := l.names
	names.IPs = append([]netip.Addr{addr}, names.IPs...)
	cert, err := l.ca.IssueServer(names, LeafLifetime, now)
	if err != nil {
		return nil, err
	}
	if len(l.made) >= maxLeaves {
		clear(l.made)
	}
	l.made[addr] = leaf{cert, now}
	return cert, nil
}
