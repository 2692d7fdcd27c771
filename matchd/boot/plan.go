package boot

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/profiles"
)

// What a profile's kernel arguments hold where the planner shall put a URL of this server.
const (
	ConfigURL = "${matchd:config-url}" // the machine's own Ignition config
	BaseURL   = "${matchd:base-url}"   // scheme, host and port without a slash: how the machine reaches us
)

// Disposition is what a plan tells a machine to do.
type Disposition int

// Dispositions.
const (
	// Run means to load kernel and initrds and start them.
	Run Disposition = iota
	// Disk means to go on with the next boot device.
	Disk
	// Hold means to wait and ask again.
	Hold
)

// Plan is what one machine boots, and where from. The writers [Plan.IPXE] and [Plan.GRUB] put it into a network boot program's language.
type Plan struct {
	Do      Disposition
	Exit    ExitMethod // how to reach the disk; for Disk
	Reason  string     // for people: which group and profile, or why to disk
	Labels  groups.Labels
	Group   *groups.Group
	Profile *profiles.Profile
	Kernel  string   // as in the profile
	Initrds []Initrd // in order
	Args    []string // kernel arguments; iPXE variables are still in place
	BaseURL string   // how the machine reaches us
	Query   string   // to ask for this plan again

	matchbox bool // written as matchbox does, to the byte
}

// Initrd is one initial RAM disk image under the name that the kernel finds it by (UEFI; initrd= on the command line).
type Initrd struct {
	Name string
	URL  string

	named bool // by its author
}

// reason says for people what led to a profile.
func reason(group *groups.Group, profile *profiles.Profile) string {
	return fmt.Sprintf("group %q gives profile %q", group.ID, profile.ID)
}

// newPlan resolves a profile for one machine. A profile that boots nothing is for installed machines, which boot from their disks: matchbox's
// "kernel" line without a kernel has that effect. One that has initrds or arguments but no kernel was meant otherwise, which is Invalid.
func newPlan(ask Ask, labels groups.Labels, group *groups.Group, profile *profiles.Profile) (Plan, error) {
	plan := Plan{
		Labels: labels, Group: group, Profile: profile,
		Kernel: profile.Boot.Kernel, BaseURL: ask.BaseURL, Query: ask.RawQuery,
		Reason: reason(group, profile),
	}
	switch {
	case plan.Kernel == "" && len(profile.Boot.Initrd)+len(profile.Boot.Args) == 0:
		plan.Do = Disk
		plan.Reason += ", which boots nothing from the network: it has no boot.kernel"
		return plan, nil
	case plan.Kernel == "":
		return Plan{}, fault.New(fault.Invalid, "profile %q has boot.initrd or boot.args but no boot.kernel", profile.ID)
	}
	urls := strings.NewReplacer(ConfigURL, configURL(ask), BaseURL, ask.BaseURL)
	plan.Args = make([]string, 0, len(profile.Boot.Args)+len(profile.Boot.Initrd))
	for _, arg := range profile.Boot.Args {
		plan.Args = append(plan.Args, urls.Replace(arg))
	}
	for _, spec := range profile.Boot.Initrd {
		initrd, err := parseInitrd(spec)
		if err != nil {
			return Plan{}, fault.New(fault.Invalid, "profile %q: boot.initrd %q: %w", profile.ID, spec, err)
		}
		plan.Initrds = append(plan.Initrds, initrd)
	}
	switch {
	case profile.Config == profiles.ConfigInitrd, profile.Config == profiles.ConfigPointer && !plan.fetchesConfig():
		plan.embedConfig(ask)
	}
	plan.nameInitrds()
	return plan, nil
}

func configURL(ask Ask) string { return labelledURL(ask, "/ignition") }

// labelledURL repeats every label of the request, because the config's group must be found by what the script's group was found by.
func labelledURL(ask Ask, path string) string {
	if q := query(ask.Labels); q != "" {
		path += "?" + q
	}
	return ask.BaseURL + path
}

// query writes labels as a URL's query, those that are empty left out.
func query(labels groups.Labels) string {
	pairs := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if value := labels[key]; value != "" {
			pairs = append(pairs, escapeQuery(key)+"="+escapeQuery(value))
		}
	}
	return strings.Join(pairs, "&")
}

// escapeQuery writes a space as %20: a plus sign is a space to a server but not to everybody who prints a kernel command line.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// parseInitrd reads "URL" or iPXE's "--name NAME URL".
func parseInitrd(spec string) (Initrd, error) {
	fields := strings.Fields(spec)
	switch {
	case len(fields) == 1 && !strings.HasPrefix(fields[0], "-"):
		return Initrd{Name: baseName(fields[0]), URL: fields[0]}, nil
	case len(fields) == 3 && (fields[0] == "--name" || fields[0] == "-n"):
		return Initrd{Name: fields[1], URL: fields[2], named: true}, nil
	}
	return Initrd{}, errors.New(`want "URL" or "--name NAME URL"`)
}

func baseName(location string) string {
	if u, err := url.Parse(location); err == nil && u.Path != "" {
		return path.Base(u.Path)
	}
	return path.Base(location)
}

// nameInitrds makes the initrd= arguments and the images' names agree: a UEFI kernel finds its initrd by that name alone. A name that
// no image has is given to the next image that nobody asks for (published profiles say "initrd=main" and list a plain URL). In the end the
// arguments name every image once, in the order of the images, because a later one overlays those before it.
func (p *Plan) nameInitrds() {
	images := make(map[string]bool, len(p.Initrds))
	for _, initrd := range p.Initrds {
		images[initrd.Name] = true
	}
	var strays []string
	asked := make(map[string]bool, len(p.Initrds))
	kept := make([]string, 0, len(p.Args))
	for _, arg := range p.Args {
		name, ok := strings.CutPrefix(arg, "initrd=")
		switch {
		case !ok:
			kept = append(kept, arg)
		case images[name]:
			asked[name] = true
		default:
			strays = append(strays, name)
		}
	}
	args := make([]string, 0, len(p.Initrds)+len(kept))
	for i := range p.Initrds {
		initrd := &p.Initrds[i]
		if !asked[initrd.Name] && !initrd.named && len(strays) > 0 {
			initrd.Name, strays = strays[0], strays[1:]
		}
		args = append(args, "initrd="+initrd.Name)
	}
	for _, name := range strays { // nothing of ours; whoever wrote it knows why
		args = append(args, "initrd="+name)
	}
	p.Args = append(args, kept...)
}

// absolute resolves a location of a profile against our own address: "/assets/vmlinuz" is on this server.
func (p *Plan) absolute(location string) string {
	if strings.HasPrefix(location, "/") {
		return p.BaseURL + location
	}
	return location
}
