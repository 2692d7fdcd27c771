package dhcp_test

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/event"
)

var update = flag.Bool("update", false, "write what testdata/exchange should hold")

// exchangeCase is one file of testdata/exchange: what it shows, settings, and the packets. A file without reply means silence.
type exchangeCase struct {
	settings map[string]string
	request  []byte
	archive  *txtar.Archive
}

func readCase(t testing.TB, name string) exchangeCase {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c := exchangeCase{settings: map[string]string{}, archive: archive}
	for _, line := range strings.Split(string(archive.Comment), "\n")[1:] {
		if key, value, found := strings.Cut(line, ": "); found {
			c.settings[key] = value
		}
	}
	c.request, err = hex.DecodeString(strings.Join(strings.Fields(string(archive.Files[0].Data)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestExchanges plays one packet per file. What the clients sent is captured or follows the captures; the replies were read, option by
// option, before they were kept.
func TestExchanges(t *testing.T) {
	names, err := filepath.Glob("testdata/exchange/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			c := readCase(t, name)
			out, ok, stages := c.play(t)
			got := c.archive.Files[:1:1]
			if ok {
				checkShape(t, c.request, out.Packet)
				got = append(got,
					txtar.File{Name: "reply", Data: []byte(describe(out))},
					txtar.File{Name: "bytes", Data: []byte(hexLines(out.Packet))})
			}
			got = append(got, txtar.File{Name: "events", Data: []byte(stages)})
			text := txtar.Format(&txtar.Archive{Comment: c.archive.Comment, Files: got})
			if *update {
				if err := os.WriteFile(name, text, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != string(want) {
				t.Errorf("got\n%s\nwant\n%s", text, want)
			}
		})
	}
}

func (c *exchangeCase) play(t *testing.T) (out dhcp.Outgoing, ok bool, stages string) {
	log := &timeline{}
	network := localNet
	if c.settings["known"] == "relayed" || netip.AddrFrom4([4]byte(c.request[24:28])) != netip.IPv4Unspecified() {
		network = relayedNet
	}
	leases := newAddresses(network)
	if c.settings["known"] != "" {
		base := network.Addr().As4()
		base[3] = 100
		leases.given[testMAC] = netip.AddrFrom4(base)
	}
	opts := served(leases)
	opts.ProxyOffer, opts.Recorder, opts.Booter = dhcp.ProxyOffer(c.settings["offer"]), log, booter(c.decide)
	opts.Subnets[0].Settings = namedSettings(t, c.settings["settings"])
	mode := dhcp.Mode(c.settings["mode"])
	if mode == dhcp.Proxy {
		opts.Subnets, opts.Addresser = nil, nil
	}
	via := dhcp.Arrival{Link: link(mode), Dest: netip.MustParseAddr("255.255.255.255"), BootPort: c.settings["port"] == "4011"}
	via.Source = netip.MustParseAddrPort("0.0.0.0:68")
	if source := c.settings["source"]; source != "" {
		via.Source = netip.MustParseAddrPort(source)
	}
	if dest := c.settings["dest"]; dest != "" {
		via.Dest = netip.MustParseAddr(dest)
	}
	out, ok = newHandler(t, opts).Handle(context.Background(), &via, c.request)
	var lines strings.Builder
	for _, e := range log.events {
		fmt.Fprintf(&lines, "%s %s: %s\n", e.Stage, orInfo(e.Level), e.Message)
		if e.Error != "" {
			fmt.Fprintf(&lines, "\t%s\n", e.Error)
		}
	}
	return out, ok, lines.String()
}

func orInfo(level event.Level) event.Level {
	if level == "" {
		return event.Info
	}
	return level
}

func (c *exchangeCase) decide(r boot.Request) boot.Decision {
	if reason := c.settings["refuse"]; reason != "" {
		return boot.Decision{Action: boot.Refuse, Reason: reason}
	}
	d := decide(r)
	if file := c.settings["file"]; file != "" {
		d.File = file
	}
	return d
}

// namedSettings are the options of a subnet that cases ask for.
func namedSettings(t *testing.T, name string) dhcp.Settings {
	t.Helper()
	if name == "" {
		return dhcp.Settings{}
	}
	custom, err := dhcp.ParseCustom(150, "ip", "10.0.0.9")
	if err != nil {
		t.Fatal(err)
	}
	s := dhcp.Settings{
		Router: []netip.Addr{netip.MustParseAddr("10.0.0.254")},
		DNS:    []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.0.1.53")},
		NTP:    []netip.Addr{netip.MustParseAddr("10.0.0.123")},
		Domain: "lab.example", MTU: 9000,
		Routes: []dhcp.Route{{To: netip.MustParsePrefix("10.64.0.0/10"), Via: netip.MustParseAddr("10.0.0.253")}},
		Custom: []dhcp.Custom{custom},
	}
	if name == "fat" {
		s.Custom = append(s.Custom, dhcp.Custom{Code: 224, Value: []byte(strings.Repeat("a", 90))}, dhcp.Custom{Code: 17, Value: []byte(strings.Repeat("b", 100))})
	}
	return s
}

func hexLines(bytes []byte) string {
	var b strings.Builder
	for text := hex.EncodeToString(bytes); text != ""; {
		n := min(len(text), 96)
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return b.String()
}

// describe writes a reply for people, straight from its bytes.
func describe(out dhcp.Outgoing) string {
	p := out.Packet
	var b strings.Builder
	way := map[dhcp.Delivery]string{dhcp.Broadcast: "broadcast", dhcp.Unicast: "unicast", dhcp.Frame: "frame"}[out.To.Delivery]
	fmt.Fprintf(&b, "to %v by %s, %d bytes\n", out.To.To, way, len(p))
	addr := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(p[at : at+4])) }
	fmt.Fprintf(&b, "flags %x ciaddr %v yiaddr %v siaddr %v giaddr %v\n", p[10:12], addr(12), addr(16), addr(20), addr(24))
	fmt.Fprintf(&b, "sname %q file %q\n", strings.TrimRight(string(p[44:108]), "\x00"), strings.TrimRight(string(p[108:236]), "\x00"))
	for i := 240; p[i] != 255; i += 2 + int(p[i+1]) {
		value := p[i+2 : i+2+int(p[i+1])]
		switch p[i] {
		case 12, 15, 56, 60, 67:
			fmt.Fprintf(&b, "%d %q\n", p[i], value)
		default:
			fmt.Fprintf(&b, "%d %x\n", p[i], value)
		}
	}
	return b.String()
}

// checkShape holds every reply to what is true of all of them.
func checkShape(t testing.TB, request, reply []byte) {
	t.Helper()
	if len(reply) < 300 || len(reply) > 1472 {
		t.Errorf("the reply has %d bytes", len(reply))
	}
	if reply[0] != 2 || string(reply[4:8]) != string(request[4:8]) || string(reply[28:44]) != string(request[28:28+16]) {
		t.Errorf("the header does not answer the request")
	}
	last, ended := byte(0), false
	for i := 240; i < len(reply); {
		code := reply[i]
		if ended && code != 0 {
			t.Fatalf("%d follows the end of the options", code)
		}
		if ended {
			i++
			continue
		}
		switch {
		case code == 255:
			ended = true
			i++
			continue
		case code == 0:
			t.Fatalf("a pad between options, at %d", i)
		case last == 82:
			t.Errorf("option %d comes after option 82", code)
		case code == 52:
			t.Error("file or sname are overloaded")
		}
		length := int(reply[i+1])
		value := reply[i+2 : i+2+length]
		if code == 67 && value[length-1] != 0 {
			t.Error("option 67 does not end with NUL")
		}
		if code == 43 && value[length-1] != 255 {
			t.Error("option 43 does not end with its end mark")
		}
		last = code
		i += 2 + length
	}
	if !ended {
		t.Error("the options do not end")
	}
}
