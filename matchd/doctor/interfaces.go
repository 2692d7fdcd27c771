package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// checkInterfaces looks at the interfaces that DHCP is served on.
func checkInterfaces(_ context.Context, o *Options) []Finding {
	serving := o.serving()
	if len(serving) == 0 {
		if o.Interfaces == nil {
			return nil
		}
		return []Finding{{
			ID: "interface.none", Severity: Warn, Subject: "dhcp",
			What: "is answered on no interface, so firmware must learn of matchd from another server",
			Next: "name an interface under dhcp.interfaces, or add a default route for the default to find one",
		}}
	}
	nics, err := o.System.Interfaces()
	if err != nil {
		return []Finding{{ID: "interface.unknown", Severity: Info, Subject: "interfaces", What: "cannot tell: " + err.Error()}}
	}
	var findings []Finding
	for _, i := range serving {
		at := slices.IndexFunc(nics, func(n NIC) bool { return n.Name == i.Name })
		if at < 0 {
			findings = append(findings, missing(i.Name, nics))
			continue
		}
		findings = append(findings, inspect(nics[at], i.Mode, o.Subnets)...)
	}
	return findings
}

func missing(name string, nics []NIC) Finding {
	var have []string
	for _, n := range nics {
		if !n.Loopback {
			have = append(have, n.Name)
		}
	}
	next := "create it, or correct dhcp.interfaces"
	if len(have) > 0 {
		next += "; this host has " + strings.Join(have, ", ")
	}
	return Finding{ID: "interface.missing", Severity: Error, Subject: name, What: "there is no such interface", Next: next}
}

// inspect judges one interface that DHCP is served on.
func inspect(n NIC, mode Mode, subnets []netip.Prefix) []Finding {
	switch {
	case !n.Up:
		return []Finding{{
			ID: "interface.down", Severity: Error, Subject: n.Name, What: "is switched off",
			Next: "ip link set " + n.Name + " up",
		}}
	case len(n.Addrs) == 0:
		return []Finding{{
			ID: "interface.address", Severity: Error, Subject: n.Name,
			What: "has no IPv4 address, so machines could not reach us there",
			Next: "give it a static one: ip address add ADDRESS/LENGTH dev " + n.Name,
		}}
	}
	findings := []Finding{{ID: "interface.ready", Severity: OK, Subject: n.Name, What: fmt.Sprintf("is up with %s, mode %s", join(n.Addrs), mode)}}
	if !n.Running {
		findings = append(findings, Finding{
			ID: "interface.carrier", Severity: Warn, Subject: n.Name, What: "has no carrier",
			Next: "plug in the cable, or look at the switch's port",
		})
	}
	if mode == Server && !served(n, subnets) {
		findings = append(findings, Finding{
			ID: "interface.subnet", Severity: Warn, Subject: n.Name,
			What: "none of its addresses lies in a configured subnet: only machines behind a relay can get an address",
			Next: "add a subnet that holds " + join(n.Addrs) + " under dhcp.subnets, or set its mode to proxy",
		})
	}
	return findings
}

func served(n NIC, subnets []netip.Prefix) bool {
	return slices.ContainsFunc(n.Addrs, func(a netip.Prefix) bool {
		return slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(a.Addr()) })
	})
}

func join[T fmt.Stringer](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.String()
	}
	return strings.Join(texts, ", ")
}

// checkServers asks on every served interface whether another DHCP server answers. All are asked at the same time, because each
// silence costs the whole wait.
func checkServers(ctx context.Context, o *Options) []Finding {
	serving := o.serving()
	if o.FindServers == nil || len(serving) == 0 {
		return nil
	}
	findings := make([]Finding, len(serving))
	var wg sync.WaitGroup
	for n, i := range serving {
		wg.Go(func() {
			servers, err := o.FindServers(ctx, i.Name)
			findings[n] = judgeServers(i, servers, err)
		})
	}
	wg.Wait()
	return findings
}

func judgeServers(i Interface, servers []netip.Addr, err error) Finding {
	f := Finding{ID: "dhcp.other", Subject: i.Name, Severity: OK}
	switch {
	case err != nil && len(servers) == 0:
		f.Severity, f.What = Info, "cannot tell whether another DHCP server answers: "+err.Error()
	case i.Mode == Server && len(servers) > 0:
		f.Severity = Error
		f.What = fmt.Sprintf("another DHCP server gives addresses here: %s", join(servers))
		f.Next = "switch it off, or set this interface to mode proxy; two servers give one address twice"
	case i.Mode == Server:
		f.What = "no other DHCP server answers"
	case len(servers) == 0:
		f.Severity = Warn
		f.What = "no DHCP server answers, and mode proxy gives no addresses"
		f.Next = "start the network's DHCP server, or set this interface to mode server with a subnet"
	default:
		f.What = fmt.Sprintf("%s gives addresses, we add the boot offer", join(servers))
	}
	return f
}

// checkReach looks for addresses that machines are told, or listeners meant for them, that they cannot reach.
func checkReach(_ context.Context, o *Options) []Finding {
	var findings []Finding
	for _, l := range o.Listeners {
		if l.Machines && l.Addr.Addr().IsLoopback() {
			findings = append(findings, Finding{
				ID: "listener.loopback", Severity: Error, Subject: l.Name,
				What: fmt.Sprintf("listens on %s, which no machine can reach", l.Addr),
				Next: fmt.Sprintf(`set it to ":%d" or to an address of the machines' network`, l.Addr.Port()),
			})
		}
	}
	return append(findings, checkAdvertise(o)...)
}

func checkAdvertise(o *Options) []Finding {
	if !o.Advertise.IsValid() {
		return nil
	}
	f := Finding{ID: "advertise.address", Severity: OK, Subject: "advertise", What: o.Advertise.String() + " is an address of this host"}
	if o.Advertise.IsLoopback() || o.Advertise.IsUnspecified() {
		f.Severity = Error
		f.What = fmt.Sprintf("machines are told %s, where they would find themselves", o.Advertise)
		f.Next = "leave advertise empty, or set it to an address that machines reach"
		return []Finding{f}
	}
	nics, err := o.System.Interfaces()
	if err != nil {
		return nil // checkInterfaces says so
	}
	for _, n := range nics {
		if slices.ContainsFunc(n.Addrs, func(p netip.Prefix) bool { return p.Addr() == o.Advertise }) {
			return []Finding{f}
		}
	}
	f.Severity = Info
	f.What = fmt.Sprintf("machines are told %s, which is no address of this host", o.Advertise)
	f.Next = "make sure that a load balancer or an address translation brings it here, for TFTP as well"
	return []Finding{f}
}
