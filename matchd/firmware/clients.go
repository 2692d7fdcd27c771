package firmware

import (
	"context"
	"net/netip"
	"net/url"
)

// rom plays a PXE 2.1 BIOS ROM (section 2.2): an offer with an address, and the first that calls itself PXEClient.
func (r *run) rom(ctx context.Context) (target, bool) {
	var lease, boot *answer
	for _, offer := range r.ask(ctx, r.message(typeDiscover, 1260), broadcastTo, typeOffer) {
		isPXE := offer.class("PXEClient")
		switch {
		case offer.yiaddr().IsValid() && (lease == nil || isPXE && !lease.class("PXEClient")):
			lease = offer
		case !offer.yiaddr().IsValid() && isPXE && boot == nil:
			boot = offer
		}
	}
	if lease == nil {
		return target{}, r.fail("PXE-E51: no offer with an address")
	}
	ack, ok := r.take(ctx, lease, 1260)
	if !ok {
		return target{}, false
	}
	if lease.class("PXEClient") {
		boot = ack
	}
	if boot == nil {
		return r.plainBoot(ack)
	}
	control, _ := boot.vendor(6)
	if boot.file() == "" || len(control) == 0 || control[0]&8 == 0 {
		if boot, ok = r.second(ctx, boot.serverID()); !ok {
			return target{}, r.fail("PXE-E55: nobody answers on port %d", bootPort)
		}
	}
	return r.plainBoot(boot)
}

// plainBoot takes server and file out of one answer.
func (r *run) plainBoot(a *answer) (target, bool) {
	if a.file() == "" {
		return target{}, r.fail("PXE-E53: no boot file name received")
	}
	if !a.nextServer().IsValid() {
		return target{}, r.fail("no TFTP server received")
	}
	return target{server: a.nextServer(), file: a.file()}, true
}

// uboot plays U-Boot, which knows only the header: siaddr and file of the lease, or of a proxy's answer (FIRMWARE fact 52).
func (r *run) uboot(ctx context.Context) (target, bool) {
	q := r.message(typeDiscover, 576)
	q.file = "boot.scr.uimg"
	var lease, proxy *answer
	for _, offer := range r.ask(ctx, q, broadcastTo, typeOffer) {
		switch {
		case offer.yiaddr().IsValid() && lease == nil:
			lease = offer
		case !offer.yiaddr().IsValid() && proxy == nil:
			proxy = offer
		}
	}
	if lease == nil {
		return target{}, r.fail("no offer with an address")
	}
	source, ok := r.take(ctx, lease, 576)
	if !ok {
		return target{}, false
	}
	if proxy != nil {
		source = proxy
	}
	if source.headerFile() == "" || !source.siaddr().IsValid() {
		return target{}, r.fail("the header names no boot file or no server")
	}
	return target{server: source.siaddr(), file: source.headerFile()}, true
}

// ipxe plays iPXE's DHCP: a lease, and the PXEClient offer that came with it or beside it (dhcp_discovery_rx, dhcp_request_rx).
func (r *run) ipxe(ctx context.Context) (target, bool) {
	var lease, proxy *answer
	for _, offer := range r.ask(ctx, r.message(typeDiscover, 1472), broadcastTo, typeOffer) {
		if offer.yiaddr().IsValid() && lease == nil {
			lease = offer
		}
		if offer.serverID().IsValid() && offer.class("PXEClient") && proxy == nil {
			proxy = offer
		}
	}
	if lease == nil {
		return target{}, r.fail("no offer with an address")
	}
	noProxy := ipxeSetting(lease, 0xb0)
	ack, ok := r.take(ctx, lease, 1472)
	if !ok {
		return target{}, false
	}
	source := ack
	if proxy != nil && !noProxy {
		source = proxy
		if !proxy.siaddr().IsValid() || proxy.file() == "" { // dhcp_has_pxeopts
			if source, ok = r.second(ctx, proxy.serverID()); !ok {
				source = ack // it gives up on the proxy and goes on
			}
		}
	}
	if source.file() == "" {
		source = ack
	}
	file := source.file()
	if file == "" {
		return target{}, r.fail("nothing to boot: no file name received")
	}
	if !isURL(file) && r.model.isROM {
		return target{}, r.fail("an iPXE ROM does not load the bare name %q", file) // as pixiecore found
	}
	return target{server: source.nextServer(), file: file}, true
}

// ipxeSetting reads a one-byte sub-option of option 175.
func ipxeSetting(a *answer, code byte) bool {
	value := a.option(optIPXE)
	for len(value) >= 2 && len(value) >= 2+int(value[1]) {
		if value[0] == code && value[1] == 1 {
			return value[2] != 0
		}
		value = value[2+int(value[1]):]
	}
	return false
}

// httpBoot plays EDK2's HttpBootDxe.
func (r *run) httpBoot(ctx context.Context) (target, bool) {
	var lease, boot *answer
	for _, offer := range r.ask(ctx, r.message(typeDiscover, 1472), broadcastTo, typeOffer) {
		isHTTP := offer.class("HTTPClient")
		if isHTTP && !validURL(offer.file()) {
			r.step("drops the offer of %v: no URL in it", offer.serverID())
			continue
		}
		hasAddress := offer.yiaddr().IsValid()
		switch {
		case !hasAddress && !isHTTP:
			r.step("drops the proxy offer of %v: no HTTPClient in option 60", offer.serverID())
		case !hasAddress && boot == nil:
			boot = offer
		case hasAddress && (lease == nil || isHTTP && !lease.class("HTTPClient")):
			lease = offer
		}
	}
	if lease == nil {
		return target{}, r.fail("no offer with an address")
	}
	if !lease.class("HTTPClient") && boot == nil {
		return target{}, r.fail("no offer with HTTPClient in option 60 and a URL")
	}
	ack, ok := r.take(ctx, lease, 1472)
	if !ok {
		return target{}, false
	}
	if lease.class("HTTPClient") {
		boot = ack
		if !validURL(boot.file()) {
			return target{}, r.fail("the acknowledgement has no URL")
		}
	}
	return r.resolvable(boot.file(), len(lease.option(optDNS)) > 0)
}

func validURL(file string) bool {
	u, err := url.Parse(file)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// resolvable refuses a URL with a host name where no DNS server was offered (FIRMWARE fact 15).
func (r *run) resolvable(file string, hasDNS bool) (target, bool) {
	u, err := url.Parse(file)
	if err != nil {
		return target{}, r.fail("%q is not a URL", file)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !hasDNS {
		return target{}, r.fail("the URL names the host %s and no DNS server was offered", u.Hostname())
	}
	return target{file: file}, true
}
