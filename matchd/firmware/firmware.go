// Package firmware pretends to be the firmware of machines: it plays a network boot, from DISCOVER to the kernel, against whatever
// answers, and tells step by step what came of it.
//
// Each kind follows its model where models differ: which offer wins, which fields are read, who is asked on port 4011, what is
// fetched how. The models are EDK2's PxeBcDhcp4.c and HttpBootDhcp4.c, iPXE's dhcp.c, shim's netboot.c, and captures. Nothing
// here knows our server: what it talks to is behind three small interfaces, sockets or not.
package firmware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/matchd/matchd/matchd/machine"
)

// Kind is a model of firmware.
type Kind string

// Kinds.
const (
	BIOS      Kind = "bios"       // a PXE 2.1 ROM, architecture 0
	IPXEROM   Kind = "ipxe-rom"   // iPXE as a BIOS option ROM, such as QEMU's
	PoorIPXE  Kind = "ipxe-poor"  // an iPXE without Linux support, such as VirtualBox's
	OVMF      Kind = "ovmf"       // EDK2's PXE client, x64
	OldEDK2   Kind = "edk2-old"   // EDK2 before it learned to keep a proxy's offer that names a file
	VMware    Kind = "vmware"     // EDK2 that calls itself EBC, architecture 9
	OVMFHTTP  Kind = "ovmf-http"  // EDK2's HTTP Boot, x64
	AAVMF     Kind = "aavmf"      // EDK2's PXE client, arm64
	AAVMFHTTP Kind = "aavmf-http" // EDK2's HTTP Boot, arm64
	UBoot     Kind = "u-boot"     // U-Boot's distro boot, arm64, asking as itself
	UBootPXE  Kind = "u-boot-pxe" // the same, asking as if it were UEFI, as it does next
)

// Kinds returns every kind.
func Kinds() []Kind {
	return []Kind{BIOS, IPXEROM, PoorIPXE, OVMF, OldEDK2, VMware, OVMFHTTP, AAVMF, AAVMFHTTP, UBoot, UBootPXE}
}

// Machine is what the firmware runs on.
type Machine struct {
	Kind Kind
	MAC  machine.MAC // required, 6 bytes
	UUID string      // in text form; empty: the board has none
	// Autoexec says that the iPXE it may load is of 2026 or later and looks for autoexec.ipxe before it asks DHCP.
	Autoexec bool
	// Labels are iPXE settings that scripts may use besides mac and uuid, such as serial.
	Labels map[string]string
}

// DHCP carries packets of a client that has no address, or has just got one.
type DHCP interface {
	// Exchange sends one packet and returns the answers that arrive while the client waits, in their order. To is the broadcast
	// address and port 67, or a server's address and port 4011. No answer is not an error.
	Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error)
}

// TFTP reads files.
type TFTP interface {
	// Read returns the file, or for a SizeOnly request just its size: the client aborts after the option acknowledgement.
	Read(ctx context.Context, request TFTPRequest) (data []byte, size int64, err error)
}

// TFTPRequest is a read request with its options (RFC 2347 to 2349, RFC 7440).
type TFTPRequest struct {
	Server     netip.Addr
	Client     netip.Addr // where the request comes from
	File       string
	BlockSize  int
	WindowSize int  // 0: the option is not sent
	SizeOnly   bool // ask tsize and abort with ERROR 8
}

// Wires is what a machine is connected to. A nil wire fails whatever needs it.
type Wires struct {
	DHCP DHCP
	TFTP TFTP
	HTTP http.RoundTripper
}

// ErrElsewhere is what a wire answers for a file of a server that it does not reach and takes to be there. An image that is elsewhere counts as
// loaded; a script, of which nothing can be known, does not.
var ErrElsewhere = errors.New("it is another server's, which is not asked")

// Options change how a boot is played. The zero value plays it as the machine does, up to the kernel.
type Options struct {
	// Emit is told each step as it happens; nil: nobody.
	Emit func(Step)
	// Sizes asks only for the sizes of kernels and initrds, and reads none of them.
	Sizes bool
	// Config goes on behind the kernel: Ignition, or an installer, fetches the config that the kernel's arguments name.
	Config bool
}

// Step is one thing that the machine did or found out.
type Step struct {
	Actor   string `json:"actor"` // the firmware's kind, iPXE, shim, GRUB, Ignition, installer
	Text    string `json:"text"`
	Bytes   int64  `json:"bytes,omitempty"`   // size of the file that was fetched
	Content string `json:"content,omitempty"` // what was fetched, of scripts and configs
}

// Trace is how a boot went.
type Trace struct {
	Steps []Step `json:"steps"`
	// Booted says that a kernel was named and could be fetched, or that the machine was sent to its disk.
	Booted bool `json:"booted"`
	// Loader is the first thing that the firmware loaded: a URL, with tftp:// for TFTP.
	Loader string `json:"loader,omitempty"`
	// Script is the URL of the first script or GRUB config.
	Script string `json:"script,omitempty"`
	// Kernel is the URL of the kernel, Args its arguments; Disk says that the script sent the machine to its disk instead.
	Kernel string   `json:"kernel,omitempty"`
	Args   string   `json:"args,omitempty"`
	Initrd []string `json:"initrd,omitempty"`
	Disk   bool     `json:"disk,omitempty"`
	// Config is the URL of the config that the kernel's arguments name; Configured says that it could be fetched, or is elsewhere. For Options.Config.
	Config     string `json:"config,omitempty"`
	Configured bool   `json:"configured,omitempty"`
	// Missing is what could not be loaded of kernels and initrds, with why: a script may have gone on without.
	Missing []string `json:"missing,omitempty"`
	// Address is what DHCP gave.
	Address netip.Addr `json:"address,omitzero"`
	// Reason says why the boot ended where it did.
	Reason string `json:"reason"`
}

// run is a boot under way.
type run struct {
	machine Machine
	options Options
	model   model
	wires   Wires
	trace   Trace
	actor   string // who is at work: the firmware, then what it loaded
	xid     uint32
}

// Boot plays the whole boot of a machine. It ends when something would boot, or at the first thing that real firmware would give up
// on; Trace.Reason tells. Retries are not played: what does not answer at once is not there.
func Boot(ctx context.Context, m Machine, w Wires) Trace { return Play(ctx, m, w, Options{}) }

// Play is [Boot] with options.
func Play(ctx context.Context, m Machine, w Wires, o Options) Trace {
	r := newRun(m, w)
	r.options = o
	if target, ok := r.locate(ctx); ok {
		r.load(ctx, target)
	}
	if o.Config && r.trace.Booted && r.trace.Kernel != "" {
		r.configure(ctx)
	}
	return r.trace
}

// Locate plays a boot only until the firmware knows what to load; Trace.Loader has it.
func Locate(ctx context.Context, m Machine, w Wires) Trace {
	r := newRun(m, w)
	r.locate(ctx)
	return r.trace
}

func newRun(m Machine, w Wires) *run {
	hw := m.MAC.HardwareAddr()
	r := &run{machine: m, wires: w, model: models[m.Kind], actor: string(m.Kind)}
	for _, b := range hw { // iPXE takes its transaction number from the address, and any number will do
		r.xid = r.xid<<8 | uint32(b)
	}
	return r
}

// target is what the firmware decided to load.
type target struct {
	server netip.Addr // by TFTP from here
	file   string     // a TFTP path, or a URL
}

func (t target) url() string {
	if isURL(t.file) {
		return t.file
	}
	return "tftp://" + t.server.String() + "/" + t.file
}

func (r *run) locate(ctx context.Context) (target, bool) {
	if r.model.find == nil || len(r.machine.MAC.HardwareAddr()) != 6 {
		return target{}, r.fail("%q is no kind of firmware with an Ethernet address", r.machine.Kind)
	}
	if r.wires.DHCP == nil {
		return target{}, r.fail("no network to ask on")
	}
	found, ok := r.model.find(r, ctx)
	if ok {
		r.trace.Loader = found.url()
		r.trace.Reason = "loads " + r.trace.Loader
		r.step("loads %s", r.trace.Loader)
	}
	return found, ok
}

// step adds to the trace what is done by whoever is at work.
func (r *run) step(format string, args ...any) { r.stepOf(r.actor, format, args...) }

func (r *run) stepOf(actor, format string, args ...any) {
	r.add(Step{Actor: actor, Text: fmt.Sprintf(format, args...)})
}

func (r *run) add(s Step) {
	r.trace.Steps = append(r.trace.Steps, s)
	if r.options.Emit != nil {
		r.options.Emit(s)
	}
}

// fail ends the boot. It returns false, so that callers can return it.
func (r *run) fail(format string, args ...any) bool {
	r.trace.Booted = false
	r.trace.Reason = fmt.Sprintf(format, args...)
	r.step("stops: %s", r.trace.Reason)
	return false
}
