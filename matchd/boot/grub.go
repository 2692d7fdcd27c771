package boot

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Trampoline is the grub.cfg that every GRUB reads first: its prefix is compiled in, so the file is the same for all machines, and only
// GRUB itself knows surely which of its interfaces it came by.
const Trampoline = "configfile /m/${net_default_mac}/grub.cfg\n"

// grubVariables translates iPXE's settings to what GRUB knows by itself (GRUB manual, "Special environment variables", net_default_*).
var grubVariables = map[string]string{
	"mac":         "net_default_mac",
	"ip":          "net_default_ip",
	"next-server": "net_default_server",
	"hostname":    "net_default_hostname",
	"domain":      "net_default_domain",
	"buildarch":   "grub_cpu",
	"platform":    "grub_platform",
	"filename":    "boot_file_name",
}

// smbiosFields translates iPXE's SMBIOS settings to the arguments of GRUB's smbios command (SMBIOS 3.7, type 1: system, type 3: chassis).
var smbiosFields = map[string]string{
	"uuid":         "--type 1 --get-uuid 8",
	"serial":       "--type 1 --get-string 7",
	"manufacturer": "--type 1 --get-string 4",
	"product":      "--type 1 --get-string 5",
	"asset":        "--type 3 --get-string 8",
}

// smbiosOrder keeps the script's bytes the same from one request to the next.
var smbiosOrder = [...]string{"uuid", "serial", "manufacturer", "product", "asset"}

var ipxeVariable = regexp.MustCompile(`\$\{([^}]*)\}`)

// GRUB writes the plan as a GRUB 2 configuration.
func (p *Plan) GRUB() []byte {
	if p.matchbox {
		return matchboxGRUB(p.Profile.Boot)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "echo %s\n", grubQuote("matchd: "+p.Reason))
	switch p.Do {
	case Disk:
		b.WriteString(p.grubExit())
	case Hold:
		b.WriteString(p.grubAgain())
	default:
		p.grubRun(&b)
	}
	return []byte(b.String())
}

func (p *Plan) grubRun(b *strings.Builder) {
	for _, name := range smbiosOrder {
		if !p.usesVariable(name) {
			continue
		}
		// What DHCP told is right even where this GRUB has no smbios command; the command, where it works, writes the same.
		fmt.Fprintf(b, "set matchd_%s=%s\n", name, grubQuote(p.Labels[name]))
		fmt.Fprintf(b, "smbios %s --set matchd_%s\n", smbiosFields[name], name)
	}
	fmt.Fprintf(b, "if linux %s", grubLocation(p.absoluteForGRUB(p.Kernel)))
	for _, arg := range p.Args {
		// GRUB hands the initrd over in memory, and a name it does not know would make the kernel look for a file.
		if !strings.HasPrefix(arg, "initrd=") {
			b.WriteString(" " + grubArg(arg))
		}
	}
	b.WriteString("; then\n")
	if len(p.Initrds) > 0 {
		b.WriteString("  initrd")
		for _, initrd := range p.Initrds {
			b.WriteString(" " + p.grubInitrd(initrd))
		}
		b.WriteString("\n")
	}
	b.WriteString("  boot\nfi\n")
	b.WriteString(p.grubAgain())
}

func (p *Plan) usesVariable(name string) bool {
	for _, arg := range p.Args {
		for _, match := range ipxeVariable.FindAllStringSubmatch(arg, -1) {
			if settingName(match[1]) == name {
				return true
			}
		}
	}
	return false
}

func (p *Plan) grubAgain() string {
	return fmt.Sprintf("echo 'matchd: asking again in %d seconds'\nsleep %d\n%s", RetrySeconds, RetrySeconds, Trampoline)
}

// diskLoaders are where the systems that we know of put their boot loader on the EFI system partition.
var diskLoaders = [...]string{
	"/EFI/fedora/shimx64.efi", "/EFI/fedora/shimaa64.efi", "/EFI/boot/bootx64.efi", "/EFI/boot/bootaa64.efi",
}

func (p *Plan) grubExit() string {
	if p.Exit != GRUBFind {
		if p.Exit == Exit0 {
			return "exit 0\n"
		}
		return "exit 1\n"
	}
	var b strings.Builder
	// As root, because Debian's chainloader tells the loader that it came from there (captured), and it looks for its own files there.
	for _, file := range diskLoaders {
		fmt.Fprintf(&b, "if search --no-floppy --file --set=root %s; then\n  if chainloader %s; then boot; fi\nfi\n", file, file)
	}
	b.WriteString("exit 1\n")
	return b.String()
}

// absoluteForGRUB leaves a path on this server as it is: GRUB then loads it from where it came from itself, by TFTP, which is the way that
// works with signed GRUB under Secure Boot. Our own URL is such a path, too.
func (p *Plan) absoluteForGRUB(location string) string {
	if rest, ours := strings.CutPrefix(location, p.BaseURL+"/"); ours && p.BaseURL != "" {
		return "/" + rest
	}
	return location
}

// grubLocation writes a URL as GRUB's device and path: "(http,host:port)/path".
func grubLocation(location string) string {
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		return grubQuote(fmt.Sprintf("(%s,%s)%s", u.Scheme, u.Host, u.RequestURI()))
	}
	return grubQuote(location)
}

// grubQuote makes one word of any text (GRUB manual, "Quoting").
func grubQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// grubArg makes one word of a kernel argument in which iPXE variables become GRUB's. Unknown variables become empty, as in iPXE.
func grubArg(arg string) string {
	var b strings.Builder
	rest := arg
	for {
		at := ipxeVariable.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		if at[0] > 0 {
			b.WriteString(grubQuote(rest[:at[0]]))
		}
		if variable := grubVariable(rest[at[2]:at[3]]); variable != "" {
			b.WriteString(`"${` + variable + `}"`)
		}
		rest = rest[at[1]:]
	}
	if rest != "" || b.Len() == 0 {
		b.WriteString(grubQuote(rest))
	}
	return b.String()
}

func grubVariable(setting string) string {
	name := settingName(setting)
	if _, ok := smbiosFields[name]; ok {
		return "matchd_" + name
	}
	return grubVariables[name]
}

// settingName strips the scope and the type of an iPXE setting: "net0/mac:hexhyp" is "mac".
func settingName(setting string) string {
	if _, after, scoped := strings.Cut(setting, "/"); scoped {
		setting = after
	}
	name, _, _ := strings.Cut(setting, ":")
	return name
}
