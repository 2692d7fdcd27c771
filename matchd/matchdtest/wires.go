package matchdtest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"time"

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

// neighbour is the other server on the pretend link. Ours is the loopback address that the other listeners have, so that every URL works.
var neighbour = firmware.Neighbour{Server: netip.MustParseAddr("127.0.0.2"), Client: netip.MustParsePrefix("127.1.0.1/8")}

// Exchange implements [firmware.DHCP].
func (w *wire) Exchange(ctx context.Context, packet []byte, to netip.AddrPort) ([][]byte, error) {
	var answers [][]byte
	via := dhcp.Arrival{Link: w.link, Dest: to.Addr(), Source: netip.MustParseAddrPort("0.0.0.0:68"), BootPort: to.Port() == dhcp.BootPort}
	if w.foreign && !via.BootPort {
		if reply := neighbour.Answer(packet); reply != nil {
			answers = append(answers, reply)
		}
	}
	if out, ok := w.handler.Handle(ctx, &via, packet); ok {
		answers = append(answers, out.Packet)
	}
	return answers, nil
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
