package matchd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// dhcpInterfaces returns the configured interfaces; without any, proxy mode on the default route's.
func (c *Config) dhcpInterfaces() ([]dhcp.Interface, error) {
	if len(c.DHCP.Interfaces) == 0 && c.Matchbox {
		return nil, nil
	}
	if len(c.DHCP.Interfaces) == 0 {
		name, err := defaultInterface()
		if err != nil {
			return nil, err
		}
		return []dhcp.Interface{{Name: name, Mode: dhcp.Proxy}}, nil
	}
	var interfaces []dhcp.Interface
	for _, iface := range c.DHCP.Interfaces {
		mode := dhcp.Mode(iface.Mode)
		if mode == "" {
			mode = dhcp.Proxy
		}
		if mode != dhcp.Off {
			interfaces = append(interfaces, dhcp.Interface{Name: iface.Name, Mode: mode})
		}
	}
	return interfaces, nil
}

// defaultInterface returns the interface of the IPv4 default route.
func defaultInterface() (string, error) {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return "", fmt.Errorf("looking for the default route: %w", err)
	}
	defer file.Close()
	name, err := defaultRoute(file)
	if err != nil {
		return "", fmt.Errorf("looking for the default route: %w", err)
	}
	if name == "" {
		return "", fault.New(fault.Invalid, "there is no default route to take the interface from: set dhcp.interfaces, such as --dhcp-interfaces eth0=proxy, or eth0=off to serve no DHCP")
	}
	return name, nil
}

// defaultRoute reads the kernel's table (proc(5), /proc/net/route): interface, destination and mask in columns 1, 2 and 8.
func defaultRoute(table io.Reader) (string, error) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 8 && fields[1] == "00000000" && fields[7] == "00000000" {
			return fields[0], nil
		}
	}
	return "", lines.Err()
}

// dhcpSubnets translates the configured subnets for the DHCP edge and for the lease pool.
func (c *Config) dhcpSubnets() ([]dhcp.Subnet, []lease.Subnet, error) {
	var edges []dhcp.Subnet
	var pools []lease.Subnet
	for i := range c.DHCP.Subnets {
		subnet := &c.DHCP.Subnets[i]
		edge, pool, err := subnet.translate()
		if err != nil {
			return nil, nil, fault.New(fault.Invalid, "dhcp.subnets[%d] (%v): %w", i, subnet.Subnet, err)
		}
		edges = append(edges, edge)
		if edge.Mode == dhcp.Serve {
			pools = append(pools, pool)
		}
	}
	return edges, pools, nil
}

func (s *SubnetConfig) translate() (dhcp.Subnet, lease.Subnet, error) {
	edge := dhcp.Subnet{Prefix: s.Subnet.Masked(), Mode: dhcp.Mode(s.Mode), Reserved: map[netip.Addr]dhcp.Settings{}}
	if edge.Mode == "" {
		edge.Mode = dhcp.Serve
	}
	pool := lease.Subnet{
		Prefix: edge.Prefix, Authoritative: true,
		LeaseTime: time.Duration(s.LeaseTime), FirmwareLeaseTime: time.Duration(s.FirmwareLeaseTime),
	}
	var err error
	if edge.Settings, err = s.Options.translate(); err != nil {
		return edge, pool, fmt.Errorf("options: %w", err)
	}
	if pool.Pools, err = parseRanges(s.Pools); err != nil {
		return edge, pool, fmt.Errorf("pools: %w", err)
	}
	if pool.Exclude, err = parseRanges(s.Exclude); err != nil {
		return edge, pool, fmt.Errorf("exclude: %w", err)
	}
	for i := range s.Reservations {
		reservation, settings, err := s.Reservations[i].translate()
		if err != nil {
			return edge, pool, fmt.Errorf("reservations[%d]: %w", i, err)
		}
		pool.Reservations = append(pool.Reservations, reservation)
		edge.Reserved[reservation.Address] = settings
	}
	return edge, pool, nil
}

func parseRanges(texts []string) ([]lease.Range, error) {
	var ranges []lease.Range
	for _, text := range texts {
		r, err := lease.ParseRange(text)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func (r *ReservationConfig) translate() (lease.Reservation, dhcp.Settings, error) {
	reservation := lease.Reservation{Address: r.Address, Hostname: r.Hostname}
	settings, err := r.Options.translate()
	if err != nil {
		return reservation, settings, fmt.Errorf("options: %w", err)
	}
	switch {
	case r.MAC != "":
		reservation.MAC, err = machine.ParseMAC(r.MAC)
	case r.ClientID != "":
		reservation.ClientID, err = lease.ParseClientID(r.ClientID)
	default:
		reservation.CircuitID, err = lease.ParseCircuitID(r.CircuitID)
	}
	return reservation, settings, err
}

func (o *OptionsConfig) translate() (dhcp.Settings, error) {
	settings := dhcp.Settings{Router: o.Router, DNS: o.DNS, NTP: o.NTP, Domain: o.Domain, MTU: o.MTU}
	for _, route := range o.Routes {
		settings.Routes = append(settings.Routes, dhcp.Route{To: route.To, Via: route.Via})
	}
	for i, option := range o.Custom {
		custom, err := dhcp.ParseCustom(option.Code, option.Type, option.Value)
		if err != nil {
			return settings, fmt.Errorf("custom[%d]: %w", i, err)
		}
		settings.Custom = append(settings.Custom, custom)
	}
	return settings, nil
}

// Overrides returns what is set for single machines, and pins those machines in the registry with their labels.
func (c *Config) Overrides(registry *machine.Registry) map[machine.MAC]boot.Override {
	overrides := make(map[machine.MAC]boot.Override, len(c.Machines))
	for _, m := range c.Machines {
		mac, err := machine.ParseMAC(m.MAC)
		if err != nil {
			continue // Validate refused it
		}
		overrides[mac] = boot.Override{Loader: m.Loader, ExitMethod: m.ExitMethod}
		registry.Pin(machine.Machine{MAC: mac, Labels: m.Labels})
	}
	return overrides
}

// assetsDir returns the directory of kernels and initrds; empty if there is none.
func (c *Config) assetsDir() string {
	switch {
	case c.AssetsDir != "" || c.Matchbox:
		return c.AssetsDir
	case c.Site == "":
		return filepath.Join(c.StateDir, "assets")
	}
	return filepath.Join(c.Site, "assets")
}

// httpPort returns the port that machines' HTTP was bound to.
func httpPort(addr net.Addr) uint16 {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 0
}
