package lease

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxIdentity is the size of the longest client or circuit id, in bytes: that of a DHCP option.
const MaxIdentity = 255

// Validate returns everything that is wrong with the reservation by itself, joined; each error starts with the field's name.
func (r *Reservation) Validate() error {
	var errs []error
	if !r.Address.Is4() || r.Address.IsUnspecified() || r.Address.IsMulticast() || r.Address.IsLoopback() {
		errs = append(errs, fmt.Errorf("id: %v is not the IPv4 address of a host", r.Address))
	}
	if _, err := r.identity(); err != nil {
		errs = append(errs, errors.New("mac: exactly one of mac, client_id and circuit_id names the client"))
	}
	if r.MAC != "" && r.MAC.HardwareAddr() == nil {
		errs = append(errs, fmt.Errorf("mac: %q is not a MAC address", r.MAC))
	}
	if len(r.ClientID) > MaxIdentity {
		errs = append(errs, fmt.Errorf("client_id: has %d bytes, an option has at most %d", len(r.ClientID), MaxIdentity))
	}
	if len(r.CircuitID) > MaxIdentity {
		errs = append(errs, fmt.Errorf("circuit_id: has %d bytes, an option has at most %d", len(r.CircuitID), MaxIdentity))
	}
	if len(r.Hostname) > MaxHostname || cleanHostname(r.Hostname) != r.Hostname {
		errs = append(errs, fmt.Errorf("hostname: it has at most %d letters, digits, hyphens and dots", MaxHostname))
	}
	return errors.Join(errs...)
}

// ParseClientID reads the bytes of a client id (option 61) in hexadecimal; colons and a 0x before it are allowed.
func ParseClientID(s string) ([]byte, error) {
	id, err := hex.DecodeString(strings.NewReplacer(":", "", "0x", "").Replace(s))
	if err != nil {
		return nil, fmt.Errorf("%.80q is not a client id in hexadecimal", s)
	}
	return id, nil
}

// FormatClientID writes a client id as [ParseClientID] reads it.
func FormatClientID(id []byte) string { return hex.EncodeToString(id) }

// ParseCircuitID reads a circuit id (option 82 sub-option 1): text, or hexadecimal after 0x.
func ParseCircuitID(s string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(s, "0x")
	if !isHex {
		return []byte(s), nil
	}
	id, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%.80q is not a circuit id: after 0x it is hexadecimal", s)
	}
	return id, nil
}

// FormatCircuitID writes a circuit id as [ParseCircuitID] reads it, as text where it is text.
func FormatCircuitID(id []byte) string {
	text := string(id)
	if !utf8.ValidString(text) || strings.HasPrefix(text, "0x") || strings.ContainsFunc(text, unicode.IsControl) {
		return "0x" + hex.EncodeToString(id)
	}
	return text
}
