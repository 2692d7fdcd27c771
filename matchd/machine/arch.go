package machine

import "fmt"

// Arch is a client system architecture type as DHCP option 93 carries it (RFC 4578 section 2.1; numbers of the IANA
// registry "Processor Architecture Types").
type Arch uint16

// Platform is the kind of firmware that an architecture type stands for.
type Platform string

// Platforms as iPXE's ${platform} names them; we hand them on as the label "firmware".
const (
	BIOS Platform = "pcbios"
	EFI  Platform = "efi"
)

// CPU architectures as Linux names them; the label "cpu_arch".
const (
	X86_64  = "x86_64"
	I386    = "i386"
	AArch64 = "aarch64"
	ARM     = "arm"
	RISCV64 = "riscv64"
	Loong64 = "loongarch64"
)

// Traits is what an architecture type tells about a machine.
type Traits struct {
	Name     string   // of the registry, for people
	CPU      string   // as Linux names it; empty where we serve no such machine
	Platform Platform // empty where we serve no such machine
	HTTP     bool     // asks for a URL (UEFI HTTP Boot) rather than for a TFTP file
	UBoot    bool     // U-Boot reads the header's file field alone (FIRMWARE: U-Boot proxy)
}

// ArchBIOS and the following are the architecture types that this server has network boot programs for.
const (
	ArchBIOS      Arch = 0
	ArchX64       Arch = 7
	ArchEBC       Arch = 9 // older x64 firmware and VMware Fusion send this
	ArchARM64     Arch = 11
	ArchX64HTTP   Arch = 16
	ArchEBCHTTP   Arch = 17
	ArchARM64HTTP Arch = 19
	ArchBIOSHTTP  Arch = 20
	ArchARM64Boot Arch = 22 // U-Boot
)

// traits lists the whole registry, so that a refusal can name what was refused.
var traits = map[Arch]Traits{
	0:  {Name: "x86 BIOS", CPU: X86_64, Platform: BIOS},
	1:  {Name: "NEC PC98"},
	2:  {Name: "Itanium"},
	3:  {Name: "DEC Alpha"},
	4:  {Name: "Arc x86"},
	5:  {Name: "Intel Lean Client"},
	6:  {Name: "x86 UEFI", CPU: I386, Platform: EFI},
	7:  {Name: "x64 UEFI", CPU: X86_64, Platform: EFI},
	8:  {Name: "Xscale"},
	9:  {Name: "EBC", CPU: X86_64, Platform: EFI},
	10: {Name: "ARM 32-bit UEFI", CPU: ARM, Platform: EFI},
	11: {Name: "ARM 64-bit UEFI", CPU: AArch64, Platform: EFI},
	12: {Name: "PowerPC Open Firmware"},
	13: {Name: "PowerPC ePAPR"},
	14: {Name: "POWER OPAL v3"},
	15: {Name: "x86 UEFI HTTP", CPU: I386, Platform: EFI, HTTP: true},
	16: {Name: "x64 UEFI HTTP", CPU: X86_64, Platform: EFI, HTTP: true},
	17: {Name: "EBC HTTP", CPU: X86_64, Platform: EFI, HTTP: true},
	18: {Name: "ARM 32-bit UEFI HTTP", CPU: ARM, Platform: EFI, HTTP: true},
	19: {Name: "ARM 64-bit UEFI HTTP", CPU: AArch64, Platform: EFI, HTTP: true},
	20: {Name: "x86 BIOS HTTP", CPU: X86_64, Platform: BIOS, HTTP: true},
	21: {Name: "ARM 32-bit U-Boot", CPU: ARM, Platform: EFI, UBoot: true},
	22: {Name: "ARM 64-bit U-Boot", CPU: AArch64, Platform: EFI, UBoot: true},
	23: {Name: "ARM 32-bit U-Boot HTTP", CPU: ARM, Platform: EFI, HTTP: true, UBoot: true},
	24: {Name: "ARM 64-bit U-Boot HTTP", CPU: AArch64, Platform: EFI, HTTP: true, UBoot: true},
	25: {Name: "RISC-V 32-bit UEFI"},
	26: {Name: "RISC-V 32-bit UEFI HTTP"},
	27: {Name: "RISC-V 64-bit UEFI", CPU: RISCV64, Platform: EFI},
	28: {Name: "RISC-V 64-bit UEFI HTTP", CPU: RISCV64, Platform: EFI, HTTP: true},
	29: {Name: "RISC-V 128-bit UEFI"},
	30: {Name: "RISC-V 128-bit UEFI HTTP"},
	31: {Name: "s390 Basic"},
	32: {Name: "s390 Extended"},
	33: {Name: "MIPS 32-bit UEFI"},
	34: {Name: "MIPS 64-bit UEFI"},
	35: {Name: "Sunway 32-bit UEFI"},
	36: {Name: "Sunway 64-bit UEFI"},
	37: {Name: "LoongArch 32-bit UEFI"},
	38: {Name: "LoongArch 32-bit UEFI HTTP"},
	39: {Name: "LoongArch 64-bit UEFI", CPU: Loong64, Platform: EFI},
	40: {Name: "LoongArch 64-bit UEFI HTTP", CPU: Loong64, Platform: EFI, HTTP: true},
	41: {Name: "ARM rpiboot"},
}

// Traits returns what the architecture type tells, and whether the registry knows it.
func (a Arch) Traits() (Traits, bool) {
	t, ok := traits[a]
	return t, ok
}

// Bootable reports whether machines of this type can be served at all; a loader for it may still be missing.
func (a Arch) Bootable() bool { return traits[a].Platform != "" }

// LoaderKey names the architecture in configuration and in the set of network boot programs: "x86-bios", "x86_64-efi",
// "arm64-efi", "i386-efi", "arm-efi", "riscv64-efi", "loong64-efi". It is empty for a type that cannot be served.
func (a Arch) LoaderKey() string {
	t := traits[a]
	switch {
	case t.Platform == BIOS:
		return "x86-bios"
	case t.Platform != EFI:
		return ""
	case t.CPU == AArch64:
		return "arm64-efi"
	case t.CPU == Loong64:
		return "loong64-efi"
	}
	return t.CPU + "-efi"
}

// String returns the number and the registry's name, such as "7 (x64 UEFI)".
func (a Arch) String() string {
	if t, ok := traits[a]; ok {
		return fmt.Sprintf("%d (%s)", uint16(a), t.Name)
	}
	return fmt.Sprintf("%d (not in the registry)", uint16(a))
}
