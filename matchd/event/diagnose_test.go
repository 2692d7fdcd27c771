package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/event"
)

var start = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

// boot builds a timeline: each step is the given time after the one before.
func boot(steps ...any) []event.Event {
	var events []event.Event
	at := start
	for i := 0; i < len(steps); i += 2 {
		at = at.Add(steps[i].(time.Duration))
		e := steps[i+1].(event.Event)
		e.Seq, e.Time = uint64(len(events)+1), at
		if e.Level == "" {
			e.Level = event.Info
		}
		events = append(events, e)
	}
	return events
}

func is(stage event.Stage) event.Event { return event.Event{Stage: stage} }

func says(stage event.Stage, message string) event.Event {
	return event.Event{Stage: stage, Message: message}
}

func TestDiagnose(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name     string
		timeline []event.Event
		after    time.Duration // since the last event
		want     string        // part of the text
		ok       bool
	}{
		{"unknown", nil, 0, "nothing was heard", false},
		{"just asked", boot(0*s, is(event.Seen)), s, "asked by DHCP", true},
		{"asked and nothing came of it", boot(0*s, is(event.Seen)), time.Minute, "was given no answer that it took", false},
		{"no group", boot(0*s, is(event.Seen), s, is(event.Offered), s, is(event.ScriptSent), s, says(event.NotMatched, `no group matches; nearest is "web": mac is a, not b`)), s,
			`no group matched: no group matches; nearest is "web": mac is a, not b`, false},
		{"no group, to its disk", boot(0*s, is(event.Seen), s, says(event.NotMatched, "nearest"), 0*s, is(event.ToDisk)), s, "no group matched: nearest", false},
		{"offered, waiting", boot(0*s, is(event.Seen), s, is(event.Offered)), 10 * s, "was offered its loader", true},
		{"offered, silent", boot(0*s, is(event.Seen), s, is(event.Offered)), time.Minute, "never asked for it within 60 s", false},
		{"leased, silent", boot(0*s, is(event.Seen), s, is(event.Offered), s, is(event.Leased)), 2 * time.Minute, "never asked for its loader or script within 60 s", false},
		{"loader, silent", boot(0*s, is(event.Seen), s, is(event.Offered), s, is(event.LoaderSent)), time.Minute, "no script was asked for within 60 s", false},
		{"GRUB, silent", boot(0*s, is(event.Seen), s, event.Event{Stage: event.LoaderSent, Attrs: map[string]string{event.AttrFile: "grubx64.efi"}}), time.Minute, "next-server", false},
		{"script, silent", boot(0*s, is(event.Seen), s, is(event.LoaderSent), s, is(event.ScriptSent)), time.Minute, "never asked for the kernel", false},
		{"kernel, silent", boot(0*s, is(event.Seen), s, is(event.ScriptSent), s, is(event.KernelSent)), time.Minute, "asked for nothing more", false},
		{"initrd, silent", boot(0*s, is(event.Seen), s, is(event.KernelSent), s, is(event.InitrdSent)), time.Minute, "never asked for its config", false},
		{"pointer, waiting", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, is(event.PointerSent)), 10 * s, "has the pointer to its config", true},
		{"pointer, silent", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, is(event.PointerSent)), time.Minute, "a firewall may block the machine_https port", false},
		{"pointer and a system with an address, silent", boot(0*s, is(event.Seen), s, is(event.PointerSent), s, is(event.Leased)), time.Minute, "a firewall may block the machine_https port", false},
		{"initrd and a system with an address, silent", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, is(event.Leased)), time.Minute, "never asked for its config", false},
		{"initrd, then from the beginning", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, is(event.Seen), s, is(event.Leased)), time.Minute, "never asked for its loader or script", false},
		{"pointer, but the CA is not trusted", boot(0*s, is(event.Seen), s, is(event.PointerSent), s, says(event.Refused, "the TLS handshake failed")), s, "refused: the TLS handshake failed", false},
		{"pointer, then the config", boot(0*s, is(event.Seen), s, is(event.PointerSent), s, is(event.ConfigSent)), time.Hour, "has its config and has not reported", true},
		{"config, long ago", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, is(event.ConfigSent)), time.Hour, "has its config and has not reported", true},
		{"kernel stopped", boot(0*s, is(event.Seen), s, is(event.ScriptSent), s, event.Event{Stage: event.KernelSent, Bytes: 37, Total: 100, Error: "connection reset"}), s,
			"kernel transfer stopped at 37 %: connection reset", false},
		{"loader stopped, size unknown", boot(0*s, is(event.Seen), s, event.Event{Stage: event.LoaderSent, Bytes: 512, Error: "timeout"}), s,
			"loader transfer stopped after 512 bytes: timeout", false},
		{"stopped and tried again", boot(0*s, is(event.Seen), s, event.Event{Stage: event.KernelSent, Error: "reset"}, s, is(event.KernelSent)), s, "has its kernel", true},
		{"config refused", boot(0*s, is(event.Seen), s, is(event.InitrdSent), s, event.Event{Stage: event.ConfigRefused, Error: "ignition/a.bu:12:3: unused key enable\nmore"}), s,
			"config refused: ignition/a.bu:12:3: unused key enable", false},
		{"config refused, then mended", boot(0*s, is(event.Seen), s, event.Event{Stage: event.ConfigRefused, Error: "x"}, s, is(event.ConfigSent)), s, "has its config", true},
		{"unknown architecture", boot(0*s, is(event.Seen), 0*s, says(event.Refused, "architecture 2 (Itanium) is not served")), s, "refused: architecture 2 (Itanium)", false},
		{"refused over HTTP, then by PXE", boot(0*s, is(event.Seen), 0*s, is(event.Refused), 4*s, is(event.Seen), s, is(event.Offered)), s, "was offered", true},
		{"looping", boot(0*s, is(event.Seen), s, is(event.LoaderSent), s, is(event.LoaderSent), s, is(event.LoaderSent), 0*s, is(event.Looping)), s, "looping: the loader starts", false},
		{"looped, then fine", boot(0*s, is(event.Seen), s, is(event.Looping), s, is(event.ScriptSent)), s, "has its script", true},
		{"to disk", boot(0*s, is(event.Seen), s, says(event.ToDisk, "the policy once")), time.Hour, "sent to its disk: the policy once", true},
		{"held", boot(0*s, is(event.Seen), s, is(event.Held)), time.Hour, "held", true},
		{"ignored", boot(0*s, is(event.Seen), s, says(event.Ignored, "no group can match")), time.Hour, "ignored: no group can match", true},
		{"our failure", boot(0*s, is(event.Seen), s, event.Event{Stage: event.Error, Error: "disk full"}), s, "the server failed: disk full", false},
		{"progress", boot(0*s, is(event.Seen), s, is(event.ConfigSent), s, says(event.Progress, "installing to /dev/sda")), time.Hour, "is at work: installing to /dev/sda", true},
		{"booted", boot(0*s, is(event.Seen), s, is(event.ConfigSent), s, says(event.Booted, "up")), time.Hour, "booted: the machine reported success: up", true},
		{"failed", boot(0*s, is(event.Seen), s, is(event.ConfigSent), s, says(event.Failed, "disk /dev/sda is gone")), time.Hour, "failed: the machine reported: disk /dev/sda is gone", false},
		{"booted once, boots again", boot(0*s, is(event.Seen), s, is(event.Booted), time.Hour, is(event.Seen), s, is(event.Offered)), s, "was offered", true},
		{"only the latest boot counts", boot(0*s, is(event.Seen), s, event.Event{Stage: event.ConfigRefused, Error: "x"}, 10*time.Minute, is(event.Seen), s, is(event.ScriptSent)), s, "has its script", true},
		{"firmware and iPXE ask in one boot", boot(0*s, is(event.Seen), s, is(event.LoaderSent), s, is(event.Seen), s, is(event.Offered)), time.Minute, "never asked for it", false},
		{"a stage of another time", boot(0*s, says("later-version", "something new")), s, "something new", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := start
			if n := len(tt.timeline); n > 0 {
				now = tt.timeline[n-1].Time
			}
			got := event.Diagnose(tt.timeline, now.Add(tt.after))
			if !strings.Contains(got.Text, tt.want) || got.OK != tt.ok || strings.Contains(got.Text, "\n") {
				t.Errorf("got %q, ok %v\nwant %q, ok %v", got.Text, got.OK, tt.want, tt.ok)
			}
		})
	}
}
