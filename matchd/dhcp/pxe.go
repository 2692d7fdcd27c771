package dhcp

import (
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/machine"
)

// Style is how boot information is written into a reply.
type Style int

// Styles.
const (
	// Whole names the boot file and tells the client to load it without a menu.
	Whole Style = iota
	// Pointer names only the server; the client asks again on port 4011. EDK2 calls such an offer Binl.
	Pointer
)

// Sub-options of option 43 in PXE (PXE 2.1 table 2-1).
const (
	pxeDiscoveryControl = 6
	pxeBootItem         = 71
	pxeEnd              = 255
)

// loadFile is the discovery control that skips boot servers and menus, bit 3 (FIRMWARE fact 4).
const loadFile = 8

// Sizes of header fields in bytes, with the NUL at their end (RFC 2131 figure 1).
const (
	fileField = 128
	bootItem  = 4 // value of sub-option 71
)

// style chooses between Whole and Pointer for a client of a proxy.
func (o ProxyOffer) style(q *Query) Style {
	if q.Boot.HTTPBoot || q.fromUBoot() {
		return Whole // neither knows of port 4011 (FIRMWARE facts 16, 52)
	}
	switch o {
	case OfferDirect:
		return Whole
	case Offer4011:
		return Pointer
	}
	// Older EDK2 never keeps a proxy offer with option 43 (PxeBcCacheDhcp4Offer of 2015 counts before it caches), others want
	// port 4011 as well, and BIOS ROMs and iPXE are happy with the file (FIRMWARE facts 12, 27).
	traits, _ := q.Boot.Machine.Arch.Traits()
	if q.Boot.IPXE || !q.Boot.Machine.HasArch || traits.Platform != machine.EFI {
		return Whole
	}
	return Pointer
}

// ubootInterface is option 94 of U-Boot, which asks a second time as if it were UEFI (captured). UEFI's UNDI is of version 3 and
// later (UEFI specification, appendix E).
const ubootInterface = "\x01\x00\x00"

func (q *Query) fromUBoot() bool {
	traits, _ := q.Boot.Machine.Arch.Traits()
	return q.Boot.Machine.HasArch && traits.UBoot || strings.HasPrefix(q.Class, "U-Boot") ||
		string(q.Packet.Options[94]) == ubootInterface
}

// addBoot writes what the machine shall boot. Firmware disagrees about where it looks, so it is told everywhere: option 67 with a
// NUL, because EDK2 writes one behind it (fact 7); the header's file for shim and U-Boot (facts 40, 52); siaddr and sname (fact 48).
func (r *Reply) addBoot(p *dhcpv4.DHCPv4, q *Query) {
	server := r.Decision.Server
	if !server.Is4() || r.Style == Pointer { // port 4011 is ours, wherever the files are
		server = r.Own
	}
	p.ServerIPAddr = server.AsSlice()
	p.ServerHostName = server.String()
	if q.GUID != nil {
		p.Options[97] = q.GUID
	}
	if q.Boot.HTTPBoot {
		p.Options[60] = []byte(classHTTP)
	} else {
		p.Options[60] = []byte(classPXE)
	}
	delete(p.Options, 43) // an operator's own is not for PXE clients
	delete(p.Options, 67)
	if r.Style == Pointer {
		return
	}
	file := bootFile(q, r.Decision, server.String())
	p.Options[67] = append([]byte(file), 0)
	if len(file) < fileField { // longer goes into the option alone (fact 20)
		p.BootFileName = file
	}
	if !q.Boot.HTTPBoot {
		p.Options[43] = vendorInfo(q.Packet.Options[43])
	}
	if q.Boot.IPXE && r.Grant != nil {
		p.Options[175] = []byte{ipxeNoProxy, 1, 1} // fact 26; a proxy that said so would be ignored itself
	}
}

// bootFile returns the name of the boot file. An iPXE ROM wants a URL even for a file by TFTP (fact 25).
func bootFile(q *Query, d *boot.Decision, server string) string {
	if q.Boot.IPXE && d.Action == boot.Load && !strings.Contains(d.File, "://") {
		return "tftp://" + server + "/" + strings.TrimPrefix(d.File, "/")
	}
	return d.File
}

// vendorInfo returns option 43: load the file, no menu. A boot item that the client asked for is repeated (PXE 2.1 section 2.2.4).
// The end mark is part of the value (fact 48b).
func vendorInfo(asked []byte) []byte {
	info := []byte{pxeDiscoveryControl, 1, loadFile}
	for len(asked) >= 2 && asked[0] != pxeEnd {
		if asked[0] == 0 {
			asked = asked[1:]
			continue
		}
		length := int(asked[1])
		if length > len(asked)-2 {
			break
		}
		if asked[0] == pxeBootItem && length == bootItem {
			info = append(info, asked[:2+length]...)
			break
		}
		asked = asked[2+length:]
	}
	return append(info, pxeEnd)
}
