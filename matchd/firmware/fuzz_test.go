package firmware_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/matchd/matchd/matchd/firmware"
)

// parrot answers everything with the same bytes, made to look like an answer to the question.
type parrot []byte

func (p parrot) Exchange(_ context.Context, packet []byte, _ netip.AddrPort) ([][]byte, error) {
	answer := append([]byte(nil), p...)
	if len(answer) >= 240 {
		answer[0] = 2
		copy(answer[4:8], packet[4:8])
		copy(answer[28:44], packet[28:44])
		copy(answer[236:240], packet[236:240])
	}
	return [][]byte{answer, answer}, nil
}

// FuzzLocate answers every kind of firmware with any bytes: each ends with a reason.
func FuzzLocate(f *testing.F) {
	for _, offer := range []reply{bare, proxy, pointer, bare.with(pxe, load, option{67, "x"}), bare.with(option{60, "HTTPClient"}, option{67, "http://a/b.efi"})} {
		for _, kind := range []byte{2, 5} {
			f.Add(offer.bytes(make([]byte, 300), kind))
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, kind := range firmware.Kinds() {
			trace := firmware.Locate(t.Context(), firmware.Machine{Kind: kind, MAC: "52:54:00:00:00:01"}, firmware.Wires{DHCP: parrot(answer)})
			if trace.Reason == "" {
				t.Errorf("%s ends without a reason", kind)
			}
		}
	})
}

// FuzzScripts runs any text as an iPXE script and as a GRUB config.
func FuzzScripts(f *testing.F) {
	f.Add("kernel vmlinuz a=1 || goto x\ninitrd --name i initrd && boot\n:x\nsleep 1\n")
	f.Add("if linux '/a' 'b'\\''c' \"${net_default_mac}\"; then\n  initrd /d\n  boot\nfi\nconfigfile /grub/grub.cfg\n")
	f.Add("set a ${b:uristring}\nchain ${a}/boot.ipxe || exit 1\niseq a b && goto a || sanboot")
	f.Fuzz(func(t *testing.T, text string) {
		if trace := runScript(text, nil); trace.Reason == "" {
			t.Error("the script ends without a reason")
		}
		content := files{"tftp://10.0.0.1/grubx64.efi": "grub", "tftp://10.0.0.1/grub/grub.cfg": text}
		if trace := boot(firmware.Machine{Kind: firmware.OVMF}, named("grubx64.efi"), content); trace.Reason == "" {
			t.Error("the config ends without a reason")
		}
	})
}
