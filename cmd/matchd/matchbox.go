package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/fault"
)

// matchboxFlag is one of matchbox's flags that matchd has no flag of that name for.
type matchboxFlag struct {
	name    string
	value   string // by default, if it is set anywhere
	boolean bool
	set     func(cfg *matchd.Config, value string)
}

// matchboxFlags are those of matchbox v0.11.0 but -log-level, -version and -help.
var matchboxFlags = [...]matchboxFlag{
	{name: "address", value: "127.0.0.1:8080", set: func(c *matchd.Config, v string) { c.BootHTTP = v }},
	{name: "rpc-address", set: func(c *matchd.Config, v string) { c.RPC = v }},
	{name: "data-path", value: "/var/lib/matchbox", set: func(c *matchd.Config, v string) { c.Site = v }},
	{name: "assets-path", value: "/var/lib/matchbox/assets", set: func(c *matchd.Config, v string) { c.AssetsDir = v }},
	{name: "cert-file", value: "/etc/matchbox/server.crt", set: func(c *matchd.Config, v string) { c.RPCCert = v }},
	{name: "key-file", value: "/etc/matchbox/server.key", set: func(c *matchd.Config, v string) { c.RPCKey = v }},
	{name: "ca-file", value: "/etc/matchbox/ca.crt", set: func(c *matchd.Config, v string) { c.RPCCA = v }},
	{name: "web-ssl", boolean: true},
	{name: "web-cert-file", value: "/etc/matchbox/ssl/server.crt"},
	{name: "web-key-file", value: "/etc/matchbox/ssl/server.key"},
	{name: "key-ring-path", set: func(c *matchd.Config, v string) { c.KeyRing = v }},
}

// env returns the flag's variable: MATCHBOX_RPC_ADDRESS.
func (f *matchboxFlag) env() string {
	return "MATCHBOX_" + strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))
}

// matchboxMode is what "matchd serve --matchbox" was told in matchbox's words.
type matchboxMode struct {
	cmd *cobra.Command
	on  bool
}

// addMatchbox gives the serve command matchbox's flags.
func addMatchbox(cmd *cobra.Command) *matchboxMode {
	m := &matchboxMode{cmd: cmd}
	flags := cmd.Flags()
	flags.BoolVar(&m.on, "matchbox", false, "serve as matchbox does: its flags (-address, -data-path …), MATCHBOX_* variables, data directory, scripts and statuses; see docs/matchbox.md")
	for _, flag := range matchboxFlags {
		if flag.boolean {
			flags.Bool(flag.name, false, "matchbox's flag")
		} else {
			flags.String(flag.name, "", "matchbox's flag")
		}
	}
	flags.Bool("version", false, "matchbox's flag")
	for _, name := range append(matchboxNames(), "version") {
		flags.Lookup(name).Hidden = true
	}
	return m
}

func matchboxNames() []string {
	var names []string
	for _, flag := range matchboxFlags {
		names = append(names, flag.name)
	}
	return names
}

// matchboxArgs lets matchbox's flags be written with a single dash, where --matchbox is among the arguments.
func matchboxArgs(args []string) []string {
	if len(args) == 0 || args[0] != "serve" {
		return args
	}
	known := map[string]bool{"matchbox": true, "version": true, "help": true}
	for _, name := range matchboxNames() {
		known[name] = true
	}
	for _, key := range matchd.Keys() {
		known[key.Flag()] = true
	}
	on := false
	rewritten := make([]string, 0, len(args))
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		on = on || name == "matchbox" && strings.HasPrefix(arg, "-")
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && known[name] {
			arg = "-" + arg
		}
		rewritten = append(rewritten, arg)
	}
	if !on {
		return args
	}
	return rewritten
}

// adjust makes the daemon's settings matchbox's, if --matchbox was given.
func (m *matchboxMode) adjust(src *matchd.Sources) error {
	if !m.on {
		for _, name := range append(matchboxNames(), "version") {
			if m.cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("unknown flag: --%s (it is matchbox's: add --matchbox)", name)}
			}
		}
		return nil
	}
	src.NoFile = src.File == ""
	src.Base = func() matchd.Config {
		cfg := matchd.MatchboxConfig()
		for _, flag := range matchboxFlags {
			if flag.set != nil {
				flag.set(&cfg, flag.value)
			}
		}
		return cfg
	}
	src.Last = m.overlay
	return nil
}

// given returns what a flag or its variable says. A flag beats its variable, and an empty variable says nothing.
func (m *matchboxMode) given(name string) (value string, given bool) {
	if flag := m.cmd.Flags().Lookup(name); flag.Changed {
		return flag.Value.String(), true
	}
	value = os.Getenv((&matchboxFlag{name: name}).env())
	return value, value != ""
}

// overlay lays what matchbox was told over the configuration, and checks what matchbox checks before it starts.
func (m *matchboxMode) overlay(cfg *matchd.Config) error {
	web := map[string]string{}
	for _, flag := range matchboxFlags {
		value, given := m.given(flag.name)
		switch {
		case flag.set == nil && given:
			web[flag.name] = value
		case flag.set == nil:
			web[flag.name] = flag.value
		case given:
			flag.set(cfg, value)
		}
	}
	if level, given := m.given("log-level"); given {
		cfg.LogLevel = matchboxLevel(level)
	}
	cfg.Passphrase = os.Getenv("MATCHBOX_PASSPHRASE")
	if web["web-ssl"] == "true" || web["web-ssl"] == "1" {
		cfg.BootTLS = matchd.KeyFiles{Cert: web["web-cert-file"], Key: web["web-key-file"]}
	}
	return checkMatchbox(cfg)
}

// matchboxLevel translates logrus' levels.
func matchboxLevel(level string) string {
	switch level = strings.ToLower(level); level {
	case "trace":
		return "debug"
	case "warning":
		return "warn"
	case "fatal", "panic":
		return "error"
	}
	return level
}

func checkMatchbox(cfg *matchd.Config) error {
	for _, dir := range [...]struct{ flag, path string }{{"data-path", cfg.Site}, {"assets-path", cfg.AssetsDir}} {
		if dir.path == "" && dir.flag == "assets-path" {
			continue // switched off
		}
		if info, err := os.Stat(dir.path); err != nil || !info.IsDir() {
			return fault.New(fault.Invalid, "-%s: %q is not a directory", dir.flag, dir.path)
		}
	}
	var files [][2]string
	if cfg.RPC != "" {
		files = append(files, [2]string{"cert-file", cfg.RPCCert}, [2]string{"key-file", cfg.RPCKey}, [2]string{"ca-file", cfg.RPCCA})
	}
	if cfg.BootTLS != (matchd.KeyFiles{}) {
		files = append(files, [2]string{"web-cert-file", cfg.BootTLS.Cert}, [2]string{"web-key-file", cfg.BootTLS.Key})
	}
	for _, file := range files {
		if _, err := os.Stat(file[1]); err != nil {
			return fault.New(fault.Invalid, "-%s: %w", file[0], err)
		}
	}
	return nil
}

// versioned makes -version print the version and do nothing else, as matchbox's does.
func (m *matchboxMode) versioned(cmd *cobra.Command) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if asked, _ := cmd.Flags().GetBool("version"); asked && m.on {
			fmt.Fprintln(cmd.OutOrStdout(), version)
			return nil
		}
		return run(cmd, args)
	}
	return cmd
}
