// Package machine says who is asking.
//
// A [Machine] is what is known of a client: its addresses, identity and firmware, gathered from DHCP packets, from the labels of
// a query and from configuration. The wires differ, the machine is one.
package machine

import (
	"net/netip"
	"strings"
)

// Machine is a client as far as it is known. The zero value knows nothing.
type Machine struct {
	MAC          MAC
	UUID         string // lower-case text form of SMBIOS; empty if unknown
	Serial       string
	Manufacturer string
	Product      string
	Asset        string
	Hostname     string
	Address      netip.Addr // last address seen or leased
	Arch         Arch       // option 93; meaningful only with HasArch
	HasArch      bool
	Labels       map[string]string // set by an operator; they outrank what a query claims
}

// Labels that only the server may set for a machine that it knows: a query cannot override them.
var serverLabels = [...]string{"mac", "uuid", "serial", "platform", "provider", "instance-id", "region", "zone", "account"}

// ServerLabels returns the names of the labels that a query cannot override for a known machine.
func ServerLabels() []string { return serverLabels[:] }

// Known returns the labels that the server knows of the machine: identity, platform, derived CPU and what an operator set.
// Unknown facts are absent rather than empty.
func (m *Machine) Known() map[string]string {
	labels := map[string]string{"platform": "metal"}
	set := func(key, value string) {
		if value != "" {
			labels[key] = value
		}
	}
	for key, value := range m.Labels {
		set(key, value)
	}
	set("mac", m.MAC.String())
	set("uuid", m.UUID)
	set("serial", m.Serial)
	if m.HasArch {
		t, _ := m.Arch.Traits()
		set("cpu_arch", t.CPU)
		set("firmware", string(t.Platform))
	}
	return labels
}

// Merge returns the labels of a query with what the server knows laid over them: for [ServerLabels] and for an operator's
// labels the server wins, for everything else the query does. A query that has the machine's UUID in another case or byte order keeps its
// spelling, which is the one that groups are written for. The query's own "platform" (iPXE's pcbios or efi) arrives as "firmware".
func (m *Machine) Merge(query map[string]string) map[string]string {
	merged := make(map[string]string, len(query)+4)
	for key, value := range query {
		if key == "platform" {
			if _, given := query["firmware"]; !given {
				merged["firmware"] = value
			}
			continue
		}
		merged[key] = value
	}
	known := m.Known()
	for key, value := range known {
		claim, claimed := merged[key]
		if claimed && (!m.owns(key) || key == "uuid" && sameUUID(claim, value)) {
			continue
		}
		merged[key] = value
	}
	return merged
}

// owns reports whether the server's value of a label outranks a query's.
func (m *Machine) owns(key string) bool {
	if _, set := m.Labels[key]; set {
		return true
	}
	for _, label := range serverLabels {
		if label == key {
			return true
		}
	}
	return false
}

// SwapUUID exchanges the byte order of the first three fields of a UUID in text form: firmware sends them little-endian, some
// clients big-endian (RFC 4578 section 2.3 leaves it open), so a UUID is looked up both ways. Anything else comes back unchanged.
func SwapUUID(uuid string) string {
	parts := strings.Split(uuid, "-")
	if len(parts) != 5 || len(uuid) != 36 {
		return uuid
	}
	for i := range 3 {
		parts[i] = swapHexBytes(parts[i])
	}
	return strings.Join(parts, "-")
}

func sameUUID(a, b string) bool {
	return strings.EqualFold(a, b) || strings.EqualFold(SwapUUID(a), b)
}

func swapHexBytes(s string) string {
	var b strings.Builder
	for i := len(s) - 2; i >= 0; i -= 2 {
		b.WriteString(s[i : i+2])
	}
	return b.String()
}
