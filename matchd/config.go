package matchd

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/pki"
	"github.com/matchd/matchd/profiles"
)

// DefaultConfigFile is read when no other file is named; it may be missing.
const DefaultConfigFile = "/etc/matchd/matchd.yaml"

// Config is everything that the daemon is told from outside. Its YAML form is the configuration file; docs/configuration.md
// explains every key. The zero value is not usable, start from [DefaultConfig].
type Config struct {
	Site             string            `yaml:"site"`
	Overlaps         string            `yaml:"overlaps"`
	StateDir         string            `yaml:"state_dir"`
	BootHTTP         string            `yaml:"boot_http"`
	Admin            string            `yaml:"admin"`
	TFTP             string            `yaml:"tftp"`
	MachineHTTPS     string            `yaml:"machine_https"`
	MachineTLSCert   string            `yaml:"machine_tls_cert"`
	MachineTLSKey    string            `yaml:"machine_tls_key"`
	MachineTLSCA     string            `yaml:"machine_tls_ca"`
	RPC              string            `yaml:"rpc"`
	RPCCert          string            `yaml:"rpc_cert"`
	RPCKey           string            `yaml:"rpc_key"`
	RPCCA            string            `yaml:"rpc_ca"`
	RPCDefaultRole   string            `yaml:"rpc_default_role"`
	Advertise        string            `yaml:"advertise"`
	LogLevel         string            `yaml:"log_level"`
	LogFormat        string            `yaml:"log_format"`
	Unmatched        boot.Unmatched    `yaml:"unmatched"`
	ExitMethod       boot.ExitMethod   `yaml:"exit_method"`
	AssetsDir        string            `yaml:"assets_dir"`
	LoadersDir       string            `yaml:"loaders_dir"`
	Loaders          map[string]string `yaml:"loaders"`
	ProxyOffer       string            `yaml:"proxy_offer"`
	Machines         []MachineConfig   `yaml:"machines"`
	TFTPSinglePort   bool              `yaml:"tftp_single_port"`
	TFTPMaxTransfers int               `yaml:"tftp_max_transfers"`
	KeyRing          string            `yaml:"key_ring"`
	PassphraseFile   string            `yaml:"key_ring_passphrase_file"`
	DHCP             DHCPConfig        `yaml:"dhcp"`

	File string `yaml:"-"` // that it was read from; empty: none

	Passphrase string   `yaml:"-"` // of the key ring, where it comes from the environment
	Matchbox   bool     `yaml:"-"` // serve as matchbox does: see docs/matchbox.md
	BootTLS    KeyFiles `yaml:"-"` // boot_http is HTTPS with this certificate; zero: plain HTTP
}

// KeyFiles name a certificate and its private key in PEM form.
type KeyFiles struct{ Cert, Key string }

// MachineConfig overrides what the daemon would do for one machine.
type MachineConfig struct {
	MAC         string            `yaml:"mac"`
	Loader      string            `yaml:"loader"` // ipxe, shim, grub, or the name of a loader file
	ExitMethod  boot.ExitMethod   `yaml:"exit_method"`
	TFTPBlksize int               `yaml:"tftp_blksize"` // bytes; 0: the interface's MTU decides
	Labels      map[string]string `yaml:"labels"`       // outrank what a query claims
}

// DHCPConfig says on which interfaces DHCP is answered and how.
type DHCPConfig struct {
	Interfaces    []InterfaceConfig `yaml:"interfaces"`
	Subnets       []SubnetConfig    `yaml:"subnets"`
	ConflictProbe bool              `yaml:"conflict_probe"`
}

// DHCP modes of an interface or a subnet.
const (
	ModeProxy  = "proxy"  // never gives an address
	ModeServer = "server" // gives addresses out of the subnets' pools
	ModeOff    = "off"
)

// What becomes of a config in which two documents set the contents of one file and neither says that it overwrites.
const (
	OverlapsWarn  = "warn"  // the later document wins, with a warning
	OverlapsError = "error" // it is refused
)

// InterfaceConfig is one network interface that DHCP listens on. As text it is "eth0=proxy".
type InterfaceConfig struct {
	Name string `yaml:"name"`
	Mode string `yaml:"mode"`
}

// SubnetConfig is one range of addresses, on an own interface or behind a relay.
type SubnetConfig struct {
	Subnet            netip.Prefix        `yaml:"subnet"`
	Mode              string              `yaml:"mode"`
	Pools             []string            `yaml:"pools"` // "first-last"
	Exclude           []string            `yaml:"exclude"`
	LeaseTime         Duration            `yaml:"lease_time"`
	FirmwareLeaseTime Duration            `yaml:"firmware_lease_time"`
	Options           OptionsConfig       `yaml:"options"`
	Reservations      []ReservationConfig `yaml:"reservations"`
}

// OptionsConfig is what clients of a subnet are told besides their address (RFC 2132, RFC 3442 for routes).
type OptionsConfig struct {
	Router []netip.Addr   `yaml:"router"`
	DNS    []netip.Addr   `yaml:"dns"`
	NTP    []netip.Addr   `yaml:"ntp"`
	Domain string         `yaml:"domain"`
	MTU    uint16         `yaml:"mtu"` // bytes; 0: not sent
	Routes []RouteConfig  `yaml:"routes"`
	Custom []CustomOption `yaml:"custom"`
}

// RouteConfig is one classless static route (RFC 3442).
type RouteConfig struct {
	To  netip.Prefix `yaml:"to"`
	Via netip.Addr   `yaml:"via"`
}

// CustomOption is any other option by its number. Type is one of ip, ips, text, hex, uint8, uint16, uint32.
type CustomOption struct {
	Code  uint8  `yaml:"code"`
	Type  string `yaml:"type"`
	Value string `yaml:"value"`
}

// ReservationConfig gives one client always the same address. Exactly one of MAC, ClientID and CircuitID names the client.
type ReservationConfig struct {
	MAC       string        `yaml:"mac"`
	ClientID  string        `yaml:"client_id"`  // option 61 in hexadecimal
	CircuitID string        `yaml:"circuit_id"` // option 82 sub-option 1: text, or 0x and hexadecimal
	Address   netip.Addr    `yaml:"address"`
	Hostname  string        `yaml:"hostname"`
	Options   OptionsConfig `yaml:"options"`
}

// Duration is a time.Duration that is written as "12h" or "90s".
type Duration time.Duration

// UnmarshalText reads what [time.ParseDuration] reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf(`%q is not a duration such as "12h" or "90s"`, text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText writes the duration as it is read.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the short form, "eth0" or "eth0=server".
func (c *InterfaceConfig) UnmarshalText(text []byte) error {
	name, mode, _ := strings.Cut(string(text), "=")
	*c = InterfaceConfig{Name: name, Mode: mode}
	return nil
}

// DefaultConfig returns what the daemon does when it is told nothing.
func DefaultConfig() Config {
	return Config{
		Overlaps:         OverlapsWarn,
		StateDir:         "/var/lib/matchd",
		BootHTTP:         ":8080",
		Admin:            "127.0.0.1:8082",
		TFTP:             ":69",
		MachineHTTPS:     ":8443",
		RPC:              ":8081",
		RPCCert:          filepath.Join(DefaultPKI, pki.ServerCert),
		RPCKey:           filepath.Join(DefaultPKI, pki.ServerKey),
		RPCCA:            filepath.Join(DefaultPKI, pki.CACert),
		LogLevel:         "info",
		LogFormat:        "text",
		Unmatched:        boot.UnmatchedLocal,
		ExitMethod:       boot.Exit1,
		ProxyOffer:       "auto",
		TFTPMaxTransfers: 256,
		DHCP:             DHCPConfig{ConflictProbe: true},
	}
}

// Validate returns everything that is wrong with the configuration, joined; each error starts with the key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	for _, listener := range [...][2]string{{"boot_http", c.BootHTTP}, {"admin", c.Admin}, {"tftp", c.TFTP}, {"machine_https", c.MachineHTTPS}, {"rpc", c.RPC}} {
		if _, _, err := net.SplitHostPort(listener[1]); err != nil && listener[1] != "" {
			bad(listener[0], `%q is not an address such as ":8080" or "10.0.0.1:8080"`, listener[1])
		}
	}
	if c.StateDir == "" && !c.Matchbox {
		bad("state_dir", "a directory is needed to keep leases and events in")
	}
	if c.BootHTTP == "" {
		bad("boot_http", "machines cannot boot without it")
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		bad(key, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
	oneOf("overlaps", c.Overlaps, OverlapsWarn, OverlapsError)
	oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log_format", c.LogFormat, "text", "json")
	oneOf("unmatched", string(c.Unmatched), string(boot.UnmatchedLocal), string(boot.UnmatchedIgnore), string(boot.UnmatchedHold))
	oneOf("proxy_offer", c.ProxyOffer, "auto", "direct", "4011")
	if !c.ExitMethod.Valid() {
		bad("exit_method", "%q is none of exit1, exit0, sanboot, http404, grub-find", c.ExitMethod)
	}
	switch {
	case (c.MachineTLSCert == "") != (c.MachineTLSKey == ""):
		bad("machine_tls_key", "certificate and key belong together: set machine_tls_cert and machine_tls_key, or neither")
	case c.MachineTLSCA != "" && c.MachineTLSCert == "":
		bad("machine_tls_ca", "is the CA of machine_tls_cert, which is not set")
	}
	c.validateRPC(bad)
	if c.TFTPMaxTransfers < 1 {
		bad("tftp_max_transfers", "at least one transfer is needed")
	}
	if err := c.validateAdvertise(); err != nil {
		bad("advertise", "%w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Loaders)) {
		oneOf("loaders", key, "x86-bios", "i386-efi", "x86_64-efi", "arm-efi", "arm64-efi", "riscv64-efi", "loong64-efi")
	}
	for i := range c.Machines {
		c.Machines[i].validate(fmt.Sprintf("machines[%d]", i), bad)
	}
	c.DHCP.validate(bad)
	return errors.Join(errs...)
}

func (c *Config) validateAdvertise() error {
	if c.Advertise == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Advertise)
	if err != nil {
		host, port = c.Advertise, "1"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || strings.ContainsAny(host, "/ \t") || host == "" {
		return fmt.Errorf(`%q is not a host, or host and port, such as "10.0.0.1" or "boot.example.com:8080"`, c.Advertise)
	}
	return nil
}

func (m *MachineConfig) validate(key string, bad func(key, format string, args ...any)) {
	if _, err := machine.ParseMAC(m.MAC); err != nil {
		bad(key+".mac", "%w", err)
	}
	if !m.ExitMethod.Valid() {
		bad(key+".exit_method", "%q is none of exit1, exit0, sanboot, http404, grub-find", m.ExitMethod)
	}
	if m.Loader != "" && !profiles.Loader(m.Loader).Valid() && strings.ContainsAny(m.Loader, `/\`) {
		bad(key+".loader", "%q is none of ipxe, shim, grub, nor the name of a loader file", m.Loader)
	}
	// RFC 2348 begins at 8, but a client that asks for no block size is sent 512 whatever is set.
	if m.TFTPBlksize != 0 && (m.TFTPBlksize < 512 || m.TFTPBlksize > 65464) {
		bad(key+".tftp_blksize", "%d is not between 512 and 65464", m.TFTPBlksize)
	}
}

func (d *DHCPConfig) validate(bad func(key, format string, args ...any)) {
	for i, iface := range d.Interfaces {
		key := fmt.Sprintf("dhcp.interfaces[%d]", i)
		if iface.Name == "" {
			bad(key+".name", "is empty")
		}
		checkMode(key+".mode", iface.Mode, bad)
	}
	for i := range d.Subnets {
		subnet, key := &d.Subnets[i], fmt.Sprintf("dhcp.subnets[%d]", i)
		checkMode(key+".mode", subnet.Mode, bad)
		if !subnet.Subnet.IsValid() || !subnet.Subnet.Addr().Is4() {
			bad(key+".subnet", "an IPv4 prefix such as 10.0.0.0/24 is needed")
		}
		for j := range subnet.Reservations {
			subnet.Reservations[j].validate(fmt.Sprintf("%s.reservations[%d]", key, j), bad)
		}
	}
}

func checkMode(key, mode string, bad func(key, format string, args ...any)) {
	switch mode {
	case "", ModeProxy, ModeServer, ModeOff:
	default:
		bad(key, "%q is none of proxy, server, off", mode)
	}
}

func (r *ReservationConfig) validate(key string, bad func(key, format string, args ...any)) {
	named := 0
	for _, id := range []string{r.MAC, r.ClientID, r.CircuitID} {
		if id != "" {
			named++
		}
	}
	if named != 1 {
		bad(key, "exactly one of mac, client_id and circuit_id names the client, %d are given", named)
	}
	if r.MAC != "" {
		if _, err := machine.ParseMAC(r.MAC); err != nil {
			bad(key+".mac", "%w", err)
		}
	}
	if !r.Address.Is4() {
		bad(key+".address", "an IPv4 address is needed")
	}
}

// readConfigFile returns the file's bytes. Only the default file may be missing; that is an empty configuration.
func readConfigFile(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && name == DefaultConfigFile {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return data, nil
}
