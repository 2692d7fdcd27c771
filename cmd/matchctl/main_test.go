package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/dhcp"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/matchd/pki"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"matchctl": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
			stop()
			os.Exit(code)
		},
	})
}

// TestScripts runs each script against a daemon of its own, called with the certificate of an administrator. Files of the script below
// server/ are the daemon's site.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("there are no scripts", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			t.Parallel()
			newServer(t, script).run(t, script)
		})
	}
}

// server is the daemon that a script calls.
type server struct {
	*matchdtest.Daemon
	t *testing.T
}

func newServer(t *testing.T, script string) *server {
	t.Helper()
	archive, err := txtar.ParseFile(script)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"assets/vmlinuz": "kernel", "assets/initrd.img": "initrd"}
	for _, file := range archive.Files {
		if name, below := strings.CutPrefix(file.Name, "server/"); below {
			files[name] = string(file.Data)
		}
	}
	loaders := t.TempDir()
	matchdtest.WriteFiles(t, loaders, map[string]string{"undionly.kpxe": "undi", "snponly.efi": "snp", "snponly-arm64.efi": "snp arm64", "grubaa64.efi": "grub"})
	return &server{t: t, Daemon: matchdtest.Start(t, matchdtest.Options{Files: files, API: true, Config: func(c *matchd.Config) {
		c.LoadersDir = loaders
		c.DHCP.Subnets = []matchd.SubnetConfig{
			{Subnet: netip.MustParsePrefix("127.0.0.0/8"), Pools: []string{"127.2.0.10-127.2.0.20"}},
			{Subnet: netip.MustParsePrefix("10.99.0.0/24"), Pools: []string{"10.99.0.100-10.99.0.200"}}, // for reservations, which no loopback address can be
		}
	}})}
}

func (s *server) run(t *testing.T, script string) {
	testscript.Run(t, testscript.Params{
		Files: []string{script}, ContinueOnError: true,
		Setup: func(env *testscript.Env) error {
			admin := s.NewClient(t, auth.Identity{Name: "ann", Role: auth.Admin})
			for name, value := range map[string]string{
				"MATCHCTL_ENDPOINT": s.RPC, "MATCHCTL_CA": admin.CA, "MATCHCTL_CERT": admin.Cert, "MATCHCTL_KEY": admin.Key,
				"MATCHCTL_CONFIG": filepath.Join(env.WorkDir, "config.yaml"), "MATCHCTL_CONTEXT": "", "NO_COLOR": "", "SITE": s.Site, "BOOT": strings.TrimPrefix(s.Boot, "http://"),
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "identity": s.identity, "certificate": s.certificate, "boots": s.boots},
	})
}

// exits runs matchctl and compares its exit code: exits CODE ARGS...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("matchctl", args[1:]...)
	code := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// identity goes on as another one: identity NAME ROLE [KEY=VALUE]...
func (s *server) identity(ts *testscript.TestScript, _ bool, args []string) {
	scope, err := auth.ParseScope(args[2:])
	ts.Check(err)
	files, err := pki.NewClient(s.PKI, ts.MkAbs("."), auth.Identity{Name: args[0], Role: auth.Role(args[1]), Scope: scope}, time.Hour, time.Now())
	ts.Check(err)
	ts.Setenv("MATCHCTL_CERT", files[0])
	ts.Setenv("MATCHCTL_KEY", files[1])
}

// certificate goes on with one that the daemon does not take: certificate expired|foreign. The authority of a foreign one is in FOREIGN_CA.
func (s *server) certificate(ts *testscript.TestScript, _ bool, args []string) {
	authority, made := s.PKI, time.Now()
	switch args[0] {
	case "expired":
		made = made.Add(-48 * time.Hour)
	case "foreign":
		authority = ts.MkAbs("foreign")
		_, err := pki.Init(authority, pki.Names{DNS: []string{"localhost"}}, made)
		ts.Check(err)
		ts.Setenv("FOREIGN_CA", filepath.Join(authority, pki.CACert))
	}
	files, err := pki.NewClient(authority, s.t.TempDir(), auth.Identity{Name: args[0], Role: auth.Admin}, time.Hour, made)
	ts.Check(err)
	ts.Setenv("MATCHCTL_CERT", files[0])
	ts.Setenv("MATCHCTL_KEY", files[1])
}

// boots plays the boot of a machine: boots MAC FIRMWARE.
func (s *server) boots(ts *testscript.TestScript, _ bool, args []string) {
	mac, err := machine.ParseMAC(args[0])
	ts.Check(err)
	trace := s.Boots(s.t, firmware.Machine{Kind: firmware.Kind(args[1]), MAC: mac}, dhcp.Serve)
	ts.Logf("%s", trace.Reason)
}
