package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/fault"
)

// Settings is what a client is told besides its address. An unset field is not sent.
type Settings struct {
	Router []netip.Addr // option 3, in order of preference
	DNS    []netip.Addr // option 6
	NTP    []netip.Addr // option 42
	Domain string       // option 15
	MTU    uint16       // option 26, bytes
	Routes []Route      // option 121, RFC 3442; and 249 for clients that ask for Microsoft's number
	Custom []Custom     // sent even where the client did not ask: whoever sets an option by number means it
}

// Route is one classless static route.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Custom is an option by its number.
type Custom struct {
	Code  uint8
	Value []byte
}

// maxOption is the greatest number of bytes that one option holds; what is longer is split by RFC 3396, which firmware cannot read.
const maxOption = 255

// minMTU is the least that option 26 may say (RFC 2132 section 5.1).
const minMTU = 68

// ParseCustom reads the value of an option as text of the given kind: ip, ips (comma or space between), text, hex, uint8, uint16 or
// uint32. It refuses what [Settings.Validate] refuses; the error is of kind Invalid.
func ParseCustom(code uint8, kind, value string) (Custom, error) {
	bytes, err := parseValue(kind, value)
	if err != nil {
		return Custom{}, fault.New(fault.Invalid, "option %d: %w", code, err)
	}
	custom := Custom{Code: code, Value: bytes}
	return custom, custom.validate()
}

func parseValue(kind, value string) ([]byte, error) {
	switch kind {
	case "ip", "ips":
		return parseAddrs(kind, value)
	case "text":
		return []byte(value), nil
	case "hex":
		digits := strings.NewReplacer(":", "", " ", "", "-", "").Replace(strings.TrimPrefix(value, "0x"))
		bytes, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%q is not hexadecimal", value)
		}
		return bytes, nil
	case "uint8", "uint16", "uint32":
		bits, _ := strconv.Atoi(kind[len("uint"):])
		number, err := strconv.ParseUint(value, 0, bits)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%q is not a number of %d bits", value, bits)
		}
		return binary.BigEndian.AppendUint32(nil, uint32(number))[4-bits/8:], nil
	}
	return nil, fault.New(fault.Invalid, "type %q is none of ip, ips, text, hex, uint8, uint16, uint32", kind)
}

func parseAddrs(kind, value string) ([]byte, error) {
	words := strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
	if len(words) == 0 || kind == "ip" && len(words) > 1 {
		return nil, fault.New(fault.Invalid, "%q is not of type %s", value, kind)
	}
	var bytes []byte
	for _, word := range words {
		addr, err := netip.ParseAddr(word)
		if err != nil || !addr.Is4() {
			return nil, fault.New(fault.Invalid, "%q is not an IPv4 address", word)
		}
		bytes = append(bytes, addr.AsSlice()...)
	}
	return bytes, nil
}

func (c *Custom) validate() error {
	switch code := c.Code; {
	case code == 0 || code == 255 || code == 1 || code >= 50 && code <= 59 || code == 61 || code == 82:
		return fault.New(fault.Invalid, "option %d belongs to the protocol and cannot be set", code)
	case len(c.Value) == 0 || len(c.Value) > maxOption:
		return fault.New(fault.Invalid, "option %d has %d bytes, 1 to %d are possible", code, len(c.Value), maxOption)
	}
	return nil
}

// Validate returns the first thing that cannot be sent, as an error of kind Invalid.
func (s *Settings) Validate() error {
	for _, list := range [...]struct {
		name  string
		addrs []netip.Addr
	}{{"router", s.Router}, {"dns", s.DNS}, {"ntp", s.NTP}} {
		if len(list.addrs)*4 > maxOption {
			return fault.New(fault.Invalid, "%s: %d addresses are too many", list.name, len(list.addrs))
		}
		for _, addr := range list.addrs {
			if !addr.Is4() {
				return fault.New(fault.Invalid, "%s: %v is not an IPv4 address", list.name, addr)
			}
		}
	}
	if len(s.Domain) > maxOption || strings.ContainsAny(s.Domain, " \t\r\n\x00") {
		return fault.New(fault.Invalid, "domain: %q is not a domain name", s.Domain)
	}
	if s.MTU != 0 && s.MTU < minMTU {
		return fault.New(fault.Invalid, "mtu: %d is less than %d", s.MTU, minMTU)
	}
	for _, route := range s.Routes {
		if !route.To.IsValid() || !route.To.Addr().Is4() || !route.Via.Is4() {
			return fault.New(fault.Invalid, "routes: %v via %v is not an IPv4 route", route.To, route.Via)
		}
	}
	if len(classless(s)) > maxOption {
		return fault.New(fault.Invalid, "routes: %d routes do not fit into one option", len(s.Routes))
	}
	for i := range s.Custom {
		if err := s.Custom[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

// over lays the settings of a reservation over those of its subnet: what it sets wins, custom options by number.
func (s Settings) over(base Settings) Settings {
	if s.Router == nil {
		s.Router = base.Router
	}
	if s.DNS == nil {
		s.DNS = base.DNS
	}
	if s.NTP == nil {
		s.NTP = base.NTP
	}
	if s.Domain == "" {
		s.Domain = base.Domain
	}
	if s.MTU == 0 {
		s.MTU = base.MTU
	}
	if s.Routes == nil {
		s.Routes = base.Routes
	}
	custom := append([]Custom(nil), base.Custom...)
	s.Custom = append(custom, s.Custom...)
	return s
}

// wishes is a parameter request list (option 55).
type wishes []byte

// names reports whether the client asked for the option by its number.
func (w wishes) names(code uint8) bool { return slices.Contains(w, code) }

// allow reports whether the option may be sent: a client without a list gets everything.
func (w wishes) allow(code uint8) bool { return len(w) == 0 || w.names(code) }

// add puts the settings into a reply, as far as the client wishes. Router and DNS go out unasked: some boot ROMs forget to ask
// and cannot get back to us through their relay without a router (FIRMWARE fact 43).
func (s *Settings) add(options dhcpv4.Options, list wishes) {
	if len(s.Router) > 0 {
		options[3] = addrBytes(s.Router)
	}
	if len(s.DNS) > 0 {
		options[6] = addrBytes(s.DNS)
	}
	if len(s.NTP) > 0 && list.allow(42) {
		options[42] = addrBytes(s.NTP)
	}
	if s.Domain != "" && list.allow(15) {
		options[15] = []byte(s.Domain)
	}
	if s.MTU != 0 && list.allow(26) {
		options[26] = binary.BigEndian.AppendUint16(nil, s.MTU)
	}
	if len(s.Routes) > 0 && list.allow(121) {
		options[121] = classless(s)
	}
	if len(s.Routes) > 0 && list.names(249) { // Microsoft's private number for 121
		options[249] = classless(s)
	}
	for _, custom := range s.Custom {
		options[custom.Code] = custom.Value
	}
}

// classless encodes the routes by RFC 3442. A client that takes option 121 ignores option 3, so the default route is repeated here.
func classless(s *Settings) []byte {
	if len(s.Routes) == 0 {
		return nil
	}
	var bytes []byte
	hasDefault := false
	add := func(to netip.Prefix, via netip.Addr) {
		significant := (to.Bits() + 7) / 8
		bytes = append(bytes, byte(to.Bits()))
		bytes = append(bytes, to.Masked().Addr().AsSlice()[:significant]...)
		bytes = append(bytes, via.AsSlice()...)
	}
	for _, route := range s.Routes {
		hasDefault = hasDefault || route.To.Bits() == 0
		add(route.To, route.Via)
	}
	if !hasDefault && len(s.Router) > 0 {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), s.Router[0])
	}
	return bytes
}

func addrBytes(addrs []netip.Addr) []byte {
	bytes := make([]byte, 0, 4*len(addrs))
	for _, addr := range addrs {
		a := addr.As4()
		bytes = append(bytes, a[:]...)
	}
	return bytes
}
