package machine_test

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"testing"

	"github.com/matchd/matchd/matchd/machine"
)

const mac = machine.MAC("52:54:00:00:00:01")

func TestParseMAC(t *testing.T) {
	tests := []struct{ in, want string }{
		{"52:54:00:A1:9C:AE", "52:54:00:a1:9c:ae"},
		{"52-54-00-a1-9c-ae", "52:54:00:a1:9c:ae"},
		{"5254.00a1.9cae", "52:54:00:a1:9c:ae"},
		{"525400A19CAE", "52:54:00:a1:9c:ae"},
		{"00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01", "00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01"},
		{"", ""}, {"zz", ""}, {"52:54:00:a1:9c", ""},
	}
	for _, tt := range tests {
		got, err := machine.ParseMAC(tt.in)
		if got.String() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseMAC(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
	if got := mac.Hyphens(); got != "52-54-00-00-00-01" {
		t.Errorf("Hyphens = %q", got)
	}
	if got := machine.MACFrom(mac.HardwareAddr()); got != mac {
		t.Errorf("MACFrom(HardwareAddr) = %q", got)
	}
	if machine.MAC("").HardwareAddr() != nil {
		t.Error("the zero MAC has bytes")
	}
}

func TestArch(t *testing.T) {
	tests := []struct {
		arch     machine.Arch
		key      string
		bootable bool
		text     string
	}{
		{0, "x86-bios", true, "0 (x86 BIOS)"},
		{6, "i386-efi", true, "6 (x86 UEFI)"},
		{7, "x86_64-efi", true, "7 (x64 UEFI)"},
		{9, "x86_64-efi", true, "9 (EBC)"},
		{11, "arm64-efi", true, "11 (ARM 64-bit UEFI)"},
		{16, "x86_64-efi", true, "16 (x64 UEFI HTTP)"},
		{20, "x86-bios", true, "20 (x86 BIOS HTTP)"},
		{22, "arm64-efi", true, "22 (ARM 64-bit U-Boot)"},
		{39, "loong64-efi", true, "39 (LoongArch 64-bit UEFI)"},
		{2, "", false, "2 (Itanium)"},
		{41, "", false, "41 (ARM rpiboot)"},
		{4711, "", false, "4711 (not in the registry)"},
	}
	for _, tt := range tests {
		if got := tt.arch.LoaderKey(); got != tt.key {
			t.Errorf("%d: LoaderKey = %q, want %q", tt.arch, got, tt.key)
		}
		if got := tt.arch.Bootable(); got != tt.bootable {
			t.Errorf("%d: Bootable = %v", tt.arch, got)
		}
		if got := tt.arch.String(); got != tt.text {
			t.Errorf("%d: String = %q, want %q", tt.arch, got, tt.text)
		}
	}
}

func TestMergeServerWins(t *testing.T) {
	m := machine.Machine{
		MAC: mac, UUID: "u-server", Arch: machine.ArchX64, HasArch: true,
		Labels: map[string]string{"rack": "7"},
	}
	got := m.Merge(map[string]string{
		"mac": "52:54:00:00:00:99", "uuid": "u-claimed", "serial": "claimed", "rack": "1",
		"platform": "pcbios", "arch": "i386", "cpu_arch": "aarch64", "os": "installed",
	})
	want := map[string]string{
		"mac": string(mac), "uuid": "u-server", "serial": "claimed", "rack": "7",
		"platform": "metal", "firmware": "pcbios", "arch": "i386", "cpu_arch": "aarch64", "os": "installed",
	}
	if !maps.Equal(got, want) {
		t.Errorf("Merge\n got %v\nwant %v", got, want)
	}
}

// TestMergeKeepsSpellingOfUUID: firmware told the UUID by DHCP in the wrong byte order, iPXE writes it as it is, people in any case.
func TestMergeKeepsSpellingOfUUID(t *testing.T) {
	m := machine.Machine{MAC: mac, UUID: "33221100-5544-7766-8899-aabbccddeeff"}
	for _, uuid := range []string{
		"33221100-5544-7766-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF",
	} {
		if got := m.Merge(map[string]string{"uuid": uuid})["uuid"]; got != uuid {
			t.Errorf("%s becomes %s", uuid, got)
		}
	}
	if got := m.Merge(map[string]string{"uuid": "another"})["uuid"]; got != m.UUID {
		t.Errorf("another machine's UUID stays: %s", got)
	}
}

func TestSwapUUID(t *testing.T) {
	const big, little = "00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff"
	if got := machine.SwapUUID(big); got != little {
		t.Errorf("got %s", got)
	}
	for _, s := range []string{"", "no-uuid", "1-2-3-4-5"} {
		if got := machine.SwapUUID(s); got != s {
			t.Errorf("SwapUUID(%q) = %q", s, got)
		}
	}
}

func TestRegistryLearns(t *testing.T) {
	r := machine.NewRegistry(0)
	first, second := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")
	r.Observe(machine.Machine{MAC: mac, UUID: "00112233-4455-6677-8899-aabbccddeeff", Address: first})
	r.Observe(machine.Machine{MAC: mac, Serial: "s1", Address: second})
	r.Observe(machine.Machine{Serial: "nobody's"})
	got, ok := r.ByAddress(second)
	if !ok || got.Serial != "s1" || got.UUID == "" {
		t.Errorf("ByAddress = %+v, %v", got, ok)
	}
	if _, ok := r.ByAddress(first); ok {
		t.Error("the old address still leads to the machine")
	}
	if _, ok := r.ByUUID("33221100-5544-7766-8899-AABBCCDDEEFF"); !ok {
		t.Error("a UUID in the other byte order is not found")
	}
	if _, ok := r.ByMAC("52:54:00:00:00:02"); ok || r.Len() != 1 {
		t.Error("a machine appeared from nowhere")
	}
}

func TestRegistryAddressChangesOwner(t *testing.T) {
	r := machine.NewRegistry(0)
	addr := netip.MustParseAddr("10.0.0.5")
	r.Observe(machine.Machine{MAC: mac, Address: addr})
	r.Observe(machine.Machine{MAC: "52:54:00:00:00:02", Address: addr})
	r.Observe(machine.Machine{MAC: mac, Address: netip.MustParseAddr("10.0.0.7")})
	if got, _ := r.ByAddress(addr); got.MAC != "52:54:00:00:00:02" {
		t.Errorf("the address belongs to %q", got.MAC)
	}
}

// TestRegistryClaims: who asks in a machine's name, an operator with curl or another machine, must not make its own address nobody's.
func TestRegistryClaims(t *testing.T) {
	const other = machine.MAC("52:54:00:00:00:02")
	own, laptop, third := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.200"), netip.MustParseAddr("10.0.0.201")
	r := machine.NewRegistry(0)
	r.Observe(machine.Machine{MAC: mac, Address: own})
	r.Claim(mac, laptop)
	r.Claim(other, own)
	for addr, want := range map[netip.Addr]machine.MAC{own: mac, laptop: mac} {
		if got, _ := r.ByAddress(addr); got.MAC != want || got.Address != own {
			t.Errorf("%s leads to %q at %s, want %q at %s", addr, got.MAC, got.Address, want, own)
		}
	}
	r.Claim(other, laptop)
	r.Claim(mac, third)
	r.Claim(mac, netip.Addr{})
	for addr, want := range map[netip.Addr]machine.MAC{own: mac, laptop: other, third: mac} {
		if got, _ := r.ByAddress(addr); got.MAC != want {
			t.Errorf("later %s leads to %q, want %q", addr, got.MAC, want)
		}
	}
	r.Observe(machine.Machine{MAC: other, Address: third})
	r.Observe(machine.Machine{MAC: other, Address: netip.MustParseAddr("10.0.0.9")})
	if got, known := r.ByAddress(third); known {
		t.Errorf("the address that %q left still leads to it", got.MAC)
	}
}

func TestRegistrySharedUUIDIsNobodys(t *testing.T) {
	const uuid, swapped = "00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff"
	r := machine.NewRegistry(0)
	r.Observe(machine.Machine{MAC: mac, UUID: uuid})
	for _, claim := range []string{uuid, swapped} {
		r.Observe(machine.Machine{MAC: "52:54:00:00:00:02", UUID: claim})
		if got, ok := r.ByUUID(uuid); ok {
			t.Errorf("a UUID that two machines tell leads to %q", got.MAC)
		}
	}
	r.Observe(machine.Machine{MAC: "52:54:00:00:00:02", UUID: "its own"})
	if got, _ := r.ByUUID(uuid); got.MAC != mac {
		t.Errorf("a UUID that one machine tells leads to %q", got.MAC)
	}
}

func TestRegistryIsBounded(t *testing.T) {
	r := machine.NewRegistry(3)
	r.Pin(machine.Machine{MAC: mac, Address: netip.MustParseAddr("10.0.0.1")})
	for i := range 10 {
		m := machine.MAC(fmt.Sprintf("52:54:00:00:01:%02x", i))
		r.Observe(machine.Machine{MAC: m, UUID: string(m), Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})})
	}
	if r.Len() != 3 {
		t.Errorf("Len = %d, want 3", r.Len())
	}
	if _, ok := r.ByMAC(mac); !ok {
		t.Error("a pinned machine made room")
	}
	if _, ok := r.ByAddress(netip.MustParseAddr("10.0.1.0")); ok {
		t.Error("a forgotten machine is found by its address")
	}
}

func TestRegistryConcurrently(t *testing.T) {
	r := machine.NewRegistry(16)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				m := machine.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i, j))
				r.Observe(machine.Machine{MAC: m, UUID: string(m), Address: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)})})
				r.Claim(m, netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)}))
				r.ByMAC(m)
				r.ByUUID(string(m))
			}
		})
	}
	wg.Wait()
	if r.Len() != 16 {
		t.Errorf("Len = %d, want 16", r.Len())
	}
	r.Claim("52:54:00:00:99:99", netip.MustParseAddr("10.2.0.1"))
	if r.Len() != 16 {
		t.Errorf("Len = %d after a claim, want 16", r.Len())
	}
}

func TestUnpin(t *testing.T) {
	r := machine.NewRegistry(2)
	told, silent := machine.MAC("52:54:00:00:00:01"), machine.MAC("52:54:00:00:00:02")
	r.Pin(machine.Machine{MAC: told, Labels: map[string]string{"role": "db", "rack": "1"}})
	r.Pin(machine.Machine{MAC: silent, Labels: map[string]string{"role": "web"}})
	r.Observe(machine.Machine{MAC: told, UUID: "b1", Address: netip.MustParseAddr("10.0.0.1")})
	r.Pin(machine.Machine{MAC: told, Labels: map[string]string{"role": "web"}})
	if m, _ := r.ByMAC(told); m.Labels["role"] != "web" || m.Labels["rack"] != "" || m.UUID != "b1" {
		t.Errorf("pinned anew: %+v", m)
	}
	r.Pin(machine.Machine{MAC: told})
	if m, _ := r.ByMAC(told); m.Labels != nil {
		t.Errorf("pinned without labels: %+v", m)
	}
	r.Unpin(told)
	r.Unpin(silent)
	r.Unpin("52:54:00:00:00:03")
	if m, known := r.ByMAC(told); !known || m.Labels != nil || m.UUID != "b1" {
		t.Errorf("unpinned: %+v, %v", m, known)
	}
	if m, known := r.ByMAC(silent); known {
		t.Errorf("nothing but what an operator told was known, and is still: %+v", m)
	}
	r.Observe(machine.Machine{MAC: "52:54:00:00:00:04"})
	r.Observe(machine.Machine{MAC: "52:54:00:00:00:05"})
	if _, known := r.ByMAC(told); known || r.Len() != 2 {
		t.Errorf("an unpinned machine makes no room: %d", r.Len())
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		settings machine.Settings
		want     string
	}{
		{machine.Settings{MAC: "52:54:00:00:00:01"}, ""},
		{machine.Settings{MAC: "52:54:00:00:00:01", Name: "n1", Labels: map[string]string{"role": "db"}, Loader: "snponly.efi", ExitMethod: "sanboot", TFTPBlksize: 1024}, ""},
		{machine.Settings{}, `id: "" is not a MAC address`},
		{machine.Settings{MAC: "52-54-00-00-00-01"}, `id: "52-54-00-00-00-01" is to be written "52:54:00:00:00:01"`},
		{machine.Settings{MAC: "52:54:00:00:00:01", Name: "a\nb"}, "name: a name has at most 1024 bytes and no control characters"},
		{machine.Settings{MAC: "52:54:00:00:00:01", Labels: map[string]string{"": "x"}}, `labels."": a label's name has 1 to 1024 bytes, its value at most as many, and neither holds a control character`},
		{machine.Settings{MAC: "52:54:00:00:00:01", Labels: map[string]string{"MAC": "x"}}, "labels.MAC: the machine's id is its MAC address"},
		{machine.Settings{MAC: "52:54:00:00:00:01", Loader: "../x"}, `loader: "../x" is none of ipxe, shim, grub, nor the name of a loader file`},
		{machine.Settings{MAC: "52:54:00:00:00:01", ExitMethod: "no"}, `exit_method: "no" is none of exit1, exit0, sanboot, http404, grub-find`},
		{machine.Settings{MAC: "52:54:00:00:00:01", TFTPBlksize: 8}, "tftp_blksize: 8 is not between 512 and 65464"},
	}
	for _, tc := range tests {
		got := ""
		if err := tc.settings.Validate(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.settings, got, tc.want)
		}
	}
}
