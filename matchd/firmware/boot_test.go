package firmware_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/firmware"
)

// liar spoils the transaction number of every answer.
type liar struct{ *network }

func (l liar) Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	answers, err := l.network.Exchange(ctx, packet, to)
	for _, answer := range answers {
		answer[4] ^= 0xff
	}
	return answers, err
}

// named is a proxy's offer of a file.
func named(file string) *network {
	return &network{offers: []reply{bare, {siaddr: bootServer, file: file, options: []option{bootID, pxe, load, {67, file + "\x00"}}}}}
}

// TestSecureBoot goes from shim to GRUB to the kernel, all by TFTP.
func TestSecureBoot(t *testing.T) {
	content := files{
		"tftp://10.0.0.1/m/52-54-00-00-00-01/shimx64.efi": "shim",
		"tftp://10.0.0.1/m/52-54-00-00-00-01/grubx64.efi": "grub",
		"tftp://10.0.0.1/grub/grub.cfg":                   "configfile /m/${net_default_mac}/grub.cfg\n",
		"tftp://10.0.0.1/m/52:54:00:00:00:01/grub.cfg": "echo 'it'\\''s ours'\nif linux '/assets/vmlinuz' 'a=b c' \"${net_default_mac}\"; then\n" +
			"  initrd '/assets/one' '(http,10.0.0.1:8080)/two'\n  boot\nfi\nsleep 10\n",
		"tftp://10.0.0.1/assets/vmlinuz": "kernel", "tftp://10.0.0.1/assets/one": "1", "http://10.0.0.1:8080/two": "2",
	}
	network := named("m/52-54-00-00-00-01/shimx64.efi")
	trace := boot(firmware.Machine{Kind: firmware.OVMF}, network, content)
	if !trace.Booted || trace.Kernel != "tftp://10.0.0.1/assets/vmlinuz" || trace.Args != "a=b c 52:54:00:00:00:01" || len(trace.Initrd) != 2 {
		t.Errorf("%+v", trace)
		explain(t, trace)
	}
	for _, missing := range []string{
		"tftp://10.0.0.1/m/52-54-00-00-00-01/grubx64.efi", "tftp://10.0.0.1/grub/grub.cfg",
		"tftp://10.0.0.1/m/52:54:00:00:00:01/grub.cfg", "tftp://10.0.0.1/assets/vmlinuz", "http://10.0.0.1:8080/two",
	} {
		less := files{}
		for name, text := range content {
			if name != missing {
				less[name] = text
			}
		}
		if trace := boot(firmware.Machine{Kind: firmware.OVMF}, network, less); trace.Booted || trace.Reason == "" {
			t.Errorf("without %s: %+v", missing, trace)
		}
	}
}

func TestGRUBEnds(t *testing.T) {
	for config, want := range map[string]string{
		"exit 1\n": "disk", "sleep 10\n": "waits", "echo nothing\n": "ends without", "configfile /grub/grub.cfg\n": "without end",
	} {
		content := files{"tftp://10.0.0.1/grubaa64.efi": "grub", "tftp://10.0.0.1/grub/grub.cfg": config}
		trace := boot(firmware.Machine{Kind: firmware.AAVMF}, named("grubaa64.efi"), content)
		if !strings.Contains(trace.Reason, want) || trace.Disk != (want == "disk") {
			t.Errorf("%q: %s, want %s", config, trace.Reason, want)
		}
	}
	own := files{
		"tftp://10.0.0.1/grubaa64.efi": "grub", "tftp://10.0.0.1/grub/grub.cfg": "sleep 1\n",
		"tftp://10.0.0.1/grub/grub.cfg-01-52-54-00-00-00-01": "exit\n",
	}
	if trace := boot(firmware.Machine{Kind: firmware.AAVMF}, named("grubaa64.efi"), own); !trace.Disk {
		t.Errorf("the config of its own interface was passed over: %s", trace.Reason)
	}
}

// TestShimByHTTP asks with two slashes, and a 404 ends it.
func TestShimByHTTP(t *testing.T) {
	offer := bare.with(option{60, "HTTPClient"}, option{67, "http://10.0.0.1/efi/shimx64.efi\x00"})
	content := files{
		"http://10.0.0.1/efi/shimx64.efi": "shim", "http://10.0.0.1/efi//grubx64.efi": "grub", "http://10.0.0.1/grub/grub.cfg": "exit\n",
	}
	trace := boot(firmware.Machine{Kind: firmware.OVMFHTTP}, &network{offers: []reply{offer}}, content)
	if !trace.Disk {
		t.Errorf("%s", trace.Reason)
		explain(t, trace)
	}
}

// runScript boots an iPXE ROM with a script.
func runScript(script string, more files) firmware.Trace {
	offer := bare.with(option{67, "http://10.0.0.1/boot.ipxe\x00"})
	content := files{"http://10.0.0.1/boot.ipxe": "#!ipxe\n" + script, "http://10.0.0.1/vmlinuz": "kernel", "http://10.0.0.1/initrd": "initrd"}
	for name, text := range more {
		content[name] = text
	}
	m := firmware.Machine{Kind: firmware.IPXEROM, UUID: "u-1", Labels: map[string]string{"serial": "a b"}}
	return boot(m, &network{offers: []reply{offer}}, content)
}

func TestScripts(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"kernel", "kernel vmlinuz a=1\ninitrd --name i initrd\nboot\n", "would boot http://10.0.0.1/vmlinuz"},
		{"boot with image", "boot vmlinuz\n", "would boot http://10.0.0.1/vmlinuz"},
		{"missing kernel", "kernel missing\nboot\n", "fails at: kernel missing"},
		{"alternative", "kernel missing || kernel vmlinuz && boot\n", "would boot"},
		{"goto", "goto end\nkernel missing\n:end\nexit 1\n", "disk by exit 1"},
		{"no label", "goto nowhere\n", "fails at"},
		{"condition holds", "iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 || exit 1\n", "disk by sanboot"},
		{"condition fails", "iseq ${platform} efi && sanboot || exit 1\n", "disk by exit 1"},
		{"set and isset", "set x 1\nisset ${x} && exit || sleep 1\n", "disk by exit"},
		{"not set", "isset ${y} && exit || sleep 1\n", "waits"},
		{"chain", "chain --replace next?mac=${mac:hexhyp}&serial=${serial:uristring} || exit\n", "would boot"},
		{"chain fails", "chain missing || goto again\n:again\nsleep 10\ngoto again\n", "waits"},
		{"circle", ":a\ngoto a\n", "in circles"},
		{"self", "chain boot.ipxe\n", "without end"},
		{"unknown command", "frobnicate\n", "fails at"},
		{"the end", "echo ${uuid}\n", "ends without"},
		{"nothing to boot", "boot\n", "fails at: boot"},
	}
	more := files{"http://10.0.0.1/next?mac=52-54-00-00-00-01&serial=a%20b": "#!ipxe\nkernel vmlinuz uuid=${uuid} ip=${net0/ip}\nboot\n"}
	for _, tt := range tests {
		trace := runScript(tt.script, more)
		if !strings.Contains(trace.Reason, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, trace.Reason, tt.want)
			explain(t, trace)
		}
		if tt.name == "chain" && trace.Args != "uuid=u-1 ip=10.0.0.200" {
			t.Errorf("arguments %q", trace.Args)
		}
	}
}

// TestAutoexec: a new iPXE asks for autoexec.ipxe beside itself, then at the root, and only then for an address.
func TestAutoexec(t *testing.T) {
	for _, place := range []string{"m/autoexec.ipxe", "autoexec.ipxe"} {
		content := files{"tftp://10.0.0.1/m/snponly.efi": "ipxe", "tftp://10.0.0.1/" + place: "#!ipxe\nexit\n"}
		trace := boot(firmware.Machine{Kind: firmware.OVMF, Autoexec: true}, named("m/snponly.efi"), content)
		if !trace.Disk || trace.Script != "tftp://10.0.0.1/"+place {
			t.Errorf("%s: %+v", place, trace)
		}
		if trace := boot(firmware.Machine{Kind: firmware.OVMF}, named("m/snponly.efi"), content); trace.Disk || !strings.Contains(trace.Reason, "itself again") {
			t.Errorf("an older iPXE: %s", trace.Reason)
		}
	}
}

// picky serves HTTP with a type.
type picky struct {
	files
	kind string
}

func (p picky) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.files.RoundTrip(r)
	if err == nil {
		response.Header.Set("Content-Type", p.kind)
	}
	return response, err
}

func TestHTTPBootType(t *testing.T) {
	for _, tt := range []struct {
		url, kind string
		want      bool
	}{
		{"http://10.0.0.1/loader", "application/efi", true},
		{"http://10.0.0.1/loader", "application/octet-stream", false},
		{"http://10.0.0.1/loader.EFI", "application/octet-stream", true},
		{"http://10.0.0.1/loader.efi?token=x", "", true},
		{"http://10.0.0.1/loader?x=.efi", "", false},
		{"http://10.0.0.1/x", "application/vnd.efi-iso", true},
	} {
		offer := bare.with(option{60, "HTTPClient"}, option{67, tt.url + "\x00"})
		wires := firmware.Wires{DHCP: &network{offers: []reply{offer}}, HTTP: picky{files{tt.url: "x"}, tt.kind}}
		trace := firmware.Boot(t.Context(), firmware.Machine{Kind: firmware.OVMFHTTP, MAC: "52:54:00:00:00:01"}, wires)
		if started := strings.HasPrefix(trace.Reason, "starts"); started != tt.want {
			t.Errorf("%s as %q: %s", tt.url, tt.kind, trace.Reason)
		}
	}
}
