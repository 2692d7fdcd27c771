package boot

import (
	"fmt"
	"net/url"
	"path"
	"sort"
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
}

// Initrd is one initial RAM disk image under the name that the kernel finds it by (UEFI; initrd= on the command line).
type Initrd struct {
	Name string
	URL  string
}

// newPlan resolves a profile for one machine. A profile without a kernel cannot be booted, which is Invalid: an empty
// "kernel" line would leave the machine at a prompt.
func newPlan(ask Ask, labels groups.Labels, group *groups.Group, profile *profiles.Profile) (Plan, error) {
	plan := Plan{
		Labels: labels, Group: group, Profile: profile,
		Kernel: profile.Boot.Kernel, BaseURL: ask.BaseURL, Query: ask.RawQuery,
		Reason: fmt.Sprintf("group %q gives profile %q", group.ID, profile.ID),
	}
	if plan.Kernel == "" {
		return Plan{}, fault.New(fault.Invalid, "profile %q has no boot.kernel: it configures installed machines and cannot be booted from the network", profile.ID)
	}
	urls := strings.NewReplacer(ConfigURL, configURL(ask), BaseURL, ask.BaseURL)
	plan.Args = make([]string, 0, len(profile.Boot.Args)+len(profile.Boot.Initrd))
	for _, arg := range profile.Boot.Args {
		plan.Args = append(plan.Args, urls.Replace(arg))
	}
	var named []string
	for _, spec := range profile.Boot.Initrd {
		initrd, explicit, err := parseInitrd(spec)
		if err != nil {
			return Plan{}, fault.New(fault.Invalid, "profile %q: boot.initrd %q: %w", profile.ID, spec, err)
		}
		plan.Initrds = append(plan.Initrds, initrd)
		if explicit {
			named = append(named, initrd.Name)
		}
	}
	plan.nameInitrds(len(named) > 0)
	return plan, nil
}

// configURL repeats every label of the request, because the config's group must be found by what the script's group was found by.
func configURL(ask Ask) string {
	keys := make([]string, 0, len(ask.Labels))
	for key, value := range ask.Labels {
		if value != "" {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	var b strings.Builder
	b.WriteString(ask.BaseURL + "/ignition")
	for i, key := range keys {
		separator := byte('&')
		if i == 0 {
			separator = '?'
		}
		b.WriteByte(separator)
		b.WriteString(escapeQuery(key) + "=" + escapeQuery(ask.Labels[key]))
	}
	return b.String()
}

// escapeQuery writes a space as %20: a plus sign is a space to a server but not to everybody who prints a kernel command line.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// parseInitrd reads "URL" or iPXE's "--name NAME URL"; explicit reports the latter.
func parseInitrd(spec string) (initrd Initrd, explicit bool, err error) {
	fields := strings.Fields(spec)
	if len(fields) > 0 && (fields[0] == "--name" || fields[0] == "-n") {
		fields, explicit = fields[1:], true
	}
	switch {
	case explicit && len(fields) == 2:
		return Initrd{Name: fields[0], URL: fields[1]}, true, nil
	case !explicit && len(fields) == 1:
		return Initrd{Name: baseName(fields[0]), URL: fields[0]}, false, nil
	}
	return Initrd{}, false, fmt.Errorf(`want "URL" or "--name NAME URL"`)
}

func baseName(location string) string {
	if u, err := url.Parse(location); err == nil && u.Path != "" {
		return path.Base(u.Path)
	}
	return path.Base(location)
}

// nameInitrds makes the initrd= arguments and the images' names agree: a UEFI kernel finds its initrd by that name alone. An
// argument without an image of that name gives its name to the image at its place (published profiles say "initrd=main" and list a plain URL);
// an image that no argument names gets one.
func (p *Plan) nameInitrds(explicit bool) {
	var asked []string
	for _, arg := range p.Args {
		if name, ok := strings.CutPrefix(arg, "initrd="); ok {
			asked = append(asked, name)
		}
	}
	if !explicit && len(asked) == len(p.Initrds) {
		for i, name := range asked {
			p.Initrds[i].Name = name
		}
		return
	}
	has := make(map[string]bool, len(asked))
	for _, name := range asked {
		has[name] = true
	}
	var missing []string
	for _, initrd := range p.Initrds {
		if !has[initrd.Name] {
			missing = append(missing, "initrd="+initrd.Name)
		}
	}
	p.Args = append(missing, p.Args...)
}

// absolute resolves a location of a profile against our own address: "/assets/vmlinuz" is on this server.
func (p *Plan) absolute(location string) string {
	if strings.HasPrefix(location, "/") {
		return p.BaseURL + location
	}
	return location
}
