// Package event keeps the timeline of every machine: what it asked, what was decided and why, and what became of it.
//
// A timeline answers "why did this machine not boot?" in one read. Timelines are bounded in length and number; recording never
// blocks a packet.
package event

import (
	"time"

	"github.com/matchd/matchd/matchd/machine"
)

// Stage names a step of a boot.
type Stage string

// Stages in the order of a boot.
const (
	Seen          Stage = "seen"           // a DHCP packet of a boot client arrived
	Offered       Stage = "offered"        // a loader, a script or an address was offered
	NotMatched    Stage = "not-matched"    // no group wants the machine
	Ignored       Stage = "ignored"        // stayed silent on purpose
	Refused       Stage = "refused"        // asked for what cannot be given: unknown architecture, no loader
	Leased        Stage = "leased"         // an address was acknowledged
	Released      Stage = "released"       // the client gave its address back
	Declined      Stage = "declined"       // the client found its address in use
	LoaderSent    Stage = "loader-sent"    // a network boot program went out
	ScriptSent    Stage = "script-sent"    // an iPXE script or GRUB config went out
	KernelSent    Stage = "kernel-sent"    // the profile's kernel went out
	InitrdSent    Stage = "initrd-sent"    // one of the profile's initrds went out
	AssetSent     Stage = "asset-sent"     // any other asset went out
	PointerSent   Stage = "pointer-sent"   // a config that leads to the machine's own went out
	ConfigSent    Stage = "config-sent"    // an Ignition config went out
	ConfigRefused Stage = "config-refused" // the config could not be rendered, or the client cannot read it
	GenericSent   Stage = "generic-sent"   // a generic or cloud template went out
	MetadataSent  Stage = "metadata-sent"  // the metadata went out
	Progress      Stage = "progress"       // the machine reported a step
	Booted        Stage = "booted"         // the machine reported success
	Failed        Stage = "failed"         // the machine reported failure
	ToDisk        Stage = "to-disk"        // the machine was told to boot from its disk
	Held          Stage = "held"           // the machine was told to wait
	Looping       Stage = "looping"        // the machine keeps asking for a loader and never for a script
	Error         Stage = "error"          // we failed
)

// Level is how much an event deserves attention.
type Level string

// Levels. The empty level is [Info].
const (
	Info  Level = "info"
	Warn  Level = "warn"
	Alarm Level = "error"
)

// Event is one step in the life of one machine. Message says what was decided and why, for a person.
type Event struct {
	Seq        uint64            `json:"seq"`  // set by the log; grows by one
	Time       time.Time         `json:"time"` // set by the log where zero
	MAC        machine.MAC       `json:"mac,omitempty"`
	UUID       string            `json:"uuid,omitempty"`
	Stage      Stage             `json:"stage"`
	Level      Level             `json:"level,omitempty"`
	Peer       string            `json:"peer,omitempty"` // address that the request came from
	Message    string            `json:"message"`
	Bytes      int64             `json:"bytes,omitempty"`       // sent
	Total      int64             `json:"total,omitempty"`       // size of what was asked for, where it was not sent whole
	DurationMS int64             `json:"duration_ms,omitempty"` // of the transfer or the rendering
	Error      string            `json:"error,omitempty"`
	Attrs      map[string]string `json:"attrs,omitempty"` // group, profile, loader, address, hostname, …
}

// eventBytes is about what an event takes besides its texts.
const eventBytes = 256

// mapBytes is what a small map takes besides its texts (measured, Go 1.26).
const mapBytes = 350

// size estimates the memory of an event, in bytes.
func (e *Event) size() int {
	n := eventBytes + len(e.Message) + len(e.Error)
	if e.Attrs != nil {
		n += mapBytes
	}
	for name, value := range e.Attrs {
		n += len(name) + len(value)
	}
	return n
}

// Names of attributes that others read.
const (
	AttrGroup    = "group"
	AttrProfile  = "profile"
	AttrAddress  = "address"
	AttrHostname = "hostname"
	AttrFile     = "file"
	AttrDigest   = "digest" // sha256 of what was sent
)
