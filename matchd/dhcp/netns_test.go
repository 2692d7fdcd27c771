package dhcp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"

	"github.com/matchd/matchd/matchd/dhcp"
)

// roleVariable tells a test binary that runs in one of the namespaces what it is there for.
const roleVariable = "MATCHD_DHCP_TEST_ROLE"

// patience bounds every wait of the test; nothing but failure takes so long.
const patience = 20 * time.Second

// TestRealSockets runs a server in one network namespace and a client in another, with a veth pair between them.
func TestRealSockets(t *testing.T) {
	switch os.Getenv(roleVariable) {
	case "server":
		playServer(t)
		return
	case "client":
		playClient(t)
		return
	}
	if testing.Short() && os.Getenv("CI") == "" { // CI never leaves it out
		t.Skip("needs root and network namespaces")
	}
	server, client := makeNamespaces(t)
	output, stop := startServer(t, server)
	lines := bufio.NewScanner(output)
	for lines.Scan() && lines.Text() != "ready" {
	}
	out, err := inNamespace(client, "client").CombinedOutput()
	if err != nil {
		t.Errorf("client: %v", err)
	}
	t.Logf("client:\n%s", out)
	stop()
	for lines.Scan() {
		if strings.Contains(lines.Text(), "FAIL") || strings.Contains(lines.Text(), "panic") {
			t.Errorf("server: %s", lines.Text())
		}
	}
}

// makeNamespaces returns the names of two namespaces that see each other. They are gone when the test ends.
func makeNamespaces(t *testing.T) (server, client string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and needs root; go test -short leaves it out")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal("this test makes network namespaces and needs ip of the package iproute2; go test -short leaves it out")
	}
	server, client = fmt.Sprintf("dhcptest-s%d", os.Getpid()), fmt.Sprintf("dhcptest-c%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for _, name := range []string{server, client} {
		ip("netns", "add", name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		ip("-n", name, "link", "set", "lo", "up")
	}
	ip("-n", server, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", client)
	ip("-n", client, "link", "set", "wire", "address", testMAC.String())
	ip("-n", server, "address", "add", ourAddr.String()+"/24", "brd", "+", "dev", "wire")
	ip("-n", server, "link", "set", "wire", "up")
	ip("-n", client, "link", "set", "wire", "up")
	ip("-n", client, "address", "add", "10.0.0.77/24", "dev", "wire")
	return server, client
}

func inNamespace(name, role string) *exec.Cmd {
	command := exec.Command("ip", "netns", "exec", name, os.Args[0], "-test.run=^TestRealSockets$", "-test.v")
	command.Env = append(os.Environ(), roleVariable+"="+role)
	return command
}

func startServer(t *testing.T, namespace string) (output *os.File, stop func()) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := inNamespace(namespace, "server")
	command.Stdout, command.Stderr = write, write
	stdin, err := command.StdinPipe() // the server runs until this is closed, so it cannot outlive the test
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	return read, func() {
		_ = stdin.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	}
}

func playServer(t *testing.T) {
	opts := served(newAddresses(localNet))
	opts.Interfaces = []dhcp.Interface{{Name: "wire", Mode: dhcp.Serve}}
	opts.Booter = booter(decide)
	server, err := dhcp.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	select {
	case <-server.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if others := server.Others(); len(others) != 0 {
		t.Errorf("found other servers, %v, and there is none", others)
	}
	if addrs := server.Addrs(); len(addrs) != 2 || addrs[0].Port() != dhcp.ServerPort || addrs[1].Port() != dhcp.BootPort {
		t.Errorf("Addrs = %v", addrs)
	}
}

// rawClient speaks DHCP in frames, as a client without address must.
type rawClient struct {
	t    *testing.T
	conn *packet.Conn
}

func playClient(t *testing.T) {
	device, err := net.InterfaceByName("wire")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := packet.Listen(device, packet.Raw, 0x0800, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &rawClient{t: t, conn: conn}
	t.Run("broadcast", func(t *testing.T) { c.exchange(t, 0x8000) })
	t.Run("unicast frame", func(t *testing.T) { c.exchange(t, 0) })
	t.Run("boot port", askBootPort)
	t.Run("conflict probe", probeAddresses)
	t.Run("search", searchServers)
}

// exchange is DISCOVER and REQUEST; the flags decide how the answers must come.
func (c *rawClient) exchange(t *testing.T, flags uint16) {
	discover := pxeDiscover()
	discover.Flags = flags
	frame, offer := c.ask(t, discover)
	if offer.MessageType() != dhcpv4.MessageTypeOffer || !offer.YourIPAddr.Equal(net.IPv4(10, 0, 0, 100)) {
		t.Fatalf("no offer: %v", offer)
	}
	request := pxeDiscover()
	request.Flags = flags
	request.Options[53] = []byte{byte(dhcpv4.MessageTypeRequest)}
	request.Options[50], request.Options[54] = offer.YourIPAddr.To4(), offer.Options[54]
	ackFrame, ack := c.ask(t, request)
	if ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Fatalf("no acknowledgement: %v", ack)
	}
	for _, f := range [][]byte{frame, ackFrame} {
		wantHW, wantIP := dhcp.EtherBroadcast, []byte{255, 255, 255, 255}
		if flags == 0 {
			wantHW, wantIP = testMAC.HardwareAddr(), []byte{10, 0, 0, 100}
		}
		if !bytes.Equal(f[:6], wantHW) || !bytes.Equal(f[30:34], wantIP) {
			t.Errorf("sent to %x %v, want %x %v", f[:6], f[30:34], []byte(wantHW), wantIP)
		}
		if flags == 0 && !dhcp.ChecksumsHold(f) {
			t.Error("a checksum is wrong")
		}
		if source := f[26:30]; !bytes.Equal(source, ourAddr.AsSlice()) {
			t.Errorf("sent from %v", source)
		}
	}
}

func (c *rawClient) ask(t *testing.T, question *dhcpv4.DHCPv4) ([]byte, *dhcpv4.DHCPv4) {
	t.Helper()
	frame := dhcp.FrameOf(netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"),
		testMAC.HardwareAddr(), dhcp.EtherBroadcast, question.ToBytes())
	if _, err := c.conn.WriteTo(frame, &packet.Addr{HardwareAddr: dhcp.EtherBroadcast}); err != nil {
		t.Fatal(err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	for {
		n, _, err := c.conn.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		payload, _, ok := dhcp.UDPOf(buffer[:n], dhcp.ClientPort)
		if !ok {
			continue
		}
		reply, err := dhcpv4.FromBytes(payload)
		if err == nil && reply.TransactionID == question.TransactionID {
			return bytes.Clone(buffer[:n]), reply
		}
	}
}

// askBootPort asks on port 4011 like EDK2, from port 4011 and with an address.
func askBootPort(t *testing.T) {
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 77), Port: dhcp.BootPort}, &net.UDPAddr{IP: ourAddr.AsSlice(), Port: dhcp.BootPort})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := pxeDiscover()
	request.Options[53] = []byte{byte(dhcpv4.MessageTypeRequest)}
	request.ClientIPAddr = net.IPv4(10, 0, 0, 77)
	_, err = conn.Write(request.ToBytes())
	if err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := dhcpv4.FromBytes(buffer[:n])
	if err != nil || reply.BootFileName != "m/52-54-00-00-00-01/snponly.efi" {
		t.Errorf("%v: %v", err, reply)
	}
}

func probeAddresses(t *testing.T) {
	prober := dhcp.NewProber(dhcp.ProberOptions{})
	for addr, want := range map[string]bool{
		"10.0.0.1":   true,  // the server answers
		"10.0.0.77":  true,  // this is us
		"10.0.0.222": false, // nobody does
		"10.99.0.1":  false, // not a network of ours
	} {
		if got := prober.InUse(t.Context(), netip.MustParseAddr(addr)); got != want {
			t.Errorf("InUse(%s) = %v", addr, got)
		}
	}
}

func searchServers(t *testing.T) {
	others, err := dhcp.Search(t.Context(), "wire")
	if err != nil || len(others) != 1 || others[0].Server != ourAddr || !localNet.Contains(others[0].Offered) {
		t.Errorf("Search = %+v, %v", others, err)
	}
	if _, err := dhcp.Search(t.Context(), "nonesuch"); err == nil || !strings.Contains(err.Error(), "wire") {
		t.Errorf("Search on no interface: %v", err)
	}
}

// pxeDiscover is OVMF's DISCOVER, in short.
func pxeDiscover() *dhcpv4.DHCPv4 {
	return &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: testMAC.HardwareAddr(), TransactionID: dhcpv4.TransactionID{1, 2, 3, 4},
		Options: dhcpv4.Options{
			53: {byte(dhcpv4.MessageTypeDiscover)}, 60: []byte("PXEClient:Arch:00007:UNDI:003000"), 93: {0, 7}, 94: {1, 3, 0},
			57: binary.BigEndian.AppendUint16(nil, 1472),
		},
	}
}
