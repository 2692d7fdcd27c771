package firmware_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/firmware"
)

const ours = "tftp://10.0.0.1/ours.efi"

// withOptions returns an offer with more options.
func (r reply) with(options ...option) reply {
	r.options = append(append([]option(nil), r.options...), options...)
	return r
}

// TestEDK2 holds the pretended EDK2 to the sections of PxeBcDhcp4.c that FIRMWARE facts 1 to 11 come from.
func TestEDK2(t *testing.T) {
	plainFile := bare.with(option{67, "theirs.efi\x00"})
	plainFile.siaddr = dhcpServer
	theirs := plainFile.with(pxe, load)
	binl := plainFile.with(pxe)
	withPorts := map[[4]byte]reply{bootServer: second}
	noID := bare
	noID.options = nil
	long := proxy
	long.pad = 1473
	unterminated := reply{options: []option{pxe, load, {67, "ours.efi"}, bootID}}
	terminated := reply{options: []option{pxe, load, {67, "ours.efi\x00"}, bootID}}
	list := reply{siaddr: dhcpServer, options: []option{bootID, pxe, {43, "\x06\x01\x08\x08\x07\x00\x00\x01\x0a\x00\x00\x01\xff"}, {67, "ours.efi\x00"}}}
	other := reply{siaddr: dhcpServer, options: []option{id, pxe}}
	tests := []struct {
		name   string
		offers []reply
		ports  map[[4]byte]reply
		want   string // a URL, or part of the reason
	}{
		{"no offer", nil, nil, "no offer with an address"},
		{"only a lease", []reply{bare}, nil, "no boot file"},
		{"lease with file", []reply{plainFile}, nil, "tftp://10.0.0.2/theirs.efi"},
		{"proxy beside a lease", []reply{bare, proxy}, nil, ours},
		{"proxy beats a bare file name", []reply{plainFile, proxy}, nil, ours},
		{"PXEClient with file and 43 beats the proxy", []reply{proxy, theirs}, nil, "tftp://10.0.0.2/theirs.efi"},
		{"PXEClient without 43 is asked on 4011", []reply{binl}, nil, "PXE-E55"},
		{"proxy beats Binl of the server", []reply{binl, bare, proxy}, nil, ours},
		{"pointer", []reply{bare, pointer}, withPorts, ours},
		{"pointer nobody answers for", []reply{bare, pointer}, nil, "PXE-E55"},
		{"second pointer", []reply{bare, other, pointer}, withPorts, ours},
		{"proxy without class", []reply{bare, {siaddr: bootServer, options: []option{bootID, load, {67, "ours.efi\x00"}}}}, nil, "no boot file"},
		{"43.6=8 without file", []reply{bare, {siaddr: bootServer, options: []option{bootID, pxe, load}}}, nil, "menu"},
		{"43.6 without bit 3", []reply{bare, {siaddr: bootServer, options: []option{bootID, pxe, {43, "\x06\x01\x03\xff"}, {67, "x\x00"}}}}, nil, "menu"},
		{"no option 54", []reply{noID, proxy}, nil, "no option 54"},
		{"first of two proxies", []reply{bare, proxy, list}, nil, ours},
		{"too long", []reply{bare, long}, nil, "no boot file"},
		{"server from 43.8", []reply{bare, list}, nil, ours},
		{"67 with NUL", []reply{bare, terminated}, nil, ours},
		{"67 without NUL destroys what follows", []reply{bare, unterminated}, nil, "neither siaddr nor option 54"},
		{"header only", []reply{bare, {siaddr: bootServer, file: "ours.efi", options: []option{bootID, pxe, load}}}, nil, ours},
	}
	for _, tt := range tests {
		trace := locate(t, firmware.OVMF, &network{offers: tt.offers, bootPort: tt.ports})
		if trace.Loader != tt.want && (trace.Loader != "" || !strings.Contains(trace.Reason, tt.want)) {
			t.Errorf("%s: loads %q, %s; want %s", tt.name, trace.Loader, trace.Reason, tt.want)
			explain(t, trace)
		}
	}
	if trace := locate(t, firmware.OldEDK2, &network{offers: []reply{bare, proxy}}); trace.Loader != "" {
		t.Errorf("the old EDK2 took a proxy offer with option 43: %s", trace.Loader)
	}
	if trace := locate(t, firmware.OldEDK2, &network{offers: []reply{bare, pointer}, bootPort: withPorts}); trace.Loader != ours {
		t.Errorf("the old EDK2 did not take a pointer: %s", trace.Reason)
	}
}

// TestEDK2ReadsTheAcknowledgement: what was offered and is missing in the ACK is not booted.
func TestEDK2ReadsTheAcknowledgement(t *testing.T) {
	full := bare.with(pxe, load, option{67, "ours.efi\x00"})
	full.siaddr = bootServer
	if trace := locate(t, firmware.OVMF, &network{offers: []reply{full}, ack: &bare}); trace.Loader != "" {
		t.Errorf("loads %s", trace.Loader)
	}
}

func TestHTTPBoot(t *testing.T) {
	class := option{60, "HTTPClient"}
	byAddress := option{67, "http://10.0.0.1:8080/x.efi\x00"}
	byName := option{67, "http://boot.example/x.efi\x00"}
	dns := option{6, "\x0a\x00\x00\x35"}
	tests := []struct {
		name   string
		offers []reply
		want   string
	}{
		{"lease with URL", []reply{bare.with(class, byAddress)}, "http://10.0.0.1:8080/x.efi"},
		{"proxy with URL", []reply{bare, {options: []option{bootID, class, byAddress}}}, "http://10.0.0.1:8080/x.efi"},
		{"URL in the header", []reply{bare, {file: "http://10.0.0.1:8080/x.efi", options: []option{bootID, class}}}, "http://10.0.0.1:8080/x.efi"},
		{"no class", []reply{bare, {options: []option{bootID, byAddress}}}, "no offer with HTTPClient"},
		{"PXE class", []reply{bare, proxy}, "no offer with HTTPClient"},
		{"no URL", []reply{bare, {options: []option{bootID, class, {67, "x.efi\x00"}}}}, "no offer with HTTPClient"},
		{"host name without DNS", []reply{bare.with(class, byName)}, "no DNS server"},
		{"host name with DNS", []reply{bare.with(dns, class, byName)}, "http://boot.example/x.efi"},
		{"no lease", []reply{{options: []option{bootID, class, byAddress}}}, "no offer with an address"},
	}
	for _, tt := range tests {
		trace := locate(t, firmware.OVMFHTTP, &network{offers: tt.offers})
		if trace.Loader != tt.want && (trace.Loader != "" || !strings.Contains(trace.Reason, tt.want)) {
			t.Errorf("%s: loads %q, %s; want %s", tt.name, trace.Loader, trace.Reason, tt.want)
		}
	}
	n := &network{offers: []reply{bare.with(class, byAddress)}, ack: &bare}
	if trace := locate(t, firmware.OVMFHTTP, n); trace.Loader != "" {
		t.Errorf("an acknowledgement without URL: loads %s", trace.Loader)
	}
}

func TestIPXE(t *testing.T) {
	script := option{67, "http://10.0.0.1/boot.ipxe\x00"}
	want := "http://10.0.0.1/boot.ipxe"
	scripted := reply{siaddr: bootServer, options: []option{bootID, pxe, script}}
	withLease := bare.with(script)
	withLease.siaddr = bootServer
	ports := map[[4]byte]reply{bootServer: scripted}
	tests := []struct {
		name   string
		offers []reply
		want   string
		asks   bool // port 4011
	}{
		{"lease with script", []reply{withLease}, want, false},
		{"proxy with script", []reply{bare, scripted}, want, false},
		{"proxy without siaddr is asked again", []reply{bare, {options: []option{bootID, pxe, script}}}, want, true},
		{"proxy without file is asked again", []reply{bare, pointer}, want, true},
		{"no-pxedhcp makes it pass over the proxy", []reply{withLease.with(option{175, "\xb0\x01\x01"}), pointer}, want, false},
		{"proxy without class", []reply{bare, {siaddr: bootServer, options: []option{bootID, script}}}, "no file name", false},
		{"bare file name", []reply{bare, proxy}, "bare name", false},
		{"nothing", []reply{bare}, "no file name", false},
	}
	for _, tt := range tests {
		n := &network{offers: tt.offers, bootPort: ports}
		trace := locate(t, firmware.IPXEROM, n)
		if trace.Loader != tt.want && (trace.Loader != "" || !strings.Contains(trace.Reason, tt.want)) {
			t.Errorf("%s: loads %q, %s; want %s", tt.name, trace.Loader, trace.Reason, tt.want)
		}
		if asked := n.asked[len(n.asked)-1].Port() == 4011; asked != tt.asks {
			t.Errorf("%s: port 4011 asked: %v", tt.name, asked)
		}
	}
}

func TestROMAndUBoot(t *testing.T) {
	optionOnly := reply{siaddr: bootServer, options: []option{bootID, pxe, load, {67, "ours.efi\x00"}}}
	ports := map[[4]byte]reply{bootServer: second}
	tests := []struct {
		name   string
		kind   firmware.Kind
		offers []reply
		want   string
	}{
		{"ROM, proxy", firmware.BIOS, []reply{bare, proxy}, ours},
		{"ROM, pointer", firmware.BIOS, []reply{bare, pointer}, ours},
		{"ROM, PXE lease", firmware.BIOS, []reply{bare.with(pxe, load, option{67, "theirs.efi\x00"})}, "tftp://10.0.0.2/theirs.efi"},
		{"ROM, nothing", firmware.BIOS, []reply{bare}, "PXE-E53"},
		{"ROM, no lease", firmware.BIOS, []reply{proxy}, "PXE-E51"},
		{"ROM, lost pointer", firmware.BIOS, []reply{bare, {options: []option{id, pxe}}}, "PXE-E55"},
		{"U-Boot, header", firmware.UBoot, []reply{bare, proxy}, ours},
		{"U-Boot, option only", firmware.UBoot, []reply{bare, optionOnly}, "header names no boot file"},
		{"U-Boot, pointer", firmware.UBootPXE, []reply{bare, pointer}, "header names no boot file"},
		{"U-Boot, no lease", firmware.UBoot, nil, "no offer"},
		{"unknown firmware", "coreboot", []reply{bare, proxy}, "no kind of firmware"},
	}
	for _, tt := range tests {
		trace := locate(t, tt.kind, &network{offers: tt.offers, bootPort: ports})
		if trace.Loader != tt.want && (trace.Loader != "" || !strings.Contains(trace.Reason, tt.want)) {
			t.Errorf("%s: loads %q, %s; want %s", tt.name, trace.Loader, trace.Reason, tt.want)
		}
	}
}

func TestForeignAnswersAreDropped(t *testing.T) {
	n := &network{offers: []reply{bare, proxy}}
	trace := firmware.Locate(t.Context(), firmware.Machine{Kind: firmware.OVMF, MAC: "52:54:00:00:00:01"}, firmware.Wires{DHCP: liar{n}})
	if trace.Loader != "" || trace.Address.IsValid() {
		t.Errorf("took answers to another's question: %+v", trace)
	}
	if trace := firmware.Locate(t.Context(), firmware.Machine{Kind: firmware.OVMF, MAC: "52:54:00:00:00:01"}, firmware.Wires{}); trace.Reason == "" {
		t.Error("no reason without a network")
	}
}
