// Package boot decides what an asking machine may boot.
//
// [Planner.Stage] answers firmware (which network boot program, or which script), [Planner.Plan] answers a network boot program
// (which kernel, initrds and arguments), and the plan writes itself as an iPXE script or a GRUB config. Edges translate packets and
// requests into questions and the answers back; they decide nothing.
package boot

import (
	"net/netip"

	"github.com/matchd/matchd/matchd/machine"
)

// Request is what firmware or a network boot program tells in a DHCP packet.
type Request struct {
	Machine  machine.Machine
	Arches   []machine.Arch // option 93 in the order sent, else from option 60; empty if neither tells
	HTTPBoot bool           // option 60 starts with HTTPClient
	IPXE     bool           // user class iPXE, or option 175
	Capable  bool           // an iPXE that can load by HTTP and start a Linux kernel (option 175)
	Server   netip.Addr     // our address on the segment that the packet arrived from
}

// Action is what to do about a [Request].
type Action int

// Actions.
const (
	// Silence means not to answer; another server may.
	Silence Action = iota
	// Refuse means not to offer any boot file, because none would work. Decision.Reason says why.
	Refuse
	// Load means to offer the network boot program Decision.File.
	Load
	// Script means to offer the URL of a script, Decision.File.
	Script
)

// Decision is the answer to a [Request].
type Decision struct {
	Action Action
	// File is what goes into the boot file field: a TFTP path for firmware, an absolute http or tftp URL for UEFI HTTP Boot and iPXE.
	File string
	// Server is the TFTP server for the next-server field.
	Server netip.Addr
	// Arch is the architecture type that the decision was made for.
	Arch machine.Arch
	// Loader is the plain name of the network boot program, such as "snponly.efi".
	Loader string
	// Group and Profile are the ids of the match at this point; firmware tells less than a script's query, so they are provisional.
	Group, Profile string
	// Reason says for a person what was decided and why.
	Reason string
}
