package firmware_test

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/matchd/firmware"
)

const (
	scriptURL = "http://10.0.0.1/boot.ipxe"
	kernelURL = "http://10.0.0.1/vmlinuz"
)

// play boots an iPXE ROM with a script, up to its config.
func play(script string, wire http.RoundTripper, o firmware.Options) firmware.Trace {
	offer := bare.with(option{67, scriptURL + "\x00"})
	wires := firmware.Wires{DHCP: &network{offers: []reply{offer}}, HTTP: wire}
	return firmware.Play(context.Background(), firmware.Machine{Kind: firmware.IPXEROM, MAC: "52:54:00:00:00:01"}, wires, o)
}

func TestConfigs(t *testing.T) {
	const whole = `{"ignition":{"version":"3.4.0"}}`
	const pointer = `{"ignition":{"version":"3.4.0","config":{"replace":{"source":"http://10.0.0.1/own","httpHeaders":[{"name":"Authorization","value":"Bearer t"}]}}}}`
	tests := []struct {
		name, argument string
		files          files
		want           string
		configured     bool
	}{
		{"none named", "quiet", nil, "would boot " + kernelURL, false},
		{"by Ignition", "ignition.config.url=http://10.0.0.1/c", files{"http://10.0.0.1/c": whole}, "would boot " + kernelURL, true},
		{"by an installer, which writes it unread", "coreos.inst.ignition_url=http://10.0.0.1/c", files{"http://10.0.0.1/c": pointer}, "would boot", true},
		{"that leads on", "ignition.config.url=http://10.0.0.1/c", files{"http://10.0.0.1/c": pointer, "http://10.0.0.1/own": whole}, "would boot", true},
		{"that leads nowhere", "ignition.config.url=http://10.0.0.1/c", files{"http://10.0.0.1/c": pointer}, "cannot load its config http://10.0.0.1/own", false},
		{"that leads to itself", "ignition.config.url=http://10.0.0.1/own", files{"http://10.0.0.1/own": pointer}, "without end", false},
		{"missing", "ignition.config.url=http://10.0.0.1/c", nil, "cannot load its config http://10.0.0.1/c: GET answers 404", false},
		{"no JSON", "ignition.config.url=http://10.0.0.1/c", files{"http://10.0.0.1/c": "<html>"}, "is no JSON", false},
		{"no version", "ignition.config.url=http://10.0.0.1/c", files{"http://10.0.0.1/c": "{}"}, "has no ignition.version", false},
	}
	for _, tt := range tests {
		content := files{scriptURL: "#!ipxe\nkernel vmlinuz " + tt.argument + "\nboot\n", kernelURL: "kernel"}
		for name, text := range tt.files {
			content[name] = text
		}
		trace := play(content[scriptURL][len("#!ipxe\n"):], content, firmware.Options{Config: true})
		if !strings.Contains(trace.Reason, tt.want) || trace.Configured != tt.configured {
			t.Errorf("%s: %s (configured %v), want %s", tt.name, trace.Reason, trace.Configured, tt.want)
		}
		if failed := tt.name[0] == 'm' || strings.Contains(tt.want, "config http"); failed && trace.Booted {
			t.Errorf("%s: counts as booted", tt.name)
		}
	}
}

// meter counts what is read of each URL.
type meter struct {
	files
	methods map[string]string
}

func (m meter) RoundTrip(r *http.Request) (*http.Response, error) {
	m.methods[r.URL.String()] += r.Method + " "
	if r.URL.Host != "10.0.0.1" {
		return nil, firmware.ErrElsewhere
	}
	return m.files.RoundTrip(r)
}

// TestSizes reads neither kernel nor initrd, and takes what another server has to be there.
func TestSizes(t *testing.T) {
	const script = "kernel vmlinuz ignition.config.url=http://elsewhere/c\ninitrd one\ninitrd http://elsewhere/two\nboot\n"
	m := meter{files{scriptURL: "#!ipxe\n" + script, kernelURL: "kernel", "http://10.0.0.1/one": "1"}, map[string]string{}}
	var emitted []firmware.Step
	trace := play(script, m, firmware.Options{Sizes: true, Config: true, Emit: func(s firmware.Step) { emitted = append(emitted, s) }})
	if !trace.Booted || !trace.Configured || len(trace.Initrd) != 2 {
		t.Errorf("%+v", trace)
	}
	want := map[string]string{scriptURL: "GET ", kernelURL: "HEAD ", "http://10.0.0.1/one": "HEAD ", "http://elsewhere/two": "HEAD ", "http://elsewhere/c": "GET "}
	if diff := cmp.Diff(want, m.methods); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(trace.Steps, emitted); diff != "" {
		t.Errorf("emitted (-trace +emitted):\n%s", diff)
	}
	sizes := map[string]int64{}
	for _, s := range emitted {
		if s.Bytes > 0 {
			sizes[s.Text] = s.Bytes
		}
	}
	if want := map[string]int64{"has the kernel " + kernelURL: 6, "has the initrd http://10.0.0.1/one": 1, "runs " + scriptURL: int64(len(script) + 7)}; !cmp.Equal(sizes, want) {
		t.Errorf("sizes %v, want %v", sizes, want)
	}
}

func TestHandlers(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4")
		switch r.URL.Path {
		case "/missing":
			http.NotFound(w, r)
		case "/long":
			_, _ = w.Write(make([]byte, 100))
		default:
			local, _ := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string })
			w.Header().Set("X-From", r.RemoteAddr+" "+local.String()+" "+r.Host)
			if r.Method != http.MethodHead {
				_, _ = w.Write([]byte("text"))
			}
		}
	})
	wire := firmware.Handlers{
		MaxBody: 64, Client: func() netip.Addr { return netip.MustParseAddr("10.0.0.200") },
		Find: func(r *http.Request) (http.Handler, netip.AddrPort) {
			if r.URL.Hostname() != "10.0.0.1" {
				return nil, netip.AddrPort{}
			}
			return handler, netip.MustParseAddrPort("10.0.0.1:8080")
		},
	}
	get := func(method, location string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, location, nil)
		if err != nil {
			t.Fatal(err)
		}
		return wire.RoundTrip(r)
	}
	for method, length := range map[string]int64{http.MethodGet: 4, http.MethodHead: 4} {
		response, err := get(method, "http://10.0.0.1:8080/a")
		if err != nil || response.StatusCode != 200 || response.ContentLength != length ||
			response.Header.Get("X-From") != "10.0.0.200:49152 10.0.0.1:8080 10.0.0.1:8080" {
			t.Errorf("%s: %+v, %v", method, response, err)
		}
	}
	if response, err := get(http.MethodGet, "http://10.0.0.1/missing"); err != nil || response.StatusCode != http.StatusNotFound {
		t.Errorf("%+v, %v", response, err)
	}
	if _, err := get(http.MethodGet, "http://10.0.0.1/long"); err == nil {
		t.Error("an answer without bound was taken")
	}
	if _, err := get(http.MethodGet, "http://10.0.0.2/a"); err != firmware.ErrElsewhere {
		t.Errorf("another server: %v", err)
	}
}

// TestNeighbour: a machine gets its address from the neighbour, and its file from the proxy beside it.
func TestNeighbour(t *testing.T) {
	neighbour := firmware.Neighbour{Server: netip.MustParseAddr("10.0.0.9"), Client: netip.MustParsePrefix("10.0.0.77/24")}
	for _, kind := range firmware.Kinds() {
		trace := firmware.Locate(t.Context(), firmware.Machine{Kind: kind, MAC: "52:54:00:00:00:01"}, firmware.Wires{DHCP: only{neighbour}})
		// EDK2 asks for no address where nobody names a file; a ROM and iPXE do.
		if takes := kind == firmware.BIOS || kind == firmware.IPXEROM; takes && trace.Address != neighbour.Client.Addr() {
			t.Errorf("%s has the address %v: %s", kind, trace.Address, trace.Reason)
		}
		if trace.Loader != "" {
			t.Errorf("%s is given %s by a server that knows nothing", kind, trace.Loader)
		}
	}
	request := make([]byte, 300)
	for _, packet := range [][]byte{nil, request, request[:100]} {
		if neighbour.Answer(packet) != nil {
			t.Error("answers what is no request")
		}
	}
}

type only struct{ firmware.Neighbour }

func (o only) Exchange(_ context.Context, packet []byte, _ netip.AddrPort) ([][]byte, error) {
	if reply := o.Answer(packet); reply != nil {
		return [][]byte{reply}, nil
	}
	return nil, nil
}

// FuzzNeighbour gives any packet to the neighbour: what it answers is a reply to it.
func FuzzNeighbour(f *testing.F) {
	f.Add(make([]byte, 300))
	neighbour := firmware.Neighbour{Server: netip.MustParseAddr("10.0.0.9"), Client: netip.MustParsePrefix("10.0.0.77/24")}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if reply := neighbour.Answer(packet); reply != nil && (reply[0] != 2 || string(reply[4:8]) != string(packet[4:8])) {
			t.Errorf("%x is answered with %x", packet, reply)
		}
	})
}

// FuzzConfigs gives any text as a config: the boot ends with a reason.
func FuzzConfigs(f *testing.F) {
	f.Add(`{"ignition":{"version":"3.4.0","config":{"replace":{"source":"http://10.0.0.1/c","httpHeaders":[{"name":"a\nb","value":"c"}]}}}}`)
	f.Add(`{"ignition":{"version":"3.4.0","config":{"replace":{"source":"data:,"}}}}`)
	f.Fuzz(func(t *testing.T, config string) {
		const script = "kernel vmlinuz ignition.config.url=http://10.0.0.1/c\nboot\n"
		content := files{scriptURL: "#!ipxe\n" + script, kernelURL: "kernel", "http://10.0.0.1/c": config}
		if trace := play(script, content, firmware.Options{Config: true}); trace.Reason == "" {
			t.Error("ends without a reason")
		}
	})
}
