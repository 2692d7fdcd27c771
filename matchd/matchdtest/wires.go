package matchdtest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/pin/tftp/v3"

	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
)

// wire hands packets to the daemon's handler. In proxy mode another server beside it gives the address and nothing else.
type wire struct {
	handler *dhcp.Handler
	link    *dhcp.Link
	foreign bool
}

// Addresses on the pretend link: ours is the loopback address that the other listeners have, so that every URL works.
var (
	foreignServer = netip.MustParseAddr("127.0.0.2")
	foreignClient = netip.MustParseAddr("127.1.0.1")
)

// Exchange implements [firmware.DHCP].
func (w *wire) Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	var answers [][]byte
	via := dhcp.Arrival{Link: w.link, Dest: to.Addr(), Source: netip.MustParseAddrPort("0.0.0.0:68"), BootPort: to.Port() == dhcp.BootPort}
	if w.foreign && !via.BootPort {
		reply, err := plainAnswer(packet)
		if err != nil {
			return nil, err
		}
		if reply != nil {
			answers = append(answers, reply)
		}
	}
	if out, ok := w.handler.Handle(ctx, &via, packet); ok {
		answers = append(answers, out.Packet)
	}
	return answers, nil
}

// plainAnswer is what a DHCP server says that knows nothing of booting.
func plainAnswer(packet []byte) ([]byte, error) {
	request, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return nil, err
	}
	kind := dhcpv4.MessageTypeOffer
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
		if id := request.ServerIdentifier(); id != nil && !id.Equal(foreignServer.AsSlice()) {
			return nil, nil
		}
	default:
		return nil, nil
	}
	reply, err := dhcpv4.NewReplyFromRequest(request,
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(foreignClient.AsSlice()), dhcpv4.WithServerIP(foreignServer.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(foreignServer.AsSlice())), dhcpv4.WithLeaseTime(3600))
	if err != nil {
		return nil, err
	}
	return reply.ToBytes(), nil
}

// tftpWire reads from the daemon's TFTP server, on whatever port it has.
type tftpWire struct{ server netip.AddrPort }

// Read implements [firmware.TFTP].
func (w tftpWire) Read(_ context.Context, request firmware.TFTPRequest) ([]byte, int64, error) {
	if request.Server != w.server.Addr() {
		return nil, 0, fmt.Errorf("nobody serves TFTP at %v", request.Server)
	}
	client, err := tftp.NewClient(w.server.String())
	if err != nil {
		return nil, 0, err
	}
	client.SetTimeout(5 * time.Second)
	client.RequestTSize(true)
	if request.BlockSize > 0 {
		client.SetBlockSize(request.BlockSize)
	}
	transfer, err := client.Receive(request.File, "octet")
	if err != nil {
		return nil, 0, err
	}
	var data bytes.Buffer
	if _, err := transfer.WriteTo(&data); err != nil {
		return nil, 0, err
	}
	size := int64(data.Len())
	if announced, ok := transfer.(tftp.IncomingTransfer).Size(); ok && announced != size {
		return nil, 0, fmt.Errorf("%s: %d bytes were announced, %d came", request.File, announced, size)
	}
	if request.SizeOnly {
		return nil, size, nil
	}
	return data.Bytes(), size, nil
}
