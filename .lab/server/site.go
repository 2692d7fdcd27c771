package server

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/matchd/matchd/lab/machine"
)

// Subnet is the configuration of a DHCP server on the lab's bridge: 10.77.0.1/24.
const Subnet = `dhcp:
  interfaces:
    - {name: lan0, mode: server}
  subnets:
    - subnet: 10.77.0.0/24
      pools: [10.77.0.100-10.77.0.200]
      options: {router: [10.77.0.1], domain: lab.test}
`

// Butane is the template of every lab machine. What it writes is what tests look at:
// each line comes from another place that a template may draw from.
const Butane = `variant: fcos
version: 1.5.0
passwd:
  users:
    - name: core
      groups: [sudo]
      ssh_authorized_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxhYmxh lab"]
storage:
  files:
    - path: /etc/hostname
      mode: 0644
      contents: {inline: "{{.hostname}}\n"}
    - path: /etc/lab/role
      mode: 0640
      contents: {inline: "{{.role}}"}
    - path: /etc/lab/mac
      contents: {inline: "{{.request.query.mac}}"}
systemd:
  units:
    - name: lab.service
      enabled: true
      contents: |
        [Unit]
        Description=a unit of {{.hostname}}
        [Service]
        ExecStart=/bin/true
        [Install]
        WantedBy=multi-user.target
`

// Profile returns a profile file that boots the lab's guest on machines of this kind.
func Profile(id string, f machine.Firmware) string {
	extra := map[string]any{}
	if f == machine.SecureBoot {
		extra["loader"] = "shim"
	}
	return ProfileWithArgs(id, f, []string{"initrd=initrd", "panic=1", "console=" + f.Console(), "BOOTIF=01-${net0/mac:hexhyp}",
		"ignition.config.url=${matchd:config-url}"}, extra)
}

// ProfileWithArgs is Profile with these kernel arguments and further fields.
func ProfileWithArgs(id string, f machine.Firmware, args []string, extra map[string]any) string {
	profile := map[string]any{
		"id": id, "name": "lab guest for " + string(f), "ignition_id": "lab.bu",
		"boot": map[string]any{
			"kernel": "/assets/" + f.Arch() + "/vmlinuz",
			"initrd": []string{"/assets/" + f.Arch() + "/initrd"},
			"args":   args,
		},
	}
	maps.Copy(profile, extra)
	return marshal(profile)
}

// Group returns a group file that gives machines with these labels a profile; role and
// hostname reach the template as metadata.
func Group(id, profile, role string, selector map[string]string) string {
	return marshal(map[string]any{
		"id": id, "profile": profile, "selector": selector,
		"metadata": map[string]any{"role": role, "hostname": id + ".lab.test"},
	})
}

// Site returns a site with one group and one profile for one machine.
func Site(f machine.Firmware, mac, role string) map[string]string {
	return map[string]string{
		"ignition/lab.bu":               Butane,
		"profiles/guest.json":           Profile("guest", f),
		"groups/node-" + role + ".json": Group("node-"+role, "guest", role, map[string]string{"mac": mac}),
	}
}

func marshal(v any) string {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("a map of strings does not marshal: %v", err))
	}
	return string(content) + "\n"
}
