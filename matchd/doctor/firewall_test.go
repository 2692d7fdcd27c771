package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/matchd/matchd/matchd/doctor"
)

// tools answers commands by their first word; one that is not listed is not installed.
func tools(answers map[string]string) *doctor.System {
	sys := host(nil)
	sys.Command = func(_ context.Context, name string, _ ...string) ([]byte, error) {
		text, ok := answers[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
		case text == "denied":
			return nil, errors.New("exit status 1: Operation not permitted (you must be root)")
		}
		return []byte(text), nil
	}
	return sys
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFirewall(t *testing.T) {
	nft, ipt := testdata(t, "nft.json"), testdata(t, "iptables.txt")
	const open = `{"nftables": [{"metainfo": {"version": "1.0.6"}}]}`
	const hidden = `{"nftables": [{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "policy": "drop"}},
		{"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"xt": {"type": "match", "name": "conntrack"}}, {"accept": null}]}}]}`
	tests := []struct {
		name  string
		tools map[string]string
		flow  string // protocol, port, interface
		want  string
	}{
		{"nft: interval of a named set", map[string]string{"nft": nft}, "udp 67 eth0", "ok firewall.open firewall: lets udp 67 on eth0 in"},
		{"nft: range of a named set", map[string]string{"nft": nft}, "udp 8050 eth0", "ok firewall.open"},
		{"nft: anonymous set", map[string]string{"nft": nft}, "tcp 8080 eth0", "ok firewall.open"},
		{"nft: transport header", map[string]string{"nft": nft}, "tcp 9000 eth1", "ok firewall.open"},
		{"nft: other protocol", map[string]string{"nft": nft}, "tcp 4011 eth0", "warn firewall.drop firewall: nft chain inet filter input drops tcp 4011 on eth0 → nft insert rule inet filter input tcp dport '{ 4011 }' accept"},
		{"nft: other interface", map[string]string{"nft": nft}, "udp 67 eth1", "warn firewall.drop firewall: nft chain inet filter input drops udp 67 on eth1"},
		{"nft: by source address", map[string]string{"nft": nft}, "udp 69 eth0", "info firewall.unclear firewall: nft chain inet filter input lets udp 69 on eth0 in under conditions"},
		{"nft: empty", map[string]string{"nft": open}, "udp 67 eth0", "ok firewall.open"},
		{"nft: broken answer", map[string]string{"nft": "{"}, "udp 67 eth0", "info firewall.unknown firewall: cannot tell: reading nft's answer"},
		{"iptables: range", map[string]string{"iptables": ipt}, "udp 69 eth0", "ok firewall.open"},
		{"iptables: no rule", map[string]string{"iptables": ipt}, "udp 4011 eth0", "warn firewall.drop firewall: iptables chain INPUT drops udp 4011 on eth0 → iptables -I INPUT -p udp -m multiport --dports 4011 -j ACCEPT"},
		{"iptables: multiport by source", map[string]string{"iptables": ipt}, "tcp 8080 eth0", "info firewall.unclear"},
		{"iptables: returned", map[string]string{"iptables": ipt}, "tcp 9000 eth0", "warn firewall.drop"},
		{"iptables: after a return", map[string]string{"iptables": ipt}, "tcp 9001 eth0", "ok firewall.open"},
		{"iptables: negation", map[string]string{"iptables": ipt}, "udp 4011 br0", "info firewall.unclear"},
		{"iptables: ufw", map[string]string{"iptables": ipt + "-N ufw-user\n"}, "udp 4011 eth0", "warn firewall.drop firewall: iptables chain INPUT drops udp 4011 on eth0 → ufw allow proto udp to any port 4011"},
		{"both: iptables knows the arguments", map[string]string{"nft": hidden, "iptables": ipt}, "udp 4011 eth0", "warn firewall.drop firewall: iptables chain INPUT"},
		{"both: nft alone shows them", map[string]string{"nft": hidden}, "udp 4011 eth0", "info firewall.unclear"},
		{"firewalld", map[string]string{"nft": strings.ReplaceAll(nft, `"table": "filter"`, `"table": "firewalld"`)}, "tcp 4011 eth0", "warn firewall.drop firewall: nft chain inet firewalld input drops tcp 4011 on eth0 → firewall-cmd --add-port=4011/tcp"},
		{"none installed", nil, "udp 67 eth0", "info firewall.unknown firewall: cannot tell: neither nft nor iptables is installed"},
		{"not root", map[string]string{"nft": "denied"}, "udp 67 eth0", "info firewall.unknown firewall: cannot tell: exit status 1: Operation not permitted"},
		{"not root, iptables", map[string]string{"iptables": "denied"}, "udp 67 eth0", "info firewall.unknown firewall: cannot tell: exit status 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var protocol, iface string
			var port uint16
			if _, err := fmt.Sscan(tt.flow, &protocol, &port, &iface); err != nil {
				t.Fatal(err)
			}
			wantLine(t, run(t, doctor.Options{
				System:     tools(tt.tools),
				Listeners:  []doctor.Listener{{Name: "x", Network: protocol, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Machines: true}},
				Interfaces: []doctor.Interface{{Name: iface, Mode: doctor.Proxy}},
			}), tt.want)
		})
	}
}

// TestFirewallLegacy shows that legacy iptables rules, which nft does not list, are looked at too.
func TestFirewallLegacy(t *testing.T) {
	sys := tools(map[string]string{"nft": `{"nftables": []}`, "iptables": testdata(t, "iptables.txt")})
	files := host(fstest.MapFS{"proc/self/net/ip_tables_names": {Data: []byte("filter\n")}}).Files
	sys.Files = files
	lines := run(t, doctor.Options{
		System:    sys,
		Listeners: []doctor.Listener{listener("dhcp", "udp", "0.0.0.0:4011", true, true), listener("tftp", "udp", "0.0.0.0:69", true, false)},
	})
	wantLine(t, lines, "info firewall.unclear firewall: iptables chain INPUT lets udp 4011 in")
}

// FuzzFirewall: whatever the tools print, a verdict comes out.
func FuzzFirewall(f *testing.F) {
	for _, name := range []string{"nft.json", "iptables.txt"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"nftables":[{"set":{"family":"ip","table":"t","name":"s","elem":["@s"]}},{"chain":{"family":"ip","table":"t","name":"c","hook":"input"}},
		{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"==","left":{"payload":{"field":"dport"}},"right":"@s"}},{"jump":{"target":"c"}}]}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, tool := range []string{"nft", "iptables"} {
			findings := doctor.Run(t.Context(), doctor.Options{
				System:    tools(map[string]string{tool: text}),
				Listeners: []doctor.Listener{listener("tftp", "udp", "0.0.0.0:69", true, false)},
			})
			if !strings.Contains(fmt.Sprint(findings), "firewall.") {
				t.Errorf("no verdict in %v", findings)
			}
		}
	})
}
