package boot

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/matchd/matchd/matchd/machine"
)

// ExitMethod is how a network boot program leaves the machine to its disk. Firmware differs in what it takes for "go on with the next
// boot device" (netboot.xyz#1276, tinkerbell PR#984, foreman PR#8373, warewulf3 PR#106), so it can be set per machine.
type ExitMethod string

// Exit methods.
const (
	// Exit1 returns an error to the firmware, which goes on with its next boot entry: Dell, Lenovo and OVMF stop in their setup on success.
	Exit1 ExitMethod = "exit1"
	// Exit0 returns success.
	Exit0 ExitMethod = "exit0"
	// Sanboot starts the first BIOS disk from iPXE; under UEFI it falls back to Exit1.
	Sanboot ExitMethod = "sanboot"
	// HTTP404 refuses the boot script itself, so that iPXE gives up by its own.
	HTTP404 ExitMethod = "http404"
	// GRUBFind starts GRUB, which looks for the disk's own boot loader.
	GRUBFind ExitMethod = "grub-find"
)

// Valid reports whether e names a method or is empty.
func (e ExitMethod) Valid() bool {
	switch e {
	case "", Exit1, Exit0, Sanboot, HTTP404, GRUBFind:
		return true
	}
	return false
}

// RetrySeconds is how long a script waits before it asks again, after a failure or while it is held.
const RetrySeconds = 10

// facts are the query labels that a script asks iPXE for, in the order of the query. The first six are matchbox's.
var facts = [...][2]string{
	{"uuid", "${uuid}"},
	{"mac", "${mac:hexhyp}"},
	{"domain", "${domain:uristring}"},
	{"hostname", "${hostname:uristring}"},
	{"serial", "${serial:uristring}"},
	{"arch", "${buildarch:uristring}"},
	{"manufacturer", "${manufacturer:uristring}"},
	{"product", "${product:uristring}"},
	{"asset", "${asset:uristring}"},
	{"platform", "${platform:uristring}"},
}

// bootScript is the first script of every machine: it collects the machine's facts and asks for its plan. It has no dead end: an answer
// that does not come, or that says that we are not ready, is asked for again. With retry false (nobody shall be held) a failure is
// returned to whoever started the script.
//
// mac is empty for a script that any machine may ask for; iPXE then sends the address of the interface in use.
func bootScript(baseURL string, mac machine.MAC, retry bool) []byte {
	query := make([]string, 0, len(facts))
	for _, fact := range facts {
		value := fact[1]
		if fact[0] == "mac" && mac != "" {
			value = mac.Hyphens()
		}
		query = append(query, fact[0]+"="+value)
	}
	url := baseURL + "/ipxe?" + strings.Join(query, "&")
	if !retry {
		return fmt.Appendf(nil, "#!ipxe\nchain --replace %s\n", url)
	}
	return fmt.Appendf(nil, `#!ipxe
:ask
chain --replace %s || goto again
:again
echo matchd gave no script, asking again in %d seconds
sleep %d
goto ask
`, url, RetrySeconds, RetrySeconds)
}

// IPXE writes the plan as an iPXE script.
func (p *Plan) IPXE() []byte {
	if p.matchbox {
		return matchboxIPXE(p.Profile.Boot)
	}
	var b strings.Builder
	b.WriteString("#!ipxe\n")
	switch p.Do {
	case Disk:
		fmt.Fprintf(&b, "echo matchd: %s\n", echoSafe(p.Reason))
		b.WriteString(p.ipxeExit())
	case Hold:
		fmt.Fprintf(&b, "echo matchd: %s\n", echoSafe(p.Reason))
		b.WriteString(p.ipxeAgain())
	default:
		p.ipxeRun(&b)
	}
	return []byte(b.String())
}

func (p *Plan) ipxeRun(b *strings.Builder) {
	fmt.Fprintf(b, "echo matchd: %s\n", echoSafe(p.Reason))
	fmt.Fprintf(b, "kernel %s", p.absolute(p.Kernel))
	for _, arg := range p.Args {
		b.WriteString(" " + arg)
	}
	b.WriteString(" || goto again\n")
	for _, initrd := range p.Initrds {
		fmt.Fprintf(b, "initrd --name %s %s || goto again\n", initrd.Name, p.absolute(initrd.URL))
	}
	// A kernel that could not be started leaves its images behind; they would be started by the next attempt.
	b.WriteString("boot || goto again\n:again\nimgfree\n")
	b.WriteString(p.ipxeAgain())
}

func (p *Plan) ipxeAgain() string {
	url := p.BaseURL + "/ipxe"
	if p.Query != "" {
		url += "?" + p.Query
	}
	return fmt.Sprintf(":wait\necho matchd: asking again in %d seconds\nsleep %d\nchain --replace %s || goto wait\n",
		RetrySeconds, RetrySeconds, url)
}

func (p *Plan) ipxeExit() string {
	switch p.Exit {
	case Exit0:
		return "exit 0\n"
	case Sanboot:
		return "iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 || exit 1\n"
	case GRUBFind:
		// By TFTP, because GRUB goes on by the way that it came, and Debian's does not get far over HTTP.
		return "iseq ${platform} efi || exit 1\n" +
			"iseq ${buildarch} arm64 && set grub:string grubaa64.efi || set grub:string grubx64.efi\n" +
			fmt.Sprintf("chain tftp://%s/m/${mac:hexhyp}/${grub} || exit 1\n", hostOf(p.BaseURL))
	}
	return "exit 1\n"
}

// echoSafe keeps a text from being expanded or cut by iPXE, which knows variables and, as words of their own, command separators and
// comments (src/core/exec.c, command_terminator). The texts quote what machines said of themselves.
func echoSafe(s string) string {
	words := strings.Fields(strings.ReplaceAll(s, "${", "$ {"))
	for i, word := range words {
		switch {
		case word == "||" || word == "&&" || word == ";":
			words[i] = "'" + word + "'"
		case word[0] == '#':
			words[i] = "'" + word
		}
	}
	return strings.Join(words, " ")
}

// hostOf returns the host of a base URL, without its port.
func hostOf(baseURL string) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return ""
	}
	if strings.Contains(u.Hostname(), ":") {
		return "[" + u.Hostname() + "]"
	}
	return u.Hostname()
}
