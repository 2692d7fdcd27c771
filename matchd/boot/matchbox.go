package boot

import (
	"maps"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/profiles"
)

// matchboxBootScript is matchbox's first script, to the byte.
const matchboxBootScript = "#!ipxe\n" +
	"chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}&serial=${serial}&arch=${buildarch:uristring}\n"

// matchboxLabels are what groups are matched by in place of [machine.Machine.Merge]: the query as it is, and what an operator set for the machine.
func matchboxLabels(known machine.Machine, query groups.Labels) groups.Labels {
	if len(known.Labels) == 0 {
		return query
	}
	labels := maps.Clone(query)
	maps.Copy(labels, known.Labels)
	return labels
}

// matchboxPlan gives a profile as it is: nothing is checked, completed or resolved, since matchbox does not.
func matchboxPlan(ask Ask, labels groups.Labels, group *groups.Group, profile *profiles.Profile) *Plan {
	plan := &Plan{
		Labels: labels, Group: group, Profile: profile, matchbox: true,
		Kernel: profile.Boot.Kernel, Args: profile.Boot.Args, BaseURL: ask.BaseURL, Query: ask.RawQuery,
		Reason: reason(group, profile),
	}
	for _, spec := range profile.Boot.Initrd {
		initrd, err := parseInitrd(spec)
		if err != nil {
			initrd = Initrd{Name: spec, URL: spec} // for the timeline's sake alone
		}
		plan.Initrds = append(plan.Initrds, initrd)
	}
	return plan
}

// matchboxIPXE writes matchbox's iPXE script: no quoting, no retry, initrds as the profile has them.
func matchboxIPXE(boot profiles.Boot) []byte {
	var b strings.Builder
	b.WriteString("#!ipxe\nkernel " + boot.Kernel)
	for _, arg := range boot.Args {
		b.WriteString(" " + arg)
	}
	b.WriteString("\n")
	for _, initrd := range boot.Initrd {
		b.WriteString("initrd " + initrd + "\n")
	}
	b.WriteString("boot\n")
	return []byte(b.String())
}

// matchboxGRUB writes matchbox's GRUB config: one entry for EFI, one for BIOS, the former at once and the latter should it fail.
func matchboxGRUB(boot profiles.Boot) []byte {
	var args, initrds strings.Builder
	for _, arg := range boot.Args {
		args.WriteString(" " + arg)
	}
	for _, initrd := range boot.Initrd {
		initrds.WriteString(` "` + initrd + `"`)
	}
	var b strings.Builder
	b.WriteString("default=0\nfallback=1\ntimeout=1\n")
	for _, entry := range [...]struct{ title, linux, initrd string }{
		{"CoreOS (EFI)", "linuxefi", "initrdefi"}, {"CoreOS (BIOS)", "linux", "initrd"},
	} {
		b.WriteString("menuentry \"" + entry.title + "\" {\n")
		b.WriteString("echo \"Loading kernel\"\n" + entry.linux + " \"" + boot.Kernel + "\"" + args.String() + "\n")
		b.WriteString("echo \"Loading initrd\"\n" + entry.initrd + " " + initrds.String() + "\n}\n")
	}
	return []byte(b.String())
}
