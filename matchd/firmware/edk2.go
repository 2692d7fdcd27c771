package firmware

import (
	"context"
	"net/netip"
)

// class is how EDK2 sorts offers (PxeBcParseDhcp4Packet).
type class int

const (
	dhcpOnly class = iota
	dhcpPxe10
	dhcpBinl
	proxyPxe10
	proxyBinl
	useless
)

var classNames = [...]string{"DhcpOnly", "DhcpPxe10", "DhcpBinl", "ProxyPxe10", "ProxyBinl", "useless"}

// discovery sub-options of option 43: any of them makes an offer Pxe10 (IS_VALID_DISCOVER_VENDOR_OPTION).
var discovery = [...]byte{6, 7, 8, 9, 10}

// classify sorts an offer, and does to its bytes what EDK2 does: a boot file name without NUL gets one, one byte behind the option.
func classify(a *answer) class {
	isProxy := !a.yiaddr().IsValid()
	isPXE := a.class("PXEClient")
	isPxe10 := false
	for _, code := range discovery {
		_, found := a.vendor(code)
		isPxe10 = isPxe10 || isPXE && found
	}
	terminate(a)
	switch {
	case isPxe10 && isProxy:
		return proxyPxe10
	case isPxe10:
		return dhcpPxe10
	case isPXE && isProxy:
		return proxyBinl
	case isPXE:
		return dhcpBinl
	case isProxy:
		return useless // FIRMWARE fact 1
	}
	return dhcpOnly
}

// terminate is the write of FIRMWARE fact 7: it lands on the code of the next option, which then is a pad.
func terminate(a *answer) {
	start, length, ok := a.offset(optBootFile)
	if ok && length > 0 && a.raw[start+length-1] != 0 && start+length < len(a.raw) {
		a.raw[start+length] = 0
	}
}

// offers is what EDK2 keeps while it waits.
type offers [useless + 1][]*answer

// edk2 plays EDK2's PXE client.
func (r *run) edk2(ctx context.Context) (target, bool) {
	var kept offers
	q := r.message(typeDiscover, maxEDK2Message)
	for _, offer := range r.ask(ctx, q, broadcastTo, typeOffer) {
		r.keep(&kept, offer)
	}
	selected, proxy, ok := r.selectOffer(&kept)
	if !ok {
		return target{}, false
	}
	// The option 57 of its REQUEST is 255 with the bytes swapped (captured).
	ack, ok := r.take(ctx, selected, 65280)
	if !ok {
		return target{}, false
	}
	source := ack
	switch {
	case classify(selected) == dhcpBinl:
		source, ok = r.binl(ctx, []*answer{selected})
	case proxy == proxyPxe10:
		source = kept[proxyPxe10][0]
		classify(source) // PxeBcCopyProxyOffer parses its copy again, damage included
	case proxy == proxyBinl:
		source, ok = r.binl(ctx, kept[proxyBinl])
	default:
		classify(ack)
	}
	if !ok {
		return target{}, false
	}
	return r.bootInfo(source)
}

func (r *run) keep(kept *offers, offer *answer) {
	if len(offer.raw) > maxEDK2Message {
		r.step("drops an offer of %d bytes", len(offer.raw))
		return
	}
	kind := classify(offer)
	from := offer.serverID()
	switch {
	case kind == useless:
		r.step("drops the proxy offer of %v: no PXEClient in option 60", from)
		return
	case kind == proxyPxe10 && r.machine.Kind == OldEDK2:
		r.step("drops the proxy offer of %v: this EDK2 keeps none that has option 43", from)
		return
	case kind == proxyPxe10 && len(kept[kind]) > 0:
		r.step("drops the second proxy offer, of %v", from)
		return
	}
	r.step("offer of %v is %s", from, classNames[kind])
	kept[kind] = append(kept[kind], offer)
}

// selectOffer is PxeBcSelectDhcp4Offer: the lease to take and the kind of proxy offer to go with it.
func (r *run) selectOffer(kept *offers) (*answer, class, bool) {
	plain := kept[dhcpOnly]
	switch {
	case len(kept[dhcpPxe10]) > 0:
		return kept[dhcpPxe10][0], useless, true
	case len(plain) > 0 && len(kept[proxyPxe10]) > 0:
		return plain[0], proxyPxe10, true
	case len(kept[dhcpBinl]) > 0:
		return kept[dhcpBinl][0], useless, true
	case len(plain) > 0 && len(kept[proxyBinl]) > 0:
		return plain[0], proxyBinl, true
	}
	for _, offer := range plain {
		if offer.file() != "" {
			return offer, useless, true
		}
	}
	if len(plain) > 0 {
		return nil, useless, r.fail("no boot file in any offer")
	}
	return nil, useless, r.fail("no offer with an address")
}

// binl asks each of the offers' servers for the boot file, on port 4011 (PxeBcRetryBinlOffer).
func (r *run) binl(ctx context.Context, candidates []*answer) (*answer, bool) {
	for _, offer := range candidates {
		reply, ok := r.second(ctx, offer.nextServer())
		if !ok {
			continue
		}
		if kind := classify(reply); reply.file() == "" && kind != proxyPxe10 {
			r.step("the answer of %v names no boot file", offer.nextServer())
			continue
		}
		return reply, true
	}
	return nil, r.fail("PXE-E55: nobody names a boot file on port %d", bootPort)
}

// bootInfo is PxeBcSelectBootPrompt and PxeBcDhcp4BootInfo.
func (r *run) bootInfo(a *answer) (target, bool) {
	file := a.file()
	control, hasControl := a.vendor(6)
	if hasControl && (len(control) != 1 || control[0]&8 == 0 || file == "") {
		return target{}, r.fail("option 43 asks for a menu or a search for boot servers, which ends the boot unattended")
	}
	if file == "" {
		return target{}, r.fail("no boot file in the answer that counts")
	}
	server := a.nextServer()
	if list, ok := a.vendor(8); ok && hasControl && len(list) >= 7 {
		server = addrAt(list[3:])
	}
	if server == (netip.Addr{}) {
		return target{}, r.fail("neither siaddr nor option 54 names the TFTP server")
	}
	return target{server: server, file: file}, true
}
