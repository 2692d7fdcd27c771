package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/fault"
)

var signer, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

// certificate returns a certificate with the subject, as it comes from a wire.
func certificate(t testing.TB, subject pkix.Name) (*x509.Certificate, error) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func TestFromCertificate(t *testing.T) {
	for _, test := range []struct {
		name     string
		subject  pkix.Name
		fallback auth.Role
		want     auth.Identity
		err      string // empty: none
	}{
		{name: "a viewer", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}}, want: auth.Identity{Name: "jo", Role: auth.Viewer}},
		{
			name:    "a scope, and organizations of others",
			subject: pkix.Name{CommonName: "fra", Organization: []string{"ACME", "matchd:operator"}, OrganizationalUnit: []string{"site=fra", "rack=a=b"}},
			want:    auth.Identity{Name: "fra", Role: auth.Operator, Scope: map[string]string{"site": "fra", "rack": "a=b"}},
		},
		{name: "a name of two words", subject: pkix.Name{CommonName: "Jo Müller", Organization: []string{"matchd:viewer"}}, want: auth.Identity{Name: "Jo Müller", Role: auth.Viewer}},
		{name: "no role", subject: pkix.Name{CommonName: "fake-client"}, err: "matchd pki client fake-client --role"},
		{
			name: "no role, with a fallback", subject: pkix.Name{CommonName: "fake-client", OrganizationalUnit: []string{"Engineering"}}, fallback: auth.Admin,
			want: auth.Identity{Name: "fake-client", Role: auth.Admin},
		},
		{
			name: "a role wins over the fallback", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}}, fallback: auth.Admin,
			want: auth.Identity{Name: "jo", Role: auth.Viewer},
		},
		{name: "a scope without a role", subject: pkix.Name{CommonName: "x", OrganizationalUnit: []string{"site=fra"}}, fallback: auth.Admin, err: "a scope (\"site=fra\") and no role"},
		{name: "no name", subject: pkix.Name{Organization: []string{"matchd:admin"}}, err: "needs a name"},
		{name: "a name that does not show", subject: pkix.Name{CommonName: "jo\nroot", Organization: []string{"matchd:admin"}}, err: "do not show"},
		{name: "a name that turns", subject: pkix.Name{CommonName: "jo\u202eadmin", Organization: []string{"matchd:viewer"}}, err: "do not show"},
		{name: "white space around", subject: pkix.Name{CommonName: " jo", Organization: []string{"matchd:viewer"}}, err: "do not show"},
		{name: "a long name", subject: pkix.Name{CommonName: strings.Repeat("x", 65), Organization: []string{"matchd:viewer"}}, err: "65 bytes"},
		{
			name: "two names", err: "2 common names",
			subject: pkix.Name{Organization: []string{"matchd:viewer"}, ExtraNames: []pkix.AttributeTypeAndValue{
				{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "jo"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "root"},
			}},
		},
		{name: "two roles", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer", "matchd:admin"}}, err: "2 roles"},
		{name: "an unknown role", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:root"}}, err: `"root" is no role`},
		{name: "a role in capitals", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:Admin"}}, err: "is no role"},
		{name: "an empty role", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:"}}, fallback: auth.Admin, err: "is no role"},
		{name: "a unit that is no pair", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}, OrganizationalUnit: []string{"Engineering"}}, err: "KEY=VALUE"},
		{name: "an empty value", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}, OrganizationalUnit: []string{"site="}}, err: "KEY=VALUE"},
		{name: "a key twice", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}, OrganizationalUnit: []string{"site=fra", "site=ams"}}, err: "twice"},
		{name: "a value with a line", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:viewer"}, OrganizationalUnit: []string{"site=fra\n"}}, err: "no label has"},
		{name: "an admin with a scope", subject: pkix.Name{CommonName: "jo", Organization: []string{"matchd:admin"}, OrganizationalUnit: []string{"site=fra"}}, err: "an admin cannot have a scope"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert, err := certificate(t, test.subject)
			if err != nil {
				t.Fatal(err)
			}
			got, err := auth.FromCertificate(cert, test.fallback)
			if test.err != "" {
				if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want Denied with %q", err, test.err)
				}
				return
			}
			if len(got.Fingerprint) != 64 {
				t.Errorf("fingerprint %q", got.Fingerprint)
			}
			got.Fingerprint = ""
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	may := map[auth.Role]string{
		auth.Admin:        "greet,read groups,read,write,read the audit log",
		auth.Operator:     "greet,read groups,read,write,read the audit log",
		auth.Registrar:    "greet,read groups",
		auth.Viewer:       "greet,read groups,read",
		auth.Role("root"): "",
		"":                "",
	}
	for role, want := range may {
		var got []string
		for _, action := range []auth.Action{auth.Greet, auth.ReadGroups, auth.Read, auth.Write, auth.ReadAudit} {
			err := auth.Identity{Name: "jo", Role: role}.May(action)
			if err == nil {
				got = append(got, string(action))
			} else if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), string(role)) {
				t.Errorf("%s: %v", role, err)
			}
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%q may %q, want %q", role, got, want)
		}
	}
	for _, role := range auth.Roles() {
		if parsed, err := auth.ParseRole(string(role)); err != nil || parsed != role {
			t.Errorf("%s: %v, %v", role, parsed, err)
		}
	}
}

func TestSees(t *testing.T) {
	scoped := auth.Identity{Scope: map[string]string{"site": "fra", "rack": "7"}}
	for _, test := range []struct {
		labels map[string]string
		want   bool
	}{
		{map[string]string{"site": "fra", "rack": "7", "mac": "x"}, true},
		{map[string]string{"site": "fra"}, false},
		{map[string]string{"site": "ams", "rack": "7"}, false},
		{map[string]string{"site": "fra", "rack": ""}, false},
		{nil, false},
	} {
		if got := scoped.Sees(test.labels); got != test.want {
			t.Errorf("%v: got %v", test.labels, got)
		}
	}
	if free := (auth.Identity{}); free.Scoped() || !free.Sees(nil) || !scoped.Scoped() {
		t.Error("without a scope everything is seen")
	}
}

func TestContext(t *testing.T) {
	if _, found := auth.FromContext(t.Context()); found {
		t.Error("an identity from nowhere")
	}
	if got, found := auth.FromContext(auth.NewContext(t.Context(), auth.Identity{Name: "jo"})); !found || got.Name != "jo" {
		t.Errorf("got %v, %v", got, found)
	}
}

// FuzzFromCertificate reads subjects of any text: what is let in can be shown, and says the same again.
func FuzzFromCertificate(f *testing.F) {
	f.Add("jo", "matchd:viewer", "site=fra", "")
	f.Add("fake-client", "", "", "admin")
	f.Add("jo\x00", "matchd:admin", "=", "")
	f.Add("", "matchd:", "site=fra\nrack=7", "viewer")
	f.Fuzz(func(t *testing.T, name, organization, unit, fallback string) {
		subject := pkix.Name{CommonName: name}
		if organization != "" {
			subject.Organization = []string{organization}
		}
		if unit != "" {
			subject.OrganizationalUnit = []string{unit}
		}
		cert, err := certificate(t, subject)
		if err != nil {
			return // no certificate can say that
		}
		role, _ := auth.ParseRole(fallback)
		id, err := auth.FromCertificate(cert, role)
		if err != nil {
			if !fault.Is(err, fault.Denied) {
				t.Errorf("%v is not of kind Denied", err)
			}
			return
		}
		if id.Name == "" || strings.ContainsAny(id.Name, "\n\r\x00\x1b") {
			t.Errorf("the name %q", id.Name)
		}
		if _, err := auth.ParseRole(string(id.Role)); err != nil || id.Role == auth.Admin && id.Scoped() {
			t.Errorf("the role %q with the scope %v: %v", id.Role, id.Scope, err)
		}
		again, err := certificate(t, id.Subject())
		if err != nil {
			t.Fatal(err)
		}
		same, err := auth.FromCertificate(again, "")
		same.Fingerprint = id.Fingerprint
		if diff := cmp.Diff(id, same); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	})
}
