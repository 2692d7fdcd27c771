package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/matchd/matchd/matchd/fault"
)

// Bounds of what a certificate may say of its owner. X.520 has 64 characters for names; a certificate that matchd made never has more.
const (
	MaxName  = 64 // bytes of an identity's name
	MaxScope = 16 // pairs
	maxPair  = 320
)

// rolePrefix marks the organization (O) of a certificate's subject that holds the role.
const rolePrefix = "matchd:"

// Identity is who calls the API, as the certificate says.
type Identity struct {
	Name        string            // common name
	Role        Role              // what it may do
	Scope       map[string]string // labels that everything it sees and changes must have; empty: no bound
	Fingerprint string            // SHA-256 of the certificate in hexadecimal
}

// FromCertificate reads the identity of a certificate that has been verified: the name is the common name, the role the organization "matchd:ROLE", the scope
// the organizational units "KEY=VALUE". A certificate without a role gets the fallback; with no fallback, it is refused. Errors are of kind Denied and say how to
// get a certificate that would do. What could be read in two ways is refused.
func FromCertificate(cert *x509.Certificate, fallback Role) (Identity, error) {
	sum := sha256.Sum256(cert.Raw)
	id := Identity{Fingerprint: hex.EncodeToString(sum[:])}
	if err := checkName(cert); err != nil {
		return id, err
	}
	id.Name = cert.Subject.CommonName
	var roles []string
	for _, organization := range cert.Subject.Organization {
		if role, found := strings.CutPrefix(organization, rolePrefix); found {
			roles = append(roles, role)
		}
	}
	switch len(roles) {
	case 0:
		return id.withoutRole(cert, fallback)
	case 1:
	default:
		return id, fault.New(fault.Denied, "the certificate of %q has %d roles, it needs one", id.Name, len(roles))
	}
	role, err := ParseRole(roles[0])
	if err != nil {
		return id, fault.New(fault.Denied, "the certificate of %q: %w", id.Name, err)
	}
	id.Role = role
	id.Scope, err = ParseScope(cert.Subject.OrganizationalUnit)
	if err != nil {
		return id, fault.New(fault.Denied, "the certificate of %q: %w", id.Name, err)
	}
	return id, CheckScope(id.Role, id.Scope)
}

// withoutRole gives the fallback to a certificate that was not made for matchd. What looks like a scope is not passed over: its owner means it.
func (i Identity) withoutRole(cert *x509.Certificate, fallback Role) (Identity, error) {
	if fallback == "" {
		return i, fault.New(fault.Denied, "the certificate of %q has no role: have one made by \"matchd pki client %s --role ROLE\", or set rpc_default_role on the server", i.Name, i.Name)
	}
	for _, unit := range cert.Subject.OrganizationalUnit {
		if strings.Contains(unit, "=") {
			return i, fault.New(fault.Denied, "the certificate of %q has a scope (%q) and no role", i.Name, unit)
		}
	}
	i.Role = fallback
	return i, nil
}

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3} // X.520

func checkName(cert *x509.Certificate) error {
	names := 0
	for _, attribute := range cert.Subject.Names {
		if attribute.Type.Equal(commonName) {
			names++
		}
	}
	if names > 1 {
		return fault.New(fault.Denied, "the certificate has %d common names, it needs one", names)
	}
	if err := CheckName(cert.Subject.CommonName); err != nil {
		return fault.New(fault.Denied, "the certificate's common name: %w", err)
	}
	return nil
}

// CheckName refuses a name of an identity that would not stand out in a log or an audit record: empty, too long, or with characters that do not show. The error
// is of kind Invalid.
func CheckName(name string) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, "an identity needs a name")
	case len(name) > MaxName:
		return fault.New(fault.Invalid, "the name has %d bytes, at most %d are allowed", len(name), MaxName)
	case !shows(name) || strings.TrimSpace(name) != name:
		return fault.New(fault.Invalid, "the name %q has characters that do not show", name)
	}
	return nil
}

func shows(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// ParseScope reads pairs "KEY=VALUE", each key once. Errors are of kind Invalid.
func ParseScope(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	if len(pairs) > MaxScope {
		return nil, fault.New(fault.Invalid, "a scope of %d pairs, at most %d are allowed", len(pairs), MaxScope)
	}
	scope := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		_, twice := scope[key]
		switch {
		case !found || key == "" || value == "" || len(pair) > maxPair:
			return nil, fault.New(fault.Invalid, "%q is not a pair KEY=VALUE of a scope", pair)
		case !shows(pair) || strings.ContainsAny(key, " \"'`") || strings.TrimSpace(value) != value:
			return nil, fault.New(fault.Invalid, "the pair %q of a scope has characters that no label has", pair)
		case twice:
			return nil, fault.New(fault.Invalid, "the scope has %q twice", key)
		}
		scope[key] = value
	}
	return scope, nil
}

// CheckScope refuses a scope for an admin, who could make an identity without one. The error is of kind Denied.
func CheckScope(role Role, scope map[string]string) error {
	if role == Admin && len(scope) > 0 {
		return fault.New(fault.Denied, "an admin cannot have a scope: an operator can")
	}
	return nil
}

// Subject returns the subject of a certificate that [FromCertificate] reads as this identity.
func (i Identity) Subject() pkix.Name {
	subject := pkix.Name{CommonName: i.Name, Organization: []string{rolePrefix + string(i.Role)}}
	for _, key := range slices.Sorted(maps.Keys(i.Scope)) {
		subject.OrganizationalUnit = append(subject.OrganizationalUnit, key+"="+i.Scope[key])
	}
	return subject
}

// Scoped reports whether the identity is bound to labels.
func (i Identity) Scoped() bool { return len(i.Scope) > 0 }

// Sees reports whether labels, or a selector, hold every pair of the scope. Without a scope, everything is seen.
func (i Identity) Sees(labels map[string]string) bool {
	for key, value := range i.Scope {
		if has, found := labels[key]; !found || has != value {
			return false
		}
	}
	return true
}

// May returns nil if the identity's role allows the action; the error is of kind Denied and names the role.
func (i Identity) May(action Action) error {
	if i.Role.May(action) {
		return nil
	}
	return fault.New(fault.Denied, "%q has the role %s, which may not %s", i.Name, i.Role, action)
}

type contextKey struct{}

// NewContext returns a context that carries the identity of the caller.
func NewContext(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, identity)
}

// FromContext returns the identity of the caller, and whether there is one: there is in every call that the API has let in.
func FromContext(ctx context.Context) (Identity, bool) {
	identity, found := ctx.Value(contextKey{}).(Identity)
	return identity, found
}
