package event

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Patience is how long a machine may stay silent between two steps of a boot before the silence itself is the finding.
const Patience = 60 * time.Second

// bootGap separates two boots: a DHCP packet after this much silence starts a new one.
const bootGap = 5 * time.Minute

// Diagnosis is the answer to "why did this machine not boot?", or to how far it is.
type Diagnosis struct {
	Text  string    `json:"text"`
	Since time.Time `json:"since"` // of the event that it rests on
	OK    bool      `json:"ok"`    // nothing is wrong, as far as can be seen
}

// Diagnose reads the latest boot of a timeline, whose events are in the order of their recording, and says in one line what it came to.
func Diagnose(timeline []Event, now time.Time) Diagnosis {
	boot := latestBoot(timeline)
	if len(boot) == 0 {
		return Diagnosis{Text: "nothing was heard of this machine"}
	}
	for _, rule := range rules {
		if d, applies := rule(boot, now); applies {
			return d
		}
	}
	last := boot[len(boot)-1]
	return Diagnosis{Text: last.Message, Since: last.Time, OK: last.Level == Info}
}

// latestBoot returns the events since the machine's firmware last started over: a first packet after a silence, or after the machine
// was done with its last boot.
func latestBoot(timeline []Event) []Event {
	for i := len(timeline) - 1; i > 0; i-- {
		if timeline[i].Stage != Seen {
			continue
		}
		before := timeline[i-1]
		if timeline[i].Time.Sub(before.Time) > bootGap || slices.Contains(ending, before.Stage) {
			return timeline[i:]
		}
	}
	return timeline
}

// ending are the stages after which a DHCP packet means a new boot.
var ending = []Stage{Booted, Failed, ToDisk, Refused, NotMatched, Ignored}

// rule looks for one outcome of a boot.
type rule func(boot []Event, now time.Time) (Diagnosis, bool)

// rules are asked in order: what the machine said itself, then what we refused, then how far it came and how long it has been silent.
var rules = []rule{
	reported, refused, looping, disposed, interrupted, silent,
}

// find returns the last event of one of the stages, and whether there is one.
func find(boot []Event, stages ...Stage) (Event, bool) {
	for _, e := range slices.Backward(boot) {
		if slices.Contains(stages, e.Stage) {
			return e, true
		}
	}
	return Event{}, false
}

// reported: the machine's own word counts most.
func reported(boot []Event, _ time.Time) (Diagnosis, bool) {
	e, found := find(boot, Booted, Failed)
	switch {
	case !found:
		return Diagnosis{}, false
	case e.Stage == Booted:
		return Diagnosis{Text: withDetail("booted: the machine reported success", e.Message), Since: e.Time, OK: true}, true
	}
	return Diagnosis{Text: withDetail("failed: the machine reported", firstOf(e.Error, e.Message)), Since: e.Time}, true
}

// refused: we could not or would not answer, and nothing came right since.
func refused(boot []Event, _ time.Time) (Diagnosis, bool) {
	last := boot[len(boot)-1]
	for _, e := range slices.Backward(boot) {
		switch e.Stage {
		case ConfigRefused:
			return Diagnosis{Text: withDetail("config refused", firstOf(e.Error, e.Message)), Since: e.Time}, true
		case Refused:
			return Diagnosis{Text: withDetail("refused", firstOf(e.Message, e.Error)), Since: e.Time}, true
		case NotMatched:
			return Diagnosis{Text: withDetail("no group matched", firstOf(e.Message, e.Error)), Since: e.Time}, true
		case Error:
			if e.Seq == last.Seq {
				return Diagnosis{Text: withDetail("the server failed", firstOf(e.Error, e.Message)), Since: e.Time}, true
			}
		case ScriptSent, PointerSent, ConfigSent, KernelSent, InitrdSent:
			return Diagnosis{}, false // something went right after what was refused
		}
	}
	return Diagnosis{}, false
}

func looping(boot []Event, _ time.Time) (Diagnosis, bool) {
	e, found := find(boot, Looping, ScriptSent)
	if !found || e.Stage != Looping {
		return Diagnosis{}, false
	}
	return Diagnosis{Text: "looping: the loader starts but never asks for its script; its network driver may not fit this machine, try another loader for it", Since: e.Time}, true
}

// disposed: we told the machine what to do instead of booting from here.
func disposed(boot []Event, _ time.Time) (Diagnosis, bool) {
	e, found := find(boot, ToDisk, Held, Ignored, KernelSent, PointerSent, ConfigSent)
	if !found {
		return Diagnosis{}, false
	}
	switch e.Stage {
	case ToDisk:
		return Diagnosis{Text: withDetail("sent to its disk", e.Message), Since: e.Time, OK: true}, true
	case Held:
		return Diagnosis{Text: withDetail("held: it asks again every few seconds", e.Message), Since: e.Time, OK: true}, true
	case Ignored:
		if e.Seq == boot[len(boot)-1].Seq {
			return Diagnosis{Text: withDetail("ignored", e.Message), Since: e.Time, OK: true}, true
		}
	}
	return Diagnosis{}, false
}

// interrupted: the last transfer did not arrive whole.
func interrupted(boot []Event, _ time.Time) (Diagnosis, bool) {
	e, found := find(boot, LoaderSent, KernelSent, InitrdSent, AssetSent, PointerSent, ConfigSent, ScriptSent)
	if !found || e.Error == "" {
		return Diagnosis{}, false
	}
	text := fmt.Sprintf("%s stopped%s: %s", transfers[e.Stage], percent(e), e.Error)
	return Diagnosis{Text: text, Since: e.Time}, true
}

var transfers = map[Stage]string{
	LoaderSent: "loader transfer", KernelSent: "kernel transfer", InitrdSent: "initrd transfer",
	AssetSent: "asset transfer", PointerSent: "pointer transfer", ConfigSent: "config transfer", ScriptSent: "script transfer",
}

func percent(e Event) string {
	if e.Total <= 0 {
		return fmt.Sprintf(" after %d bytes", e.Bytes)
	}
	return fmt.Sprintf(" at %d %%", e.Bytes*100/e.Total)
}

// next says what a machine is at after a stage, and where to look when nothing followed; silence after a stage without the latter is no
// sign of anything.
var next = map[Stage]struct{ waiting, missing string }{
	Seen:         {"asked by DHCP", "asked by DHCP and was given no answer that it took: see the events before"},
	Offered:      {"was offered its loader or script", "was offered its loader or script and never asked for it within 60 s: another DHCP server's answer may have won, or a firewall may block TFTP (UDP 69 and replies) or the boot HTTP port"},
	Leased:       {"has its address", "has its address and never asked for its loader or script within 60 s: a firewall may block TFTP (UDP 69 and replies) or the boot HTTP port"},
	LoaderSent:   {"has its loader", "has its loader and no script was asked for within 60 s: the loader did not start (Secure Boot, wrong architecture) or has no driver for this network card"},
	ScriptSent:   {"has its script", "has its script and never asked for the kernel within 60 s: the kernel's URL may lead elsewhere, or to a server that it cannot reach"},
	KernelSent:   {"has its kernel", "has its kernel and asked for nothing more within 60 s: the kernel or its initrd did not start, see the machine's console"},
	InitrdSent:   {"has its kernel and initrd", "has its kernel and initrd and never asked for its config within 60 s: see the machine's console; its network may not be up, or the kernel arguments name no config URL"},
	AssetSent:    {"is fetching its files", "has its files and asked for nothing more within 60 s: see the machine's console"},
	PointerSent:  {"has the pointer to its config", "has the pointer to its config and did not fetch that by HTTPS within 60 s: a firewall may block the machine_https port, or its system did not start; see the machine's console"},
	ConfigSent:   {waiting: "has its config and has not reported"},
	GenericSent:  {waiting: "has its template"},
	MetadataSent: {waiting: "has its metadata"},
	Progress:     {waiting: "is at work"},
}

// silent: the machine is on its way, or stopped somewhere.
func silent(boot []Event, now time.Time) (Diagnosis, bool) {
	stages := make([]Stage, 0, len(next))
	for stage := range next {
		stages = append(stages, stage)
	}
	e, found := find(boot, stages...)
	if !found {
		return Diagnosis{}, false
	}
	if e.Stage == Leased {
		e.Stage = started(boot)
	}
	text := next[e.Stage].waiting
	late := now.Sub(e.Time) >= Patience && next[e.Stage].missing != ""
	if late {
		text = next[e.Stage].missing
		if e.Stage == LoaderSent && isGRUB(e.Attrs[AttrFile]) {
			text = grubMissing
		}
	}
	if e.Stage == Progress {
		text = withDetail(text, e.Message)
	}
	return Diagnosis{Text: text, Since: e.Time, OK: !late}, true
}

// started returns what a machine with a lease is at: Leased while firmware or a loader has it. A lease after the kernel is the booted system's, which has
// its files and asks for something else than a loader next.
func started(boot []Event) Stage {
	for _, e := range slices.Backward(boot) {
		switch e.Stage {
		case KernelSent, InitrdSent, PointerSent:
			return e.Stage
		case Seen: // its firmware asked again
			return Leased
		}
	}
	return Leased
}

// grubMissing is what keeps a GRUB that did start from its config (captured: beside another DHCP server GRUB 2.06 reads the next server of
// that server's answer alone).
const grubMissing = "has GRUB and did not ask for its config within 60 s: beside another DHCP server, GRUB asks that server's next-server, so set it to this host; else see the machine's console"

func isGRUB(file string) bool {
	return strings.HasPrefix(file, "grub") || strings.HasPrefix(file, "shim")
}

func withDetail(text, detail string) string {
	detail = strings.TrimSpace(detail)
	if detail == "" {
		return text
	}
	line, _, _ := strings.Cut(detail, "\n")
	if strings.HasPrefix(line, text) {
		return line
	}
	return text + ": " + line
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
