package dhcp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
)

const (
	machineFiles = "10.0.0.1/m/52-54-00-00-00-01/"
	bootScript   = "http://10.0.0.1:8080/boot.ipxe"
)

// finds is what each firmware must end up loading, whatever the mode.
var finds = map[firmware.Kind]string{
	firmware.BIOS:      "tftp://" + machineFiles + "undionly.kpxe",
	firmware.IPXEROM:   bootScript,
	firmware.PoorIPXE:  "tftp://" + machineFiles + "undionly.kpxe",
	firmware.OVMF:      "tftp://" + machineFiles + "snponly.efi",
	firmware.OldEDK2:   "tftp://" + machineFiles + "snponly.efi",
	firmware.VMware:    "tftp://" + machineFiles + "snponly.efi",
	firmware.OVMFHTTP:  "http://10.0.0.1:8080/m/52-54-00-00-00-01/snponly.efi",
	firmware.AAVMF:     "tftp://" + machineFiles + "snponly-arm64.efi",
	firmware.AAVMFHTTP: "http://10.0.0.1:8080/m/52-54-00-00-00-01/snponly-arm64.efi",
	firmware.UBoot:     "tftp://" + machineFiles + "snponly-arm64.efi",
	firmware.UBootPXE:  "tftp://" + machineFiles + "snponly-arm64.efi",
}

func pretend(kind firmware.Kind) firmware.Machine {
	return firmware.Machine{Kind: kind, MAC: testMAC, UUID: "00112233-4455-6677-8899-aabbccddeeff"}
}

func TestEveryFirmwareFindsItsLoader(t *testing.T) {
	offers := []dhcp.ProxyOffer{dhcp.OfferAuto, dhcp.OfferDirect, dhcp.Offer4011}
	for _, kind := range firmware.Kinds() {
		for _, mode := range []dhcp.Mode{dhcp.Proxy, dhcp.Serve} {
			for _, offer := range offers {
				for _, relayed := range []bool{false, true} {
					name := strings.Join([]string{string(kind), string(mode), string(offer), map[bool]string{true: "relayed", false: "local"}[relayed]}, "/")
					t.Run(name, func(t *testing.T) { findLoader(t, kind, mode, offer, relayed) })
				}
			}
		}
	}
}

func findLoader(t *testing.T, kind firmware.Kind, mode dhcp.Mode, offer dhcp.ProxyOffer, relayed bool) {
	network := localNet
	if relayed {
		network = relayedNet
	}
	opts := served(newAddresses(network))
	opts.ProxyOffer = offer
	wire := &cable{link: link(mode), relayed: relayed}
	if mode == dhcp.Proxy {
		opts.Subnets, opts.Addresser = nil, nil
		wire.foreign = plainServer
	}
	wire.handler = newHandler(t, opts)
	trace := firmware.Locate(context.Background(), pretend(kind), firmware.Wires{DHCP: wire})
	want := finds[kind]
	if kind == firmware.OldEDK2 && mode == dhcp.Proxy && offer == dhcp.OfferDirect {
		want = "" // the reason for the other two strategies
	}
	if trace.Loader != want {
		t.Errorf("loads %q, want %q: %s", trace.Loader, want, trace.Reason)
		for _, step := range trace.Steps {
			t.Logf("  %s: %s", step.Actor, step.Text)
		}
	}
}

// files is TFTP and HTTP at once: paths without host to contents.
type files map[string]string

var errNoFile = errors.New("file not found")

func (f files) Read(_ context.Context, r firmware.TFTPRequest) ([]byte, int64, error) {
	content, ok := f["/"+strings.TrimPrefix(r.File, "/")]
	if !ok || r.Server != ourAddr {
		return nil, 0, errNoFile
	}
	return []byte(content), int64(len(content)), nil
}

func (f files) RoundTrip(r *http.Request) (*http.Response, error) {
	content, ok := f[strings.ReplaceAll(r.URL.Path, "//", "/")]
	response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: r, ContentLength: int64(len(content))}
	if !ok || r.URL.Host != "10.0.0.1:8080" {
		response.StatusCode, response.Status = http.StatusNotFound, "404 Not Found"
	}
	response.Body = io.NopCloser(bytes.NewReader([]byte(content)))
	return response, nil
}

func TestEveryFirmwareReachesItsKernel(t *testing.T) {
	content := files{
		"/m/52-54-00-00-00-01/undionly.kpxe":     "loader",
		"/m/52-54-00-00-00-01/snponly.efi":       "loader",
		"/m/52-54-00-00-00-01/snponly-arm64.efi": "loader",
		"/boot.ipxe":                             "#!ipxe\nchain --replace ipxe?mac=${mac:hexhyp}&uuid=${uuid} || goto again\n:again\nsleep 10\n",
		"/ipxe":                                  "#!ipxe\nkernel /assets/vmlinuz initrd=main quiet || exit\ninitrd --name main /assets/initrd || exit\nboot\n",
		"/assets/vmlinuz":                        "kernel",
		"/assets/initrd":                         "initrd",
	}
	for _, kind := range firmware.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			opts := dhcp.Options{}
			wire := &cable{link: link(dhcp.Proxy), foreign: plainServer, handler: newHandler(t, opts)}
			trace := firmware.Boot(context.Background(), pretend(kind), firmware.Wires{DHCP: wire, TFTP: content, HTTP: content})
			if trace.Kernel != "http://10.0.0.1:8080/assets/vmlinuz" || trace.Args != "initrd=main quiet" || len(trace.Initrd) != 1 {
				t.Errorf("boots %q with %q: %s", trace.Kernel, trace.Args, trace.Reason)
				for _, step := range trace.Steps {
					t.Logf("  %s: %s", step.Actor, step.Text)
				}
			}
			if trace.Address != netip.MustParseAddr("10.0.0.200") {
				t.Errorf("address %v", trace.Address)
			}
		})
	}
}
