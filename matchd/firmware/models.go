package firmware

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/matchd/matchd/matchd/machine"
)

// model is how one kind of firmware speaks and decides.
type model struct {
	arch      machine.Arch
	class     string // option 60 without architecture and UNDI version
	undi      [3]byte
	flags     uint16
	userClass string
	features  []byte // sub-options of option 175 that are one byte of 1
	clientID  bool   // sends option 61
	noGUID    bool
	bareClass bool // sends option 60 without architecture
	isROM     bool // an iPXE that its network card brought along
	find      func(r *run, ctx context.Context) (target, bool)
}

// What iPXE builds tell in option 175 (captured; FIRMWARE fact 24 has the names).
var (
	biosFeatures = []byte{16, 17, 18, 19, 21, 23, 24, 25, 33, 34, 39, 41}
	efiFeatures  = []byte{17, 18, 19, 21, 23, 33, 36, 39, 41}
	poorFeatures = []byte{19, 21, 33, 39} // HTTP, and nothing that could start Linux
)

// models holds what LAB's capture table shows of each client.
var models = map[Kind]model{
	BIOS:      {arch: machine.ArchBIOS, class: "PXEClient", undi: [3]byte{1, 2, 1}, flags: broadcastFlag, find: (*run).rom},
	IPXEROM:   {arch: machine.ArchBIOS, class: "PXEClient", undi: [3]byte{1, 2, 1}, userClass: "iPXE", features: biosFeatures, clientID: true, isROM: true, find: (*run).ipxe},
	PoorIPXE:  {arch: machine.ArchBIOS, class: "PXEClient", undi: [3]byte{1, 2, 1}, userClass: "iPXE", features: poorFeatures, clientID: true, isROM: true, find: (*run).ipxe},
	OVMF:      {arch: machine.ArchX64, class: "PXEClient", undi: [3]byte{1, 3, 0}, flags: broadcastFlag, find: (*run).edk2},
	OldEDK2:   {arch: machine.ArchX64, class: "PXEClient", undi: [3]byte{1, 3, 0}, flags: broadcastFlag, find: (*run).edk2},
	VMware:    {arch: machine.ArchEBC, class: "PXEClient", undi: [3]byte{1, 3, 16}, flags: broadcastFlag, find: (*run).edk2},
	OVMFHTTP:  {arch: machine.ArchX64HTTP, class: "HTTPClient", undi: [3]byte{1, 3, 0}, flags: broadcastFlag, find: (*run).httpBoot},
	AAVMF:     {arch: machine.ArchARM64, class: "PXEClient", undi: [3]byte{1, 3, 0}, flags: broadcastFlag, find: (*run).edk2},
	AAVMFHTTP: {arch: machine.ArchARM64HTTP, class: "HTTPClient", undi: [3]byte{1, 3, 0}, flags: broadcastFlag, find: (*run).httpBoot},
	UBoot:     {arch: machine.ArchARM64Boot, class: "U-Boot.armv8", undi: [3]byte{1, 0, 0}, noGUID: true, bareClass: true, find: (*run).uboot},
	UBootPXE:  {arch: machine.ArchARM64, class: "PXEClient", undi: [3]byte{1, 0, 0}, noGUID: true, find: (*run).uboot},
}

// asIPXE is the model of an iPXE that this model has loaded.
func (m model) asIPXE() model {
	features := efiFeatures
	if t, _ := m.arch.Traits(); t.Platform == machine.BIOS {
		features = biosFeatures
	}
	// iPXE keeps the firmware's architecture but is a PXE client always (FIRMWARE fact 23).
	arch := m.arch
	switch arch {
	case machine.ArchX64HTTP, machine.ArchEBC:
		arch = machine.ArchX64
	case machine.ArchARM64HTTP, machine.ArchARM64Boot:
		arch = machine.ArchARM64
	}
	return model{arch: arch, class: "PXEClient", undi: [3]byte{1, 3, 10}, userClass: "iPXE", features: features, clientID: true, find: (*run).ipxe}
}

// message starts a request with what the model always sends, in the order that it sends it.
func (r *run) message(kind byte, maxSize uint16) *request {
	m := r.model
	mac := r.machine.MAC.HardwareAddr()
	q := &request{xid: r.xid, flags: m.flags, mac: mac}
	q.options = append(q.options,
		option{optType, []byte{kind}},
		option{optMaxSize, binary.BigEndian.AppendUint16(nil, maxSize)},
		option{optArch, binary.BigEndian.AppendUint16(nil, uint16(m.arch))},
		option{optInterface, m.undi[:]},
		option{optClass, []byte(m.classText())},
		option{optParameters, []byte{1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135}},
	)
	if m.userClass != "" {
		q.options = append(q.options, option{optUserClass, []byte(m.userClass)}, option{optIPXE, featureBytes(m.features)})
	}
	if m.clientID {
		q.options = append(q.options, option{optClientID, append([]byte{1}, mac...)})
	}
	if guid := guidBytes(r.machine.UUID); !m.noGUID {
		q.options = append(q.options, option{optGUID, append([]byte{0}, guid[:]...)})
	}
	return q
}

func (m model) classText() string {
	if m.bareClass {
		return m.class
	}
	return fmt.Sprintf("%s:Arch:%05d:UNDI:%03d%03d", m.class, uint16(m.arch), m.undi[1], m.undi[2])
}

func featureBytes(features []byte) []byte {
	var value []byte
	for _, feature := range features {
		value = append(value, feature, 1, 1)
	}
	return append(value, 177, 5, 1, 0x1a, 0xf4, 0x10, 0x00, 235, 3, 1, 21, 1)
}

// guidBytes puts a UUID into SMBIOS order; zeros where the board has none.
func guidBytes(uuid string) [16]byte {
	var guid [16]byte
	_, _ = hex.Decode(guid[:], []byte(strings.ReplaceAll(machine.SwapUUID(uuid), "-", ""))) // what is no UUID stays zero
	return guid
}

// broadcastTo is where a client without address asks.
var broadcastTo = netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 67)

// bootPort is where PXE's second question goes.
const bootPort = 4011

// ask sends a message and returns the well-formed answers of a type.
func (r *run) ask(ctx context.Context, q *request, to netip.AddrPort, kind byte) []*answer {
	raw, err := r.wires.DHCP.Exchange(ctx, q.bytes(), to)
	if err != nil {
		r.step("cannot send to %v: %v", to, err)
		return nil
	}
	var answers []*answer
	for _, packet := range raw {
		a, err := parseAnswer(packet, q.xid, q.mac)
		if err != nil || a.messageType() != kind {
			r.step("drops an answer that does not belong to its question")
			continue
		}
		answers = append(answers, a)
	}
	return answers
}

// take asks for the address that offer has, and returns the acknowledgement.
func (r *run) take(ctx context.Context, offer *answer, maxSize uint16) (*answer, bool) {
	id := offer.serverID()
	if !id.IsValid() {
		return nil, r.fail("the offer of %v has no option 54", offer.yiaddr())
	}
	q := r.message(typeRequest, maxSize)
	server, address := id.As4(), offer.yiaddr().As4()
	q.options = append(q.options, option{optServerID, server[:]}, option{optRequested, address[:]})
	acks := r.ask(ctx, q, broadcastTo, typeAck)
	for _, ack := range acks {
		if ack.yiaddr() == offer.yiaddr() {
			r.trace.Address = ack.yiaddr()
			r.step("has address %v from %v", ack.yiaddr(), id)
			return ack, true
		}
	}
	return nil, r.fail("nobody acknowledges %v", offer.yiaddr())
}

// second is the question to port 4011 of a client that has its address.
func (r *run) second(ctx context.Context, server netip.Addr) (*answer, bool) {
	if !server.IsValid() {
		return nil, false
	}
	q := r.message(typeRequest, 65280) // EDK2's byte-swapped 255 (captured)
	q.flags, q.client = 0, r.trace.Address
	r.step("asks %v on port %d", server, bootPort)
	acks := r.ask(ctx, q, netip.AddrPortFrom(server, bootPort), typeAck)
	if len(acks) == 0 {
		r.step("%v does not answer on port %d", server, bootPort)
		return nil, false
	}
	return acks[0], true
}

func isURL(file string) bool { return strings.Contains(file, "://") }
