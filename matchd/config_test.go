package matchd

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/fault"
)

// equateAddrs compares addresses and prefixes by value; their fields are not exported.
var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "matchd.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}
}

func TestLoadConfigLayers(t *testing.T) {
	file := writeConfig(t, `
site: /from/file
log_level: debug
unmatched: hold
dhcp:
  interfaces: [eth0=proxy, {name: eth1, mode: "off"}]
`)
	got, err := LoadConfig(Sources{
		File: file,
		Env: lookup(map[string]string{
			"MATCHD_SITE": "/from/env", "MATCHD_LOG_LEVEL": "warn", "MATCHD_TFTP": "", "MATCHD_TFTP_MAX_TRANSFERS": "",
			"MATCHD_DHCP_SUBNETS": "{subnet: 10.0.0.0/24, pools: [10.0.0.10-10.0.0.20], lease_time: 1h}",
		}),
		Flags: map[string]string{"site": "/from/flag", "dhcp-interfaces": "eth2=server,eth3", "loaders": "{arm64-efi: grub}", "proxy-offer": "4011"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Site, want.LogLevel, want.Unmatched, want.TFTP, want.ProxyOffer = "/from/flag", "warn", "hold", "", "4011"
	want.Loaders, want.File = map[string]string{"arm64-efi": "grub"}, file
	want.DHCP.Interfaces = []InterfaceConfig{{Name: "eth2", Mode: "server"}, {Name: "eth3"}}
	want.DHCP.Subnets = []SubnetConfig{{
		Subnet: netip.MustParsePrefix("10.0.0.0/24"), Pools: []string{"10.0.0.10-10.0.0.20"}, LeaseTime: Duration(time.Hour),
	}}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		env   map[string]string
		flags map[string]string
		want  []string // parts of the error
	}{
		{name: "unknown key", file: "sit: x\n", want: []string{"matchd.yaml:1:1", "sit", "site"}},
		{name: "duplicate key", file: "site: a\nsite: b\n", want: []string{"matchd.yaml:2:1", "site"}},
		{name: "wrong type", file: "tftp_max_transfers: lots\n", want: []string{"matchd.yaml:1:21"}},
		{name: "bad duration", file: "dhcp:\n  subnets:\n    - subnet: 10.0.0.0/24\n      lease_time: soon\n", want: []string{"matchd.yaml:4:19", "duration"}},
		{name: "variable", env: map[string]string{"MATCHD_TFTP_SINGLE_PORT": "perhaps"}, want: []string{"MATCHD_TFTP_SINGLE_PORT"}},
		{name: "flag", flags: map[string]string{"dhcp-subnets": "{sub: 1}"}, want: []string{"--dhcp-subnets", "sub"}},
		{name: "several at once", file: "unmatched: x\nexit_method: y\nboot_http: nowhere\nadvertise: http://x/\nproxy_offer: z\n",
			want: []string{"unmatched:", "exit_method:", "boot_http:", "advertise:", "proxy_offer:"}},
		{name: "machines", file: "machines: [{mac: zz, loader: ../x, tftp_blksize: 511}]\n",
			want: []string{"machines[0].mac", "machines[0].loader", "machines[0].tftp_blksize"}},
		{name: "loaders", file: "loaders: {vax: ipxe}\n", want: []string{"loaders", "vax"}},
		{name: "dhcp", file: "dhcp:\n  interfaces: [{mode: both}]\n  subnets: [{subnet: 10.0.0.0/24, reservations: [{address: 10.0.0.1}]}]\n",
			want: []string{"dhcp.interfaces[0].name", "dhcp.interfaces[0].mode", "dhcp.subnets[0].reservations[0]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadConfig(Sources{File: writeConfig(t, tt.file), Env: lookup(tt.env), Flags: tt.flags})
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("got %v, want an error of kind Invalid", err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in:\n%v", part, err)
				}
			}
		})
	}
}

func TestKeysCoverConfig(t *testing.T) {
	flags := map[string]bool{}
	for _, key := range Keys() {
		if flags[key.Flag()] {
			t.Errorf("flag --%s stands for two keys", key.Flag())
		}
		flags[key.Flag()] = true
		if key.Usage == "" {
			t.Errorf("%s has no usage", key.Path)
		}
		// Every key can be set alone, by what its default is.
		value := key.Default()
		if key.isList() || key.Path == "loaders" {
			value = "[]"
			if key.Path == "loaders" {
				value = "{}"
			}
		}
		cfg := DefaultConfig()
		if err := key.set(&cfg, key.Env(), value); err != nil {
			t.Errorf("%s: %v", key.Path, err)
		}
	}
	for _, path := range yamlPaths(t) {
		if !flags[Key{Path: path}.Flag()] {
			t.Errorf("%s can be set in the file but has no flag", path)
		}
	}
}

func TestDefaultRoute(t *testing.T) {
	const header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
	tests := []struct{ name, table, want string }{
		{"none", header, ""},
		{"only a subnet", header + "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", ""},
		{"default", header + "eth0\t0000000A\t0\t1\t0\t0\t0\t00FFFFFF\t0\t0\t0\neth1\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "eth1"},
		{"half a default", header + "tun0\t00000000\t0\t3\t0\t0\t0\t00000080\t0\t0\t0\n", ""},
	}
	for _, tt := range tests {
		got, err := defaultRoute(strings.NewReader(tt.table))
		if got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestSubnetTranslation(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DHCP.Subnets = []SubnetConfig{
		{Subnet: netip.MustParsePrefix("10.0.0.7/24"), Pools: []string{"10.0.0.10-10.0.0.20"}, Exclude: []string{"10.0.0.15"},
			Reservations: []ReservationConfig{
				{MAC: "52-54-00-00-00-01", Address: netip.MustParseAddr("10.0.0.5"), Hostname: "n1", Options: OptionsConfig{MTU: 9000}},
				{ClientID: "01:02:ff", Address: netip.MustParseAddr("10.0.0.6")},
				{CircuitID: "0x0102", Address: netip.MustParseAddr("10.0.0.7")},
				{CircuitID: "port 3", Address: netip.MustParseAddr("10.0.0.8")},
			}},
		{Subnet: netip.MustParsePrefix("10.1.0.0/24"), Mode: ModeProxy},
	}
	edges, pools, err := cfg.dhcpSubnets()
	if err != nil {
		t.Fatal(err)
	}
	if len(edges) != 2 || len(pools) != 1 || edges[0].Prefix.String() != "10.0.0.0/24" {
		t.Fatalf("%d edges, %d pools, first %v", len(edges), len(pools), edges[0].Prefix)
	}
	if got := edges[0].Reserved[netip.MustParseAddr("10.0.0.5")].MTU; got != 9000 {
		t.Errorf("reservation's MTU is %d", got)
	}
	got := pools[0].Reservations
	if got[0].MAC != "52:54:00:00:00:01" || got[0].Hostname != "n1" || string(got[1].ClientID) != "\x01\x02\xff" ||
		string(got[2].CircuitID) != "\x01\x02" || string(got[3].CircuitID) != "port 3" {
		t.Errorf("reservations: %+v", got)
	}
	cfg.DHCP.Subnets[0].Pools = []string{"10.0.0.20-10.0.0.10"}
	if _, _, err := cfg.dhcpSubnets(); err == nil || !strings.Contains(err.Error(), "dhcp.subnets[0] (10.0.0.7/24): pools:") {
		t.Errorf("a range that runs backwards: %v", err)
	}
}

// yamlPaths returns the paths of the configuration file's keys, down to the first level below "dhcp".
func yamlPaths(t *testing.T) []string {
	t.Helper()
	var node yaml.Node
	if err := node.Encode(DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for i := 0; i < len(node.Content); i += 2 {
		name := node.Content[i].Value
		if name != "dhcp" {
			paths = append(paths, name)
			continue
		}
		for j := 0; j < len(node.Content[i+1].Content); j += 2 {
			paths = append(paths, name+"."+node.Content[i+1].Content[j].Value)
		}
	}
	return paths
}
