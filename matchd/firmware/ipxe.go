package firmware

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/matchd/matchd/matchd/machine"
)

// Bounds of a script's run: a script that asks again for ever must end here.
const (
	maxCommands = 500
	maxChains   = 8
)

const actorIPXE = "iPXE"

var scriptMagic = []byte("#!ipxe")

// startIPXE plays an iPXE that the firmware has loaded: autoexec.ipxe if this build looks for it, else DHCP again.
func (r *run) startIPXE(ctx context.Context, t target) {
	r.model, r.actor = r.model.asIPXE(), actorIPXE
	if r.machine.Autoexec {
		base, _ := url.Parse(t.url())
		for _, name := range [...]string{path.Join(path.Dir(base.Path), "autoexec.ipxe"), "/autoexec.ipxe"} {
			location := *base
			location.Path = name
			if text, err := r.fetch(ctx, location.String(), ipxeTFTP); err == nil && bytes.HasPrefix(text, scriptMagic) {
				r.trace.Script = location.String()
				r.script(ctx, location.String(), text, 0)
				return
			}
		}
	}
	found, ok := r.ipxe(ctx)
	if !ok {
		return
	}
	if found.url() == r.trace.Loader {
		r.fail("iPXE is told to load itself again: %s", found.url())
		return
	}
	r.chain(ctx, found.url())
}

// chain loads a URL as iPXE does: a script is run, a program is started.
func (r *run) chain(ctx context.Context, location string) {
	data, err := r.fetch(ctx, location, ipxeTFTP)
	if err != nil {
		r.fail("iPXE cannot load %s: %v", location, err)
		return
	}
	r.chained(ctx, location, data, 0)
}

func (r *run) chained(ctx context.Context, location string, data []byte, depth int) {
	if bytes.HasPrefix(data, scriptMagic) {
		if r.trace.Script == "" {
			r.trace.Script = location
		}
		r.script(ctx, location, data, depth)
		return
	}
	u, err := url.Parse(location)
	if err != nil || depth > 0 && strings.Contains(location, "ipxe") {
		r.fail("iPXE loads %s, which is no script", location)
		return
	}
	server, file := addrOf(u), location
	if u.Scheme == "tftp" {
		file = strings.TrimPrefix(u.Path, "/")
	}
	r.model.isROM = false
	r.start(ctx, target{server: server, file: file})
}

// interpreter runs one script.
type interpreter struct {
	*run
	location string
	depth    int
	settings map[string]string
	lines    []string
	kernel   string
	done     bool
}

func (r *run) script(ctx context.Context, location string, text []byte, depth int) {
	if depth > maxChains {
		r.fail("scripts chain each other without end")
		return
	}
	r.add(Step{Actor: actorIPXE, Text: "runs " + location, Bytes: int64(len(text)), Content: string(text)})
	in := &interpreter{run: r, location: location, depth: depth, settings: r.ipxeSettings()}
	in.lines = strings.Split(string(text), "\n")
	line := 0
	for range maxCommands {
		if line >= len(in.lines) {
			r.fail("the script %s ends without booting anything", location)
			return
		}
		next, ok := in.command(ctx, in.lines[line], line)
		if in.done {
			return
		}
		if !ok {
			r.fail("the script %s fails at: %s", location, in.lines[line])
			return
		}
		line = next
	}
	r.fail("the script %s runs in circles", location)
}

// ipxeSettings are the variables of a script.
func (r *run) ipxeSettings() map[string]string {
	traits, _ := r.model.arch.Traits()
	arch := map[string]string{machine.X86_64: "x86_64", machine.AArch64: "arm64"}[traits.CPU]
	if traits.Platform == machine.BIOS {
		arch = "i386" // undionly is 32-bit code (FIRMWARE fact 37)
	}
	settings := map[string]string{
		"uuid": r.machine.UUID, "mac": r.machine.MAC.String(), "ip": r.trace.Address.String(),
		"platform": string(traits.Platform), "buildarch": arch,
	}
	for key, value := range r.machine.Labels {
		settings[key] = value
	}
	return settings
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

func (in *interpreter) expand(s string) string {
	return variable.ReplaceAllStringFunc(s, func(match string) string {
		name, format, _ := strings.Cut(match[2:len(match)-1], ":")
		if _, setting, found := strings.Cut(name, "/"); found { // net0/mac
			name = setting
		}
		value := in.settings[name]
		switch format {
		case "hexhyp":
			return strings.ReplaceAll(value, ":", "-")
		case "uristring":
			return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
		}
		return value
	})
}

// command runs one line and returns the next one. Its parts stand between || and &&, from left to right.
func (in *interpreter) command(ctx context.Context, line string, number int) (next int, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ':' {
		return number + 1, true
	}
	ok, next = true, number+1
	run := true
	for _, word := range splitParts(line) {
		switch word {
		case "||":
			run = !ok
			continue
		case "&&":
			run = ok
			continue
		}
		if !run {
			continue
		}
		jump, success := in.part(ctx, strings.Fields(in.expand(word)))
		ok = success
		if jump >= 0 {
			next = jump
		}
		if in.done {
			break
		}
	}
	return next, ok
}

// splitParts cuts a line at the words || and &&, and keeps them.
func splitParts(line string) []string {
	var parts []string
	current := ""
	for _, word := range strings.Fields(line) {
		if word == "||" || word == "&&" {
			parts = append(parts, current, word)
			current = ""
			continue
		}
		current += word + " "
	}
	return append(parts, current)
}

// part runs one command; jump is the line to go on at, or -1.
func (in *interpreter) part(ctx context.Context, words []string) (jump int, ok bool) {
	if len(words) == 0 {
		return -1, true
	}
	operands := operands(words[1:])
	switch words[0] {
	case "goto":
		label := ":" + strings.Join(operands, "")
		at := slices.IndexFunc(in.lines, func(l string) bool { return strings.TrimSpace(l) == label })
		return at, at >= 0
	case "set":
		if len(operands) > 0 {
			in.settings[operands[0]] = strings.Join(operands[1:], " ")
		}
	case "isset":
		return -1, len(operands) > 0
	case "iseq":
		return -1, len(operands) == 2 && operands[0] == operands[1]
	case "cpuid":
		return -1, in.model.arch == machine.ArchX64 || in.model.arch == machine.ArchBIOS
	case "echo", "prompt", "dhcp", "ifopen", "imgargs", "imgverify", "imgtrust", "imgstat", "clear", "inc", "show":
	case "imgfree":
		in.kernel, in.trace.Initrd = "", nil
	case "sleep":
		in.done = true
		in.fail("the script %s waits and asks again", in.location)
	case "chain":
		return -1, in.chainCommand(ctx, operands)
	case "kernel", "initrd":
		return -1, in.imageCommand(ctx, words[0], operands)
	case "boot":
		return -1, in.bootCommand(ctx, operands)
	case "exit", "sanboot", "poweroff", "reboot":
		in.finish(words)
	default:
		in.stepOf(actorIPXE, "does not know the command %s", words[0])
		return -1, false
	}
	return -1, true
}

// operands drops options, and the value of those that have one.
func operands(words []string) []string {
	var left []string
	for i := 0; i < len(words); i++ {
		switch {
		case words[i] == "--name" || words[i] == "-n" || words[i] == "--timeout" || words[i] == "--drive" || words[i] == "--ext":
			i++
		case !strings.HasPrefix(words[i], "--"):
			left = append(left, words[i])
		}
	}
	return left
}

// absolute resolves a URI against the script's own, as iPXE does.
func (in *interpreter) absolute(location string) string {
	base, err := url.Parse(in.location)
	if err != nil {
		return location
	}
	u, err := base.Parse(location)
	if err != nil {
		return location
	}
	return u.String()
}

func (in *interpreter) chainCommand(ctx context.Context, operands []string) bool {
	if len(operands) == 0 {
		return false
	}
	location := in.absolute(operands[0])
	data, err := in.fetch(ctx, location, ipxeTFTP)
	if err != nil {
		in.stepOf(actorIPXE, "cannot load %s: %v", location, err)
		return false
	}
	in.done = true
	in.chained(ctx, location, data, in.depth+1)
	return true
}

func (in *interpreter) imageCommand(ctx context.Context, command string, operands []string) bool {
	if len(operands) == 0 {
		return false
	}
	location := in.absolute(operands[0])
	if !in.image(ctx, actorIPXE, command, location, ipxeTFTP) {
		return false
	}
	if command == "kernel" {
		in.kernel, in.trace.Args = location, strings.Join(operands[1:], " ")
	}
	return true
}

func (in *interpreter) bootCommand(ctx context.Context, operands []string) bool {
	if len(operands) > 0 && !in.imageCommand(ctx, "kernel", operands) || in.kernel == "" {
		return false
	}
	in.done = true
	in.trace.Kernel, in.trace.Booted = in.kernel, true
	in.trace.Reason = fmt.Sprintf("would boot %s", in.kernel)
	in.stepOf(actorIPXE, "boots %s with: %s", in.kernel, in.trace.Args)
	return true
}

func (in *interpreter) finish(words []string) {
	in.done = true
	in.trace.Booted, in.trace.Disk = true, true
	in.trace.Reason = "goes to its disk by " + strings.Join(words, " ")
	in.stepOf(actorIPXE, "%s", in.trace.Reason)
}
