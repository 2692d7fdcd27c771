package boot

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

// raspberryPi lists the vendor prefixes of Raspberry Pis: their EEPROM claims to be an x86 BIOS (rpi-eeprom#182), and an x86 loader would
// leave them at a rainbow screen. A Pi with UEFI firmware sends architecture 11 and is served like any other.
var raspberryPi = [...]string{"b8:27:eb", "dc:a6:32", "e4:5f:01", "28:cd:c1", "d8:3a:dd", "2c:cf:67", "88:a2:9e"}

// Stage decides what firmware, or an iPXE that just started, is given next.
func (p *Planner) Stage(_ context.Context, req Request) Decision {
	m := req.Machine
	if known, ok := p.opt.Machines.ByMAC(m.MAC); ok {
		m.Labels = known.Labels
	}
	decision := Decision{Server: req.Server}
	match := p.peek(m, &decision)
	if match.impossible && p.opt.Unmatched == UnmatchedIgnore {
		decision.Reason = "no group can match, and unmatched machines are ignored: " + match.why
		return decision
	}
	if req.IPXE && req.Capable {
		decision.Action = Script
		decision.File = p.BaseURL(req.Server) + "/m/" + m.MAC.Hyphens() + "/boot.ipxe"
		decision.Reason = "iPXE can load by HTTP: it gets its script" + match.note()
		return decision
	}
	p.chooseLoader(req, match, &decision)
	return decision
}

// provisional is what can be said of a match before a script told all the machine's facts.
type provisional struct {
	profile    *profiles.Profile
	impossible bool   // whatever the facts still unknown, no group can match
	why        string // for people
}

func (m provisional) note() string {
	if m.why == "" {
		return ""
	}
	return " (" + m.why + ")"
}

func (p *Planner) peek(m machine.Machine, decision *Decision) provisional {
	snapshot := p.opt.Catalog.Current()
	if snapshot == nil {
		return provisional{why: "no site has been loaded yet"}
	}
	labels := m.Known()
	selection, err := snapshot.Match(labels)
	if err == nil {
		decision.Group, decision.Profile = selection.Group.ID, selection.Profile.ID
		return provisional{profile: selection.Profile, why: fmt.Sprintf("group %q, profile %q so far", selection.Group.ID, selection.Profile.ID)}
	}
	if fault.Is(err, fault.NotFound) && !p.possible(snapshot, labels) {
		return provisional{impossible: true, why: snapshot.Groups.Explain(labels).String()}
	}
	return provisional{why: "its group shows when it has told all its facts"}
}

// chooseLoader fills in the network boot program for the first architecture type that there is one for.
func (p *Planner) chooseLoader(req Request, match provisional, decision *Decision) {
	decision.Action = Refuse
	if len(req.Arches) == 0 {
		decision.Reason = "the client tells no architecture, neither in option 93 nor in option 60"
		return
	}
	var refusals []string
	for _, arch := range req.Arches {
		name, why := p.loaderFor(arch, req, match)
		if name == "" {
			refusals = append(refusals, why)
			continue
		}
		decision.Action, decision.Arch, decision.Loader = Load, arch, name
		decision.File = p.loaderFile(req, arch, name)
		decision.Reason = fmt.Sprintf("architecture %s gets %s%s", arch, name, match.note())
		return
	}
	decision.Arch = req.Arches[0]
	decision.Reason = strings.Join(refusals, "; ")
}

// loaderFile returns the boot file in the form that this client takes: firmware a path or a URL of its own kind, a ROM iPXE that
// cannot start Linux a tftp URL (a bare name would be looked up next to the ROM's own idea of a server).
func (p *Planner) loaderFile(req Request, arch machine.Arch, name string) string {
	file := "m/" + req.Machine.MAC.Hyphens() + "/" + name
	traits, _ := arch.Traits()
	switch {
	case req.HTTPBoot || traits.HTTP:
		return p.BaseURL(req.Server) + "/" + file
	case req.IPXE:
		return "tftp://" + req.Server.String() + "/" + file
	}
	return file
}

// loaderFor returns the loader's name, or why there is none.
func (p *Planner) loaderFor(arch machine.Arch, req Request, match provisional) (name, why string) {
	traits, registered := arch.Traits()
	switch {
	case !registered || !arch.Bootable():
		return "", fmt.Sprintf("architecture %s is not served", arch)
	case traits.Platform == machine.BIOS && isRaspberryPi(req.Machine.MAC):
		return "", "a Raspberry Pi's EEPROM claims to be an x86 BIOS; give it UEFI firmware to boot it from here"
	}
	family, file := p.wanted(req.Machine.MAC, match.profile)
	if file != "" {
		return file, ""
	}
	candidates := p.opt.Loaders.For(arch.LoaderKey(), string(family))
	if len(candidates) == 0 {
		return "", fmt.Sprintf("there is no %s loader for architecture %s (%s): see matchd version --loaders", familyName(family), arch, arch.LoaderKey())
	}
	name = candidates[p.round(req.Machine.MAC)%len(candidates)]
	if traits.HTTP && isGRUB(name) {
		// Captured: Debian's GRUB 2.06 loads over HTTP Boot and then never touches the network.
		return "", fmt.Sprintf("architecture %s would get %s, which cannot go on over HTTP: let the firmware boot by PXE instead", arch, name)
	}
	return name, ""
}

// wanted returns the family or the very file that the machine's settings ask for, else its profile's.
func (p *Planner) wanted(mac machine.MAC, profile *profiles.Profile) (family profiles.Loader, file string) {
	if override := p.override(mac).Loader; override != "" {
		if profiles.Loader(override).Valid() {
			return profiles.Loader(override), ""
		}
		return "", override
	}
	if profile != nil {
		return profile.Loader, ""
	}
	return "", ""
}

func (p *Planner) round(mac machine.MAC) int {
	if p.opt.Loops == nil {
		return 0
	}
	return p.opt.Loops.Round(mac)
}

func familyName(family profiles.Loader) string {
	if family == "" {
		return "network"
	}
	return string(family)
}

func isGRUB(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "grub") || strings.HasPrefix(base, "shim")
}

func isRaspberryPi(mac machine.MAC) bool {
	for _, prefix := range raspberryPi {
		if strings.HasPrefix(mac.String(), prefix) {
			return true
		}
	}
	return false
}

var _ Catalog = (*catalog.Catalog)(nil)
