package wire_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/matchd/matchd/lab/wire"
)

func TestRoundTrip(t *testing.T) {
	zero := netip.AddrFrom4([4]byte{})
	m := &wire.Message{
		XID: 7, Broadcast: true, MAC: [6]byte{2, 0, 0, 0, 0, 9}, Options: map[byte][]byte{wire.OptType: {wire.Request}},
		Client: zero, Your: zero, Server: zero, Gateway: netip.MustParseAddr("10.77.0.2"),
	}
	m.SetAddr(wire.OptRequestedIP, netip.MustParseAddr("10.77.1.5"))
	b := m.Marshal()
	if len(b) < 300 {
		t.Errorf("the message has %d bytes, BOOTP needs 300", len(b))
	}
	got, err := wire.Parse(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v; want %+v", got, err, m)
	}
	for cut := range 241 {
		if _, err := wire.Parse(b[:cut]); err == nil && cut < 240 {
			t.Errorf("%d bytes pass for a message", cut)
		}
	}
}
