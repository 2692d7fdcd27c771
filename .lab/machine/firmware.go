// Package machine plays whole machines: QEMU with real firmware, switched on at an empty
// disk, and what Ignition wrote inside them once they have booted.
package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Firmware is a kind of machine: what is in its ROM decides how it asks for a boot.
type Firmware string

// The kinds of machine the lab can switch on.
const (
	// BIOS is a PC BIOS whose NIC carries iPXE in its option ROM.
	BIOS Firmware = "bios"
	// UEFI is OVMF's own PXE: the machine that is not iPXE, loader by TFTP.
	UEFI Firmware = "uefi"
	// UEFIWithIPXE is OVMF with an iPXE option ROM on its NIC.
	UEFIWithIPXE Firmware = "uefi-ipxe"
	// HTTP is OVMF's UEFI HTTP Boot, with PXE switched off.
	HTTP Firmware = "http"
	// SecureBoot is OVMF's PXE with Microsoft's keys enrolled and Secure Boot on.
	SecureBoot Firmware = "secureboot"
	// ARM64 is AAVMF's PXE on an arm64 machine.
	ARM64 Firmware = "arm64"
)

// Firmwares lists every kind, in the order in which they are shown.
var Firmwares = []Firmware{BIOS, UEFI, UEFIWithIPXE, HTTP, SecureBoot, ARM64}

// Arch returns the folder of the kernel and initrd that a machine of this kind runs.
func (f Firmware) Arch() string {
	if f == ARM64 {
		return "arm64"
	}
	return "x86_64"
}

// Console returns the kernel's name of the serial port.
func (f Firmware) Console() string {
	if f == ARM64 {
		return "ttyAMA0"
	}
	return "ttyS0"
}

const (
	ovmf  = "/usr/share/OVMF/"
	aavmf = "/usr/share/AAVMF/"
)

// qemu returns the program and the arguments that make a machine of this kind, before
// NICs and disks. dir receives the machine's own copy of the firmware's variables.
func (f Firmware) qemu(dir string) (string, []string, error) {
	var args []string
	program, machine, code, vars := "qemu-system-x86_64", "q35", ovmf+"OVMF_CODE_4M.fd", ovmf+"OVMF_VARS_4M.fd"
	switch f {
	case BIOS:
		return program, []string{"-machine", "pc,graphics=off", "-cpu", "max"}, nil
	case UEFI, UEFIWithIPXE:
	case HTTP:
		// Without this OVMF tries PXE first.
		args = []string{"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n"}
	case SecureBoot:
		machine, code, vars = "q35,smm=on", ovmf+"OVMF_CODE_4M.ms.fd", ovmf+"OVMF_VARS_4M.ms.fd"
		args = []string{"-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"}
	case ARM64:
		program, machine, code, vars = "qemu-system-aarch64", "virt", aavmf+"AAVMF_CODE.fd", aavmf+"AAVMF_VARS.fd"
	default:
		return "", nil, fmt.Errorf("unknown firmware %q (one of %v)", f, Firmwares)
	}
	cpu := "max"
	if f == ARM64 {
		cpu = "cortex-a57"
	}
	// Nobody answers DHCPv6 here, and asking takes the firmware a minute and a half.
	args = append(args, "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n")
	own := filepath.Join(dir, "vars.fd")
	content, err := os.ReadFile(vars)
	if err != nil {
		return "", nil, fmt.Errorf("%w (run .lab/setup)", err)
	}
	if err := os.WriteFile(own, content, 0o600); err != nil {
		return "", nil, err
	}
	return program, append([]string{
		"-machine", machine + ",graphics=off", "-cpu", cpu,
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + code,
		"-drive", "if=pflash,format=raw,unit=1,file=" + own,
	}, args...), nil
}

// nic returns the NIC's arguments. An empty romfile takes the option ROM away, so that
// UEFI uses its own network stack.
func (f Firmware) nic(model, mac, tap string) []string {
	device := model + ",netdev=n0,bootindex=1,mac=" + mac
	if f != BIOS && f != UEFIWithIPXE {
		device += ",romfile="
	}
	return []string{"-netdev", "tap,id=n0,script=no,downscript=no,ifname=" + tap, "-device", device}
}

// ParseFirmware finds the kind with this name.
func ParseFirmware(name string) (Firmware, error) {
	var names []string
	for _, f := range Firmwares {
		if string(f) == name {
			return f, nil
		}
		names = append(names, string(f))
	}
	return "", fmt.Errorf("no firmware %q; there are %s", name, strings.Join(names, ", "))
}
