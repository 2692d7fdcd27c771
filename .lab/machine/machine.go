package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
)

// Markers that the guests and the disks of the lab print on the serial port.
const (
	LinuxUp  = "LAB-LINUX-UP"
	DiskBoot = "LAB-DISK-BOOT"
)

// Bound is how long a boot may take before it counts as stuck. A quiet machine needs
// 15 to 30 s; a busy one several times that.
const Bound = 300 * time.Second

// Spec describes a machine. Only Firmware and MAC are needed.
type Spec struct {
	Firmware Firmware
	// MAC in colon notation.
	MAC string
	// UUID and Serial go into SMBIOS.
	UUID, Serial string
	// NIC is QEMU's device model; the default is virtio-net-pci.
	NIC string
	// Disk is an image to boot from when the network says so; it is not written to.
	Disk string
	// Dir is where the machine's files and its serial log go.
	Dir string
}

// Machine is a switched-on machine.
type Machine struct {
	Spec
	// Serial console, line by line.
	*process.Process
	began time.Time
}

// PowerOn switches a machine on in a segment.
func PowerOn(seg *netns.Segment, spec Spec) (*Machine, error) {
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		return nil, err
	}
	program, args, err := spec.Firmware.qemu(spec.Dir)
	if err != nil {
		return nil, err
	}
	tap, err := seg.Tap()
	if err != nil {
		return nil, err
	}
	if spec.NIC == "" {
		spec.NIC = "virtio-net-pci"
	}
	args = append(args, "-accel", "tcg,thread=multi", "-m", "1024", "-nodefaults", "-display", "none",
		"-monitor", "none", "-serial", "stdio", "-no-reboot", "-device", "virtio-rng-pci")
	args = append(args, spec.Firmware.nic(spec.NIC, spec.MAC, tap)...)
	if spec.UUID != "" {
		args = append(args, "-uuid", spec.UUID)
	}
	smbios := "type=1,manufacturer=Lab,product=" + string(spec.Firmware)
	if spec.Serial != "" {
		smbios += ",serial=" + spec.Serial
	}
	args = append(args, "-smbios", smbios)
	if spec.Disk != "" {
		args = append(args, "-drive", "if=none,id=d0,format=raw,snapshot=on,file="+spec.Disk, "-device", "virtio-blk-pci,drive=d0,bootindex=2")
	}
	p, err := process.Start(seg.Namespace, process.Options{
		Name: "qemu " + spec.MAC, LogFile: filepath.Join(spec.Dir, "serial.log"),
	}, program, args...)
	if err != nil {
		return nil, err
	}
	return &Machine{Spec: spec, Process: p, began: time.Now()}, nil
}

// Age returns the time since power-on.
func (m *Machine) Age() time.Duration { return time.Since(m.began) }

// Result waits until the guest has switched itself off and returns what it printed
// about itself and its new root file system.
func (m *Machine) Result(ctx context.Context) (*Result, error) {
	if _, err := m.Output.Wait(ctx, resultEnd); err != nil {
		return nil, err
	}
	if err := m.WaitEnd(ctx); err != nil {
		return nil, fmt.Errorf("switching %s off: %w", m.MAC, err)
	}
	return parseResult(m.Lines())
}

// Dashes returns the MAC in the notation of file names.
func (m *Machine) Dashes() string { return strings.ReplaceAll(m.MAC, ":", "-") }
