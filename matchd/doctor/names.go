package doctor

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// NameID is the id of [CheckName]'s findings.
const NameID = "machine_https.name"

// CheckName reports a certificate of file that machines will not believe, because it is for another host than the one that they are told; host is a
// name or an IP address. Without a host machines are told the address that they came to, which nobody knows before they do: a certificate for no
// address at all is a warning then.
func CheckName(cert *x509.Certificate, file, host string) []Finding {
	finding := Finding{ID: NameID, Severity: Error, Subject: file, Next: "have it issued for what machines are told, or set advertise to what it is for"}
	if host == "" {
		if len(cert.IPAddresses) > 0 {
			return nil
		}
		finding.Severity = Warn
		finding.What = "is for " + certified(cert) + " and for no IP address: machines are told the address that they came to, and do not believe it"
		return []Finding{finding}
	}
	if cert.VerifyHostname(host) == nil {
		return nil
	}
	finding.What = fmt.Sprintf("is for %s, machines are told %s (advertise) and do not believe it", certified(cert), host)
	return []Finding{finding}
}

// certified lists what a certificate is for.
func certified(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host" // a common name counts for nobody any more (RFC 9525 section 2)
	}
	return strings.Join(capped(names), ", ")
}
