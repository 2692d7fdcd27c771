package doctor_test

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/doctor"
)

func TestCheckName(t *testing.T) {
	named := &x509.Certificate{DNSNames: []string{"boot.example", "*.lab.example"}}
	numbered := &x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}
	for _, test := range []struct {
		cert     *x509.Certificate
		host     string
		severity doctor.Severity
		want     string // "": no finding
	}{
		{named, "boot.example", "", ""},
		{named, "a.lab.example", "", ""},
		{numbered, "10.0.0.1", "", ""},
		{numbered, "", "", ""},
		{named, "", doctor.Warn, "is for boot.example, *.lab.example and for no IP address"},
		{named, "10.0.0.1", doctor.Error, "is for boot.example, *.lab.example, machines are told 10.0.0.1"},
		{numbered, "boot.example", doctor.Error, "is for 10.0.0.1, machines are told boot.example"},
		{&x509.Certificate{}, "boot.example", doctor.Error, "is for no host"},
	} {
		got := doctor.CheckName(test.cert, "/etc/tls.crt", test.host)
		if test.want == "" {
			if got != nil {
				t.Errorf("%q: %+v", test.host, got)
			}
			continue
		}
		if len(got) != 1 || got[0].ID != doctor.NameID || got[0].Severity != test.severity || got[0].Subject != "/etc/tls.crt" || !strings.Contains(got[0].What, test.want) {
			t.Errorf("%q: %+v, want %s", test.host, got, test.want)
		}
	}
}
