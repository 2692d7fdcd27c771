package dhcp_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// query parses OVMF's DISCOVER with some options changed; nil removes one.
func query(t *testing.T, options map[uint8][]byte) *dhcp.Query {
	t.Helper()
	p := pxeDiscover()
	for code, value := range options {
		p.Options[code] = value
		if value == nil {
			delete(p.Options, code)
		}
	}
	q, err := dhcp.Parse(p.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestParseArchitectures(t *testing.T) {
	tests := []struct {
		name    string
		options map[uint8][]byte
		want    []machine.Arch
		known   machine.Arch // what the machine is taken for; meaningful with a wanted list
	}{
		{"one", map[uint8][]byte{93: {0, 11}}, []machine.Arch{11}, 11},
		{"several", map[uint8][]byte{93: {0, 2, 0, 9, 0, 7}}, []machine.Arch{2, 9, 7}, 9},
		{"one byte", map[uint8][]byte{93: {7}}, []machine.Arch{7}, 7},
		{"odd length", map[uint8][]byte{93: {0, 16, 1}}, []machine.Arch{16}, 16},
		{"not in the registry", map[uint8][]byte{93: {0x12, 0x67}}, []machine.Arch{0x1267}, 0x1267},
		{"absent", map[uint8][]byte{93: nil, 60: []byte("PXEClient:Arch:00011:UNDI:003000")}, []machine.Arch{11}, 11},
		{"absent, HTTP", map[uint8][]byte{93: nil, 60: []byte("HTTPClient:Arch:00016")}, []machine.Arch{16}, 16},
		{"empty", map[uint8][]byte{93: {}, 60: []byte("PXEClient:Arch:00009:UNDI")}, []machine.Arch{9}, 9},
		{"class without", map[uint8][]byte{93: nil, 60: []byte("PXEClient")}, nil, 0},
		{"class with nonsense", map[uint8][]byte{93: nil, 60: []byte("PXEClient:Arch:x86:UNDI:003000")}, nil, 0},
		{"class out of range", map[uint8][]byte{93: nil, 60: []byte("PXEClient:Arch:99999:UNDI:003000")}, nil, 0},
		{"option before class", map[uint8][]byte{93: {0, 7}, 60: []byte("PXEClient:Arch:00000:UNDI:003000")}, []machine.Arch{7}, 7},
	}
	for _, tt := range tests {
		r := query(t, tt.options).Boot
		if !slices.Equal(r.Arches, tt.want) || r.Machine.HasArch != (tt.want != nil) || r.Machine.Arch != tt.known {
			t.Errorf("%s: %v, taken for %v (%v), want %v", tt.name, r.Arches, r.Machine.Arch, r.Machine.HasArch, tt.want)
		}
	}
}

func TestParseBootClient(t *testing.T) {
	features := []byte{0x13, 1, 1, 0x18, 1, 1}
	tests := []struct {
		name                        string
		options                     map[uint8][]byte
		boot, ipxe, capable, isHTTP bool
	}{
		{"PXE", nil, true, false, false, false},
		{"HTTP", map[uint8][]byte{60: []byte("HTTPClient:Arch:00016:UNDI:003000")}, true, false, false, true},
		{"plain client", map[uint8][]byte{60: []byte("udhcp 1.35.0"), 93: nil}, false, false, false, false},
		{"no class, architecture", map[uint8][]byte{60: nil}, true, false, false, false},
		{"raw user class", map[uint8][]byte{77: []byte("iPXE"), 175: features}, true, true, true, false},
		{"raw user class with NUL", map[uint8][]byte{77: []byte("iPXE\x00"), 175: features}, true, true, true, false},
		{"RFC 3004", map[uint8][]byte{77: []byte("\x04iPXE"), 175: features}, true, true, true, false},
		{"second of two classes", map[uint8][]byte{77: []byte("\x03foo\x04iPXE"), 175: features}, true, true, true, false},
		{"another class", map[uint8][]byte{77: []byte("\x05xiPXE")}, true, false, false, false},
		{"class cut short", map[uint8][]byte{77: []byte("\x09iPXE")}, true, false, false, false},
		{"no features", map[uint8][]byte{77: []byte("iPXE")}, true, true, false, false},
		{"HTTP but no Linux", map[uint8][]byte{77: []byte("iPXE"), 175: {0x13, 1, 1, 0x21, 1, 1}}, true, true, false, false},
		{"Linux but no HTTP", map[uint8][]byte{77: []byte("iPXE"), 175: {0x15, 1, 1, 0x18, 1, 1}}, true, true, false, false},
		{"HTTP switched off", map[uint8][]byte{77: []byte("iPXE"), 175: {0x13, 1, 0, 0x18, 1, 1}}, true, true, false, false},
		{"EFI", map[uint8][]byte{77: []byte("iPXE"), 175: {0x13, 1, 1, 0x24, 1, 1}}, true, true, true, false},
		{"features cut short", map[uint8][]byte{77: []byte("iPXE"), 175: {0x13, 1, 1, 0x18, 9, 1}}, true, true, false, false},
		{"iPXE with HTTP class", map[uint8][]byte{60: []byte("HTTPClient:Arch:00016"), 77: []byte("iPXE"), 175: features}, true, true, true, false},
	}
	for _, tt := range tests {
		q := query(t, tt.options)
		got := [...]bool{q.IsBoot, q.Boot.IPXE, q.Boot.Capable, q.Boot.HTTPBoot}
		if want := [...]bool{tt.boot, tt.ipxe, tt.capable, tt.isHTTP}; got != want {
			t.Errorf("%s: boot, iPXE, capable, HTTP = %v, want %v", tt.name, got, want)
		}
	}
}

func TestParseIdentity(t *testing.T) {
	guid := []byte{0, 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	q := query(t, map[uint8][]byte{97: guid, 12: []byte("Node-7.lab.example\x00"), 61: {1, 2, 3}})
	if q.Boot.Machine.UUID != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("UUID %q: the first three fields are little-endian on the wire", q.Boot.Machine.UUID)
	}
	if q.Boot.Machine.MAC != testMAC || q.Hostname != "node-7" || string(q.ClientID) != "\x01\x02\x03" || len(q.Odd) != 0 {
		t.Errorf("%+v", q)
	}
	for name, value := range map[string][]byte{"none": make([]byte, 17), "none, in ones": append([]byte{0}, bytes.Repeat([]byte{0xff}, 16)...), "type 1": append([]byte{1}, guid[1:]...), "short": guid[:9]} {
		q := query(t, map[uint8][]byte{97: value})
		if q.Boot.Machine.UUID != "" || strings.HasPrefix(name, "none") != (q.GUID != nil) {
			t.Errorf("%s: UUID %q, echoed %x", name, q.Boot.Machine.UUID, q.GUID)
		}
	}
	for _, name := range []string{"-x", "a b", "a_b", "ä", "<script>", strings.Repeat("x", 64), ""} {
		if q := query(t, map[uint8][]byte{12: []byte(name)}); q.Hostname != "" {
			t.Errorf("%q is taken for a host name", name)
		}
	}
}

func TestParseRelay(t *testing.T) {
	p := pxeDiscover()
	p.GatewayIPAddr = relayAddr.AsSlice()
	p.Options[82] = []byte{1, 3, 'a', 'b', 'c', 5, 4, 10, 9, 0, 7, 11, 4, 10, 9, 0, 1, 2, 9, 'x'} // the last one is cut short
	q, err := dhcp.Parse(p.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	if string(q.CircuitID) != "abc" || q.Link != netip.MustParseAddr("10.9.0.7") || q.Override != relayAddr || q.Relay != relayAddr {
		t.Errorf("circuit %q link %v override %v relay %v", q.CircuitID, q.Link, q.Override, q.Relay)
	}
	p.GatewayIPAddr = nil
	if q, err = dhcp.Parse(p.ToBytes()); err != nil || q.Link.IsValid() || q.Override.IsValid() {
		t.Errorf("a client that plays relay is believed: %v %v %v", q.Link, q.Override, err)
	}
}

func TestParseRefuses(t *testing.T) {
	reply := pxeDiscover()
	reply.OpCode = dhcpv4.OpcodeBootReply
	bootp := pxeDiscover()
	delete(bootp.Options, 53)
	anonymous := pxeDiscover()
	anonymous.ClientHWAddr = nil
	whole := pxeDiscover().ToBytes()
	for name, packet := range map[string][]byte{
		"reply": reply.ToBytes(), "BOOTP": bootp.ToBytes(), "anonymous": anonymous.ToBytes(), "empty": nil, "short": whole[:200],
		"no END": whole[:248], "no cookie": append(append([]byte(nil), whole[:236]...), 1, 2, 3, 4, 255),
	} {
		if _, err := dhcp.Parse(packet); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
