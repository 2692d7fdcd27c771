package matchd

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/site"
)

// Key is one setting of the daemon, under each of its three names.
type Key struct {
	Path  string // in the configuration file, such as "dhcp.subnets"
	Usage string // one line for people
}

// keys lists every setting, in the order of the configuration file.
var keys = [...]Key{
	{"site", "directory that holds groups, profiles and templates; without it only what the store holds is served"},
	{"overlaps", "what becomes of a config in which two documents set one file's contents and neither says overwrite: warn or error"},
	{"state_dir", "directory for leases, events and the last accepted site"},
	{"boot_http", "address that machines' HTTP is served on"},
	{"admin", "address for health, metrics, timelines and backups; keep it on loopback or behind a firewall"},
	{"tftp", `address that TFTP is served on; "" switches TFTP off`},
	{"machine_https", `address that machines with a pointer fetch their config from; "" switches it off, and with it config: pointer`},
	{"machine_tls_cert", "PEM file with the certificate of machine_https; by default matchd's own, of its own CA"},
	{"machine_tls_key", "PEM file with the key of machine_tls_cert"},
	{"machine_tls_ca", "PEM file with the CA that machines shall know machine_tls_cert by; empty: their system's image knows it"},
	{"rpc", `address that the gRPC API is served on, if it has certificates; "" switches it off`},
	{"rpc_cert", "PEM file with the API's certificate"},
	{"rpc_key", "PEM file with the key of rpc_cert"},
	{"rpc_ca", "PEM file with the authorities whose client certificates are let in"},
	{"rpc_default_role", "role of clients whose certificate has none: admin, operator, instance-registrar or viewer; empty: they are refused"},
	{"advertise", "host, or host and port, that machines are told; by default the address that they reached us by"},
	{"log_level", "debug, info, warn or error"},
	{"log_format", "text or json"},
	{"unmatched", "what happens to a machine that no group wants: local (boots from its disk), ignore or hold"},
	{"exit_method", "how a machine is sent to its disk: exit1, exit0, sanboot, http404 or grub-find"},
	{"assets_dir", "directory served as /assets; by default the site's assets directory"},
	{"loaders_dir", "directory of network boot programs that come before those inside matchd"},
	{"loaders", "loader by architecture: a file name, or ipxe, shim or grub"},
	{"proxy_offer", "how the proxy tells the boot file: direct, 4011, or auto (by architecture)"},
	{"machines", "settings for single machines: loader, exit_method, tftp_blksize, labels"},
	{"tftp_single_port", "answer TFTP from port 69 alone, for NAT; some firmware does not accept it"},
	{"tftp_max_transfers", "TFTP transfers at the same time"},
	{"key_ring", "OpenPGP key ring to sign with what machines fetch, under PATH.sig and PATH.asc"},
	{"key_ring_passphrase_file", "file with the passphrase of the key ring's first key; or set MATCHD_PASSPHRASE"},
	{"dhcp.interfaces", "interfaces that DHCP is answered on, as eth0=proxy, eth1=server or eth2=off; by default proxy on the default route's"},
	{"dhcp.subnets", "subnets with pools, options and reservations, for interfaces and relays in server mode"},
	{"dhcp.conflict_probe", "ask by ARP whether an address is in use before it is offered"},
}

// Keys returns every setting of the daemon.
func Keys() []Key { return keys[:] }

// Flag returns the setting's command line flag without dashes in front: "dhcp-subnets".
func (k Key) Flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.Path) }

// Env returns the setting's environment variable: "MATCHD_DHCP_SUBNETS".
func (k Key) Env() string {
	return "MATCHD_" + strings.ToUpper(strings.ReplaceAll(k.Path, ".", "_"))
}

// Sources is where a configuration comes from. Later ones win: defaults, file, environment, flags.
type Sources struct {
	File  string                      // path; empty: DefaultConfigFile if it exists
	Env   func(string) (string, bool) // such as os.LookupEnv; nil: none
	Flags map[string]string           // by Key.Flag, only those given
	Base  func() Config               // what is so when nobody says otherwise; nil: DefaultConfig
	Last  func(*Config) error         // lays over what outranks all of these; nil: nothing

	NoFile bool // no file is read
}

// LoadConfig gathers the configuration. Every error names the file, variable or flag that it is about and is of kind Invalid.
func LoadConfig(src Sources) (Config, error) {
	cfg := src.base()
	file := src.File
	if file == "" {
		file = DefaultConfigFile
	}
	var data []byte
	if !src.NoFile {
		var err error
		if data, err = readConfigFile(file); err != nil {
			return Config{}, err
		}
		if data != nil {
			cfg.File = file
		}
	}
	if err := site.Decode(file, data, &cfg); err != nil {
		return Config{}, err
	}
	for _, key := range keys {
		if src.Env != nil {
			// An empty variable is a value for texts alone ("no TFTP"); elsewhere it is as good as unset.
			if value, set := src.Env(key.Env()); set && (value != "" || key.isText()) {
				if err := key.set(&cfg, key.Env(), value); err != nil {
					return Config{}, err
				}
			}
		}
		if value, set := src.Flags[key.Flag()]; set {
			if err := key.set(&cfg, "--"+key.Flag(), value); err != nil {
				return Config{}, err
			}
		}
	}
	if src.Last != nil {
		if err := src.Last(&cfg); err != nil {
			return Config{}, err
		}
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, fault.New(fault.Invalid, "checking the configuration (file %s): %w", file, err)
	}
	return cfg, nil
}

func (src *Sources) base() Config {
	if src.Base != nil {
		return src.Base()
	}
	return DefaultConfig()
}

// set lays one value over the configuration. The value is YAML as it would stand in the file; a list may be written without its brackets.
func (k Key) set(cfg *Config, source, value string) error {
	var parsed yaml.Node
	if err := yaml.Unmarshal([]byte(value), &parsed); err != nil {
		return fault.New(fault.Invalid, "%s: %w", source, err)
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle}
	if len(parsed.Content) == 1 {
		node = parsed.Content[0]
	}
	if k.isList() && node.Kind != yaml.SequenceNode {
		node = listOf(node)
	}
	if k.isText() && node.Kind == yaml.ScalarNode {
		node = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: value}
	}
	path := strings.Split(k.Path, ".")
	for i := len(path) - 1; i >= 0; i-- {
		name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[i]}
		node = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{name, node}}
	}
	text, err := yaml.Marshal(node)
	if err != nil {
		return fault.New(fault.Invalid, "%s: %w", source, err)
	}
	return site.Decode(source, text, cfg)
}

// listOf makes "eth0=proxy,eth1=off" and a single mapping lists of their elements.
func listOf(node *yaml.Node) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	switch {
	case node.Kind != yaml.ScalarNode:
		list.Content = append(list.Content, node)
	case node.Value != "":
		for part := range strings.SplitSeq(node.Value, ",") {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(part)})
		}
	}
	return list
}

func (k Key) isList() bool {
	switch k.Path {
	case "machines", "dhcp.interfaces", "dhcp.subnets":
		return true
	}
	return false
}

// isText reports whether the setting is a string, so that a value such as 4011 or off is not taken for a number or a boolean.
func (k Key) isText() bool {
	switch k.Path {
	case "loaders", "tftp_single_port", "tftp_max_transfers", "dhcp.conflict_probe":
		return false
	}
	return !k.isList()
}

// Default returns the setting's default as it would stand in the file; empty for lists and for what has none.
func (k Key) Default() string {
	var node yaml.Node
	if err := node.Encode(DefaultConfig()); err != nil {
		return ""
	}
	current := &node
	for name := range strings.SplitSeq(k.Path, ".") {
		current = child(current, name)
	}
	if current == nil || current.Kind != yaml.ScalarNode || current.Tag == "!!null" {
		return ""
	}
	return current.Value
}

func child(node *yaml.Node, name string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}
