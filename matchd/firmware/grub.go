package firmware

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"github.com/matchd/matchd/matchd/machine"
)

const (
	actorShim = "shim"
	actorGRUB = "GRUB"
)

// addrOf returns the address in a URL, the zero Addr for a host name.
func addrOf(u *url.URL) netip.Addr {
	addr, _ := netip.ParseAddr(u.Hostname())
	return addr
}

// startShim plays shim: it asks for the second stage in its own directory, by the protocol that it came by, without following
// redirects and with two slashes over HTTP (FIRMWARE facts 40, 41). Over TFTP it knows its directory only from the file field.
func (r *run) startShim(ctx context.Context, t target) {
	second := "grubx64.efi"
	if traits, _ := r.model.arch.Traits(); traits.CPU == machine.AArch64 {
		second = "grubaa64.efi"
	}
	next := target{server: t.server, file: path.Join(path.Dir(t.file), second)}
	var err error
	if u, parseErr := url.Parse(t.file); isURL(t.file) && parseErr == nil {
		u.Path = path.Dir(u.Path) + "//" + second
		next.file = u.String()
		_, err = r.get(ctx, next.file)
	} else {
		_, _, err = r.tftp(ctx, next, shimTFTP)
	}
	if err != nil {
		r.fail("shim cannot load %s: %v", next.url(), err)
		return
	}
	r.stepOf(actorShim, "loads %s", next.url())
	r.startGRUB(ctx, next)
}

// startGRUB plays Debian's signed GRUB: prefix /grub on the server that it came from, first a config for its own interface.
func (r *run) startGRUB(ctx context.Context, t target) {
	r.actor = actorGRUB
	hyphens := r.machine.MAC.Hyphens()
	address := r.trace.Address
	hex := ""
	if address.Is4() {
		hex = fmt.Sprintf("%X", address.AsSlice())
	}
	names := []string{"grub.cfg-01-" + hyphens}
	for n := len(hex); n > 0; n-- {
		names = append(names, "grub.cfg-"+hex[:n])
	}
	names = append(names, "grub.cfg")
	for _, name := range names {
		location := r.grubURL(t, "/grub/"+name)
		if text, err := r.fetch(ctx, location, grubTFTP); err == nil {
			r.grubConfig(ctx, t, location, text)
			return
		}
	}
	r.fail("GRUB finds no config under /grub and shows its prompt")
}

// grubURL returns where GRUB finds a path without device: on the server that it came from. "(tftp,host)/path" names another.
func (r *run) grubURL(t target, location string) string {
	if device, rest, found := strings.Cut(strings.TrimPrefix(location, "("), ")"); found {
		scheme, host, _ := strings.Cut(device, ",")
		return scheme + "://" + host + rest
	}
	if isURL(t.file) {
		u, err := url.Parse(t.file)
		if err == nil {
			return u.Scheme + "://" + u.Host + "/" + strings.TrimPrefix(location, "/")
		}
	}
	return "tftp://" + t.server.String() + "/" + strings.TrimPrefix(location, "/")
}

// grubConfig reads the commands that matter of a config: linux, initrd, boot, configfile, sleep, exit. Conditions count as met where
// their command succeeds.
func (r *run) grubConfig(ctx context.Context, t target, location string, text []byte) {
	r.trace.Script = location
	for range maxChains {
		r.add(Step{Actor: actorGRUB, Text: "runs " + location, Bytes: int64(len(text)), Content: string(text)})
		next, found := r.grubLines(ctx, t, location, string(text))
		if !found {
			return
		}
		location = r.grubURL(t, next)
		var err error
		if text, err = r.fetch(ctx, location, grubTFTP); err != nil {
			r.fail("GRUB cannot load %s: %v", location, err)
			return
		}
	}
	r.fail("configs name each other without end")
}

// grubLines returns the path of the config to go on with, if there is one; else the boot has ended.
func (r *run) grubLines(ctx context.Context, t target, location, text string) (next string, found bool) {
	kernel := ""
	for _, line := range strings.Split(text, "\n") {
		line, _ = strings.CutSuffix(strings.TrimSpace(line), "; then")
		words := grubWords(strings.TrimPrefix(line, "if "), r.grubVariables())
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "configfile":
			if len(words) == 2 {
				return words[1], true
			}
		case "linux", "initrd":
			ok := len(words) > 1
			for i := 1; ok && i < len(words) && (i == 1 || words[0] == "initrd"); i++ {
				ok = r.image(ctx, actorGRUB, words[0], r.grubURL(t, words[i]), grubTFTP)
			}
			if !ok {
				r.fail("GRUB cannot load the %s of %s", words[0], location)
				return "", false
			}
			if words[0] == "linux" {
				kernel, r.trace.Args = r.grubURL(t, words[1]), strings.Join(words[2:], " ")
			}
		case "boot":
			if kernel != "" {
				r.trace.Kernel, r.trace.Booted, r.trace.Reason = kernel, true, "would boot "+kernel
				r.stepOf(actorGRUB, "boots %s with: %s", kernel, r.trace.Args)
				return "", false
			}
		case "sleep":
			r.fail("the config %s waits and asks again", location)
			return "", false
		case "exit", "chainloader":
			r.trace.Booted, r.trace.Disk, r.trace.Reason = true, true, "goes to its disk by "+strings.Join(words, " ")
			r.stepOf(actorGRUB, "%s", r.trace.Reason)
			return "", false
		}
	}
	r.fail("the config %s ends without booting anything", location)
	return "", false
}

func (r *run) grubVariables() map[string]string {
	return map[string]string{
		"net_default_mac": r.machine.MAC.String(), "net_default_ip": r.trace.Address.String(), "matchd_uuid": r.machine.UUID,
	}
}

// grubWords cuts a line into words as GRUB's shell does: single quotes keep everything, double quotes let variables through.
func grubWords(line string, variables map[string]string) []string {
	var words []string
	var word strings.Builder
	started := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				end = len(line) - i - 1
			}
			word.WriteString(line[i+1 : i+1+end])
			i, started = i+1+end, true
		case c == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			started = true
		case strings.HasPrefix(line[i:], "${"):
			end := strings.IndexByte(line[i:], '}')
			if end < 0 {
				return words
			}
			word.WriteString(variables[line[i+2:i+end]])
			i, started = i+end, true
		case c == '"':
			started = true
		case c == ' ' || c == '\t':
			if started || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		case c == '#' && word.Len() == 0:
			return words
		default:
			word.WriteByte(c)
		}
	}
	if started || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}
