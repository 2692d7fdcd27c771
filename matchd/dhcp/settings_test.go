package dhcp_test

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/fault"
)

func TestParseCustom(t *testing.T) {
	tests := []struct {
		code        uint8
		kind, value string
		want        []byte // nil: refused
	}{
		{150, "ip", "10.0.0.1", []byte{10, 0, 0, 1}},
		{150, "ip", "10.0.0.1 10.0.0.2", nil},
		{150, "ip", "fe80::1", nil},
		{150, "ip", "", nil},
		{4, "ips", "10.0.0.1, 10.0.0.2", []byte{10, 0, 0, 1, 10, 0, 0, 2}},
		{66, "text", "tftp.example", []byte("tftp.example")},
		{66, "text", "", nil},
		{66, "text", strings.Repeat("x", 256), nil},
		{43, "hex", "01:04 0a000001", []byte{1, 4, 10, 0, 0, 1}},
		{43, "hex", "0x0104", []byte{1, 4}},
		{43, "hex", "xyz", nil},
		{23, "uint8", "64", []byte{64}},
		{23, "uint8", "256", nil},
		{22, "uint16", "1500", []byte{5, 220}},
		{35, "uint32", "0x10", []byte{0, 0, 0, 16}},
		{35, "uint32", "-1", nil},
		{35, "float", "1.5", nil},
		{53, "uint8", "5", nil},
		{82, "text", "x", nil},
		{0, "text", "x", nil},
		{255, "text", "x", nil},
	}
	for _, tt := range tests {
		custom, err := dhcp.ParseCustom(tt.code, tt.kind, tt.value)
		if (err == nil) != (tt.want != nil) || err == nil && !bytes.Equal(custom.Value, tt.want) {
			t.Errorf("%d %s %q: %x, %v, want %x", tt.code, tt.kind, tt.value, custom.Value, err, tt.want)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%d %s %q: error of kind %v", tt.code, tt.kind, tt.value, fault.KindOf(err))
		}
	}
}

func TestSettingsRefused(t *testing.T) {
	v6 := netip.MustParseAddr("fe80::1")
	v4 := netip.MustParseAddr("10.0.0.1")
	for name, s := range map[string]dhcp.Settings{
		"router": {Router: []netip.Addr{v6}},
		"dns":    {DNS: slices.Repeat([]netip.Addr{v4}, 64)},
		"ntp":    {NTP: []netip.Addr{{}}},
		"domain": {Domain: "two words"},
		"mtu":    {MTU: 67},
		"route":  {Routes: []dhcp.Route{{To: netip.MustParsePrefix("10.0.0.0/8"), Via: v6}}},
		"routes": {Routes: slices.Repeat([]dhcp.Route{{To: netip.MustParsePrefix("10.1.2.3/32"), Via: v4}}, 29)},
		"custom": {Custom: []dhcp.Custom{{Code: 54, Value: []byte{1}}}},
	} {
		opts := served(newAddresses(localNet))
		opts.Booter = booter(decide)
		opts.Subnets[0].Settings = s
		if _, err := dhcp.NewHandler(opts); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "10.0.0.0/24") {
			t.Errorf("%s: %v", name, err)
		}
		opts = served(newAddresses(localNet))
		opts.Booter = booter(decide)
		opts.Subnets[0].Reserved = map[netip.Addr]dhcp.Settings{v4: s}
		if _, err := dhcp.NewHandler(opts); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s of a reservation: %v", name, err)
		}
	}
}

// lease plays DISCOVER of a plain client with a parameter request list and returns the offer's options.
func leaseOptions(t *testing.T, opts dhcp.Options, list []byte) dhcpv4.Options {
	t.Helper()
	p := pxeDiscover()
	p.Options = dhcpv4.Options{53: {1}}
	if list != nil {
		p.Options[55] = list
	}
	via := dhcp.Arrival{Link: link(dhcp.Serve), Dest: netip.MustParseAddr("255.255.255.255")}
	out, ok := newHandler(t, opts).Handle(context.Background(), &via, p.ToBytes())
	if !ok {
		t.Fatal("no offer")
	}
	checkShape(t, p.ToBytes(), out.Packet)
	reply, err := dhcpv4.FromBytes(out.Packet)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Options
}

func TestSettingsByWish(t *testing.T) {
	opts := served(newAddresses(localNet))
	opts.Subnets[0].Settings = namedSettings(t, "full")
	// With a classless route, a client must find the default route there too (RFC 3442).
	routes := []byte{10, 10, 64, 10, 0, 0, 253, 0, 10, 0, 0, 254}
	tests := []struct {
		name string
		list []byte
		want map[uint8][]byte // nil value: absent
	}{
		{"no list: everything", nil, map[uint8][]byte{
			1: {255, 255, 255, 0}, 3: {10, 0, 0, 254}, 6: {10, 0, 0, 53, 10, 0, 1, 53}, 42: {10, 0, 0, 123}, 15: []byte("lab.example"),
			26: {0x23, 0x28}, 121: routes, 249: nil, 150: {10, 0, 0, 9}, 12: nil,
		}},
		{"short list", []byte{1, 3}, map[uint8][]byte{
			3: {10, 0, 0, 254}, 6: {10, 0, 0, 53, 10, 0, 1, 53}, 42: nil, 15: nil, 26: nil, 121: nil, 150: {10, 0, 0, 9},
		}},
		{"Windows", []byte{1, 3, 6, 121, 249}, map[uint8][]byte{121: routes, 249: routes, 26: nil}},
	}
	for _, tt := range tests {
		got := leaseOptions(t, opts, tt.list)
		for code, want := range tt.want {
			if !bytes.Equal(got[code], want) {
				t.Errorf("%s: option %d = %x, want %x", tt.name, code, got[code], want)
			}
		}
	}
}

func TestReservationSettings(t *testing.T) {
	leases := newAddresses(localNet)
	leases.hostname = "node-7"
	opts := served(leases)
	opts.Subnets[0].Settings = namedSettings(t, "full")
	opts.Subnets[0].Reserved = map[netip.Addr]dhcp.Settings{
		netip.MustParseAddr("10.0.0.100"): {
			Router: []netip.Addr{netip.MustParseAddr("10.0.0.251")}, Domain: "other.example",
			Custom: []dhcp.Custom{{Code: 150, Value: []byte{9}}, {Code: 151, Value: []byte{1}}},
		},
	}
	got := leaseOptions(t, opts, nil)
	for code, want := range map[uint8]string{
		3: "\x0a\x00\x00\xfb", 15: "other.example", 42: "\x0a\x00\x00\x7b", 150: "\x09", 151: "\x01", 12: "node-7",
		121: "\x0a\x0a\x40\x0a\x00\x00\xfd\x00\x0a\x00\x00\xfb",
	} {
		if string(got[code]) != want {
			t.Errorf("option %d = %q, want %q", code, got[code], want)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, opts := range map[string]dhcp.Options{
		"no booter":    {},
		"strategy":     {Booter: booter(decide), ProxyOffer: "never"},
		"no name":      {Booter: booter(decide), Interfaces: []dhcp.Interface{{}}},
		"mode":         {Booter: booter(decide), Interfaces: []dhcp.Interface{{Name: "eth0", Mode: "sever"}}},
		"IPv6":         {Booter: booter(decide), Subnets: []dhcp.Subnet{{Prefix: netip.MustParsePrefix("fd00::/64")}}},
		"no addresser": {Booter: booter(decide), Interfaces: []dhcp.Interface{{Name: "eth0", Mode: dhcp.Serve}}},
		"no leases":    {Booter: booter(decide), Subnets: []dhcp.Subnet{{Prefix: localNet}}},
	} {
		if _, err := dhcp.New(opts); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
