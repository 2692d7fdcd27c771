package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matchd/matchd/matchd/pki"
)

// reached is a connection that came by the given address of ours.
type reached struct {
	net.Conn
	local net.Addr
}

func (r reached) LocalAddr() net.Addr { return r.local }

func hello(local, sni string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{ServerName: sni, Conn: reached{local: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))}}
}

func TestLeavesNameTheAddressReached(t *testing.T) {
	ca := newCA(t)
	leaves := pki.NewLeaves(ca, pki.Names{DNS: []string{"boot.example.com"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	for _, test := range []struct {
		local, sni, asked string
		fine              bool
	}{
		{"10.0.0.1:8443", "", "10.0.0.1", true},
		{"10.0.0.1:8443", "", "192.0.2.1", true},
		{"10.0.0.1:8443", "boot.example.com", "boot.example.com", true},
		{"10.0.0.1:8443", "evil.example.com", "evil.example.com", false},
		{"10.0.0.1:8443", "", "10.0.0.2", false},
		{"[::ffff:10.0.0.3]:8443", "", "10.0.0.3", true},
		{"[fe80::1%eth0]:8443", "", "fe80::1", true},
	} {
		cert, err := leaves.GetCertificate(hello(test.local, test.sni))
		if err != nil {
			t.Fatalf("%s: %v", test.local, err)
		}
		for _, at := range []time.Time{time.Unix(5, 0), time.Now(), time.Now().Add(pki.LeafLifetime - time.Hour)} {
			_, err := cert.Leaf.Verify(x509.VerifyOptions{
				Roots: pool, DNSName: test.asked, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if test.fine != (err == nil) {
				t.Errorf("reached at %s, asked for %s at %v: %v", test.local, test.asked, at, err)
			}
		}
		if cert.Leaf.IsCA {
			t.Error("a leaf is an authority")
		}
	}
}

func TestLeavesAreKeptAndRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaves := pki.NewLeaves(newCA(t), pki.Names{})
		get := func(local string) *tls.Certificate {
			t.Helper()
			cert, err := leaves.GetCertificate(hello(local, ""))
			if err != nil {
				t.Fatal(err)
			}
			return cert
		}
		first := get("10.0.0.1:8443")
		time.Sleep(24 * time.Hour)
		if get("10.0.0.1:8443") != first {
			t.Error("made anew after a day")
		}
		if get("10.0.0.2:8443") == first {
			t.Error("two addresses share a certificate")
		}
		time.Sleep(pki.LeafLifetime / 2)
		renewed := get("10.0.0.1:8443")
		if renewed == first || !renewed.Leaf.NotAfter.After(first.Leaf.NotAfter) {
			t.Error("not renewed")
		}
		for i := range 1000 { // the cache is bounded; whatever is forgotten is made again
			get(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)}), 8443).String())
		}
		if get("10.0.0.1:8443") == renewed {
			t.Error("a thousand addresses pushed nothing out")
		}
	})
}

func TestLeavesRefuseWhatIsNoAddress(t *testing.T) {
	leaves := pki.NewLeaves(newCA(t), pki.Names{})
	_, err := leaves.GetCertificate(&tls.ClientHelloInfo{Conn: reached{local: &net.UnixAddr{Name: "/run/x"}}})
	if err == nil {
		t.Error("a certificate for no address")
	}
}
