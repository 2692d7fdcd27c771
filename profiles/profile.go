// Package profiles describes what a machine boots: kernel, initial RAM disks, kernel arguments and the names of the
// templates that make its configuration. A [Profile] holds names, not contents; who serves it looks them up.
package profiles

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits on what one profile or template may hold.
const (
	MaxArgLength    = 4096       // bytes of one kernel argument
	MaxCommandLine  = 64 * 1024  // bytes of all kernel arguments; kernels take 2 to 64 KiB, depending on architecture
	MaxInitrds      = 64         // initrd images of one profile
	MaxTemplateSize = 256 * 1024 // bytes of one template
	MaxSnippets     = 64         // in one list
)

// ConfigMode says how a machine gets its Ignition config.
type ConfigMode string

// Config modes. The empty mode is [ConfigURL].
const (
	// ConfigURL leaves it to an ignition.config.url among the kernel arguments.
	ConfigURL ConfigMode = "url"
	// ConfigInitrd appends an initrd that holds the config.
	ConfigInitrd ConfigMode = "initrd"
	// ConfigPointer gives a config that points to the real one over HTTPS: in an initrd or, where the kernel arguments make the machine fetch its
	// config, by plain HTTP.
	ConfigPointer ConfigMode = "pointer"
)

// Loader is the family of network boot programs that a machine gets.
type Loader string

// Loaders. With the empty loader the machine's architecture decides.
const (
	LoaderIPXE Loader = "ipxe" // iPXE's script does the rest
	LoaderShim Loader = "shim" // Secure Boot: signed shim, signed GRUB, signed kernel, over TFTP
	LoaderGRUB Loader = "grub" // GRUB without shim, over TFTP
)

// Boot is what a network boot program loads.
type Boot struct {
	Kernel string   `json:"kernel,omitempty"` // URL, or absolute path on this server such as /assets/vmlinuz
	Initrd []string `json:"initrd,omitempty"` // the same, each optionally preceded by iPXE's "--name NAME "
	Args   []string `json:"args,omitempty"`   // kernel arguments, in order
}

// Profile is a named way to boot and configure machines.
type Profile struct {
	ID         string   `json:"id"`
	Name       string   `json:"name,omitempty"`
	Boot       Boot     `json:"boot,omitzero"`
	IgnitionID string   `json:"ignition_id,omitempty"` // Butane or Ignition template
	GenericID  string   `json:"generic_id,omitempty"`
	CloudID    string   `json:"cloud_id,omitempty"`
	Snippets   []string `json:"snippets,omitempty"` // Ignition templates merged over ignition_id's, in order
	// PlatformSnippets names Ignition templates by platform; a machine gets those of its own, merged after Snippets.
	PlatformSnippets     map[string][]string `json:"platform_snippets,omitempty"`
	IgnitionVersion      string              `json:"ignition_version,omitempty"` // spec version to translate the config up to, such as "3.4.0"
	AllowUnhashedSources bool                `json:"allow_unhashed_sources,omitempty"`
	Config               ConfigMode          `json:"config,omitempty"` // default url
	Cluster              string              `json:"cluster,omitempty"`
	OS                   string              `json:"os,omitempty"`     // "fedora-coreos" or "flatcar"
	Loader               Loader              `json:"loader,omitempty"` // default: the architecture's
}

// The operating systems whose ways to take a config are known.
const (
	FedoraCoreOS = "fedora-coreos"
	Flatcar      = "flatcar"
)

// Metal is the platform of a machine of which nobody said anything else.
const Metal = "metal"

// Platforms returns the values of the label "platform", which the server sets and no query can.
func Platforms() []string { return []string{Metal, "aws", "azure", "gcp", "digitalocean"} }

// Kind is the namespace of a template; it is also the name of the directory that holds it in a site.
type Kind string

// Kinds of templates.
const (
	Ignition Kind = "ignition"
	Generic  Kind = "generic"
	Cloud    Kind = "cloud"
)

// Template is a named document: a Go template, or under [Ignition] with the suffix .ign or .ignition a config sent as it is.
type Template struct {
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$`)
	specVersion = regexp.MustCompile(`^3\.[0-9]+\.0$`)
)

// MaxIDLength is the length of the longest id or template name, in bytes.
const MaxIDLength = 253

func checkID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s: is empty", field)
	case len(id) > MaxIDLength:
		return fmt.Errorf("%s: has %d bytes, at most %d are allowed", field, len(id), MaxIDLength)
	case !idPattern.MatchString(id):
		return fmt.Errorf("%s: %q may hold letters, digits and _ . : @ - only, and starts with a letter, a digit or _", field, id)
	}
	return nil
}

// Validate returns everything that is wrong with the profile by itself, joined; each error starts with the field's name.
// Whether the templates that it names exist is not looked at.
func (p *Profile) Validate() error {
	errs := []error{checkID("id", p.ID), p.Boot.validate()}
	for _, ref := range [...][2]string{{"ignition_id", p.IgnitionID}, {"generic_id", p.GenericID}, {"cloud_id", p.CloudID}} {
		if ref[1] != "" {
			errs = append(errs, checkID(ref[0], ref[1]))
		}
	}
	if len(p.Snippets) > MaxSnippets {
		errs = append(errs, fmt.Errorf("snippets: %d names, at most %d are allowed", len(p.Snippets), MaxSnippets))
	}
	for i, name := range p.Snippets {
		errs = append(errs, checkID(fmt.Sprintf("snippets[%d]", i), name))
	}
	for _, platform := range slices.Sorted(maps.Keys(p.PlatformSnippets)) {
		if !slices.Contains(Platforms(), platform) {
			errs = append(errs, fmt.Errorf("platform_snippets.%s: there is no platform %q, but %s", platform, platform, strings.Join(Platforms(), ", ")))
		}
		if n := len(p.PlatformSnippets[platform]); n > MaxSnippets {
			errs = append(errs, fmt.Errorf("platform_snippets.%s: %d names, at most %d are allowed", platform, n, MaxSnippets))
		}
		for i, name := range p.PlatformSnippets[platform] {
			errs = append(errs, checkID(fmt.Sprintf("platform_snippets.%s[%d]", platform, i), name))
		}
	}
	if p.IgnitionVersion != "" && !specVersion.MatchString(p.IgnitionVersion) {
		errs = append(errs, fmt.Errorf(`ignition_version: %q is not a spec version such as "3.4.0"`, p.IgnitionVersion))
	}
	switch p.Config {
	case "", ConfigURL, ConfigInitrd, ConfigPointer:
	default:
		errs = append(errs, fmt.Errorf("config: %q is none of url, initrd, pointer", p.Config))
	}
	switch p.OS {
	case "", FedoraCoreOS, Flatcar:
	default:
		errs = append(errs, fmt.Errorf("os: %q is none of %s, %s", p.OS, FedoraCoreOS, Flatcar))
	}
	if !p.Loader.Valid() {
		errs = append(errs, fmt.Errorf("loader: %q is none of ipxe, shim, grub", p.Loader))
	}
	return errors.Join(errs...)
}

// Composition returns the names of the Ignition templates that are merged over the profile's ignition_id, in order: the profile's snippets,
// those of the machine's platform ("" is [Metal]), those of its group. Each wins over what comes before it.
func (p *Profile) Composition(platform string, group []string) []string {
	if platform == "" {
		platform = Metal
	}
	return slices.Concat(p.Snippets, p.PlatformSnippets[platform], group)
}

// Valid reports whether l names a loader or is empty.
func (l Loader) Valid() bool {
	switch l {
	case "", LoaderIPXE, LoaderShim, LoaderGRUB:
		return true
	}
	return false
}

// validate refuses what could smuggle a second command into a boot script: these strings become lines of iPXE and GRUB text.
func (b *Boot) validate() error {
	var errs []error
	if hasControl(b.Kernel) || strings.ContainsAny(b.Kernel, " \t") {
		errs = append(errs, errors.New("boot.kernel: a URL or path holds no white space and no control characters"))
	}
	if len(b.Initrd) > MaxInitrds {
		errs = append(errs, fmt.Errorf("boot.initrd: %d images, at most %d are allowed", len(b.Initrd), MaxInitrds))
	}
	for i, initrd := range b.Initrd {
		if strings.TrimSpace(initrd) == "" || hasControl(initrd) {
			errs = append(errs, fmt.Errorf("boot.initrd[%d]: is empty or holds a control character", i))
		}
	}
	total := 0
	for i, arg := range b.Args {
		total += len(arg) + 1
		if arg == "" || len(arg) > MaxArgLength || hasControl(arg) {
			errs = append(errs, fmt.Errorf("boot.args[%d]: an argument has 1 to %d bytes and no line break or control character", i, MaxArgLength))
		}
	}
	if total > MaxCommandLine {
		errs = append(errs, fmt.Errorf("boot.args: %d bytes in all, at most %d are allowed", total, MaxCommandLine))
	}
	return errors.Join(errs...)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// Validate returns everything that is wrong with the template's name, kind and size.
func (t *Template) Validate() error {
	errs := []error{checkID("name", t.Name)}
	switch t.Kind {
	case Ignition, Generic, Cloud:
	default:
		errs = append(errs, fmt.Errorf("kind: %q is none of ignition, generic, cloud", t.Kind))
	}
	if len(t.Content) > MaxTemplateSize {
		errs = append(errs, fmt.Errorf("content: has %d bytes, at most %d are allowed", len(t.Content), MaxTemplateSize))
	}
	return errors.Join(errs...)
}
