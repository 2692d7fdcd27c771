// Command demo network-boots one real machine against the real matchd in front of one's
// eyes: firmware in QEMU, DHCP, network boot program, Debian's kernel, the real Ignition.
// Nothing of it remains: the network is namespaces that end with this process, the files
// are in a temporary directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/server"
)

const (
	mac  = "52:54:00:77:00:01"
	uuid = "11223344-5566-7788-99aa-bbccddeeff01"
)

// what each kind of machine is, for people.
var what = map[machine.Firmware]string{
	machine.BIOS:         "a PC BIOS whose network card carries iPXE",
	machine.UEFI:         "UEFI (OVMF) with its own PXE: loads iPXE by TFTP",
	machine.UEFIWithIPXE: "UEFI (OVMF) with iPXE in the network card's ROM",
	machine.HTTP:         "UEFI HTTP Boot (OVMF): loads iPXE by HTTP",
	machine.SecureBoot:   "UEFI (OVMF) with Secure Boot on: signed shim, signed GRUB, signed kernel",
	machine.ARM64:        "arm64 UEFI (AAVMF): GRUB by TFTP",
}

func main() {
	name := flag.String("firmware", "bios", "kind of machine: bios, uefi, uefi-ipxe, http, secureboot, arm64")
	serial := flag.Bool("serial", false, "show the machine's serial console too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *serial); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			err = errors.New("interrupted; nothing is left behind")
		}
		fmt.Fprintf(os.Stderr, "\n%sdemo: %v%s\n", red(), err, plain())
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, serial bool) error {
	f, err := machine.ParseFirmware(name)
	if err != nil {
		return err
	}
	if err := cache.Check(); err != nil {
		return err
	}
	dir, err := tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, machine.Bound)
	defer cancel()

	seg, err := netns.NewSegment("demo", netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		return err
	}
	defer seg.Close()
	if err := seg.Router(); err != nil {
		return err
	}
	s, err := server.Start(ctx, seg.Namespace, server.Options{Dir: dir, Site: server.Site(f, mac, "demo"), Config: server.Subnet})
	if err != nil {
		return err
	}
	defer s.Stop()
	fmt.Printf("%smatchd serves%s a site with one group (mac=%s) and one profile on 10.77.0.1, in a network of its own\n", bold(), plain(), mac)
	m, err := machine.PowerOn(seg, machine.Spec{Firmware: f, MAC: mac, UUID: uuid, Serial: "DEMO1", Dir: filepath.Join(dir, "machine")})
	if err != nil {
		return err
	}
	defer m.Kill()
	fmt.Printf("%spower on:%s %s; a boot takes 15 to 40 s here\n\n", bold(), plain(), what[f])
	shown, stopShowing := context.WithCancel(ctx)
	go show(shown, s)
	if serial {
		go console(shown, m)
	}
	result, err := m.Result(ctx)
	stopShowing()
	if err != nil {
		return explain(err, s, m)
	}
	return finish(s, m, result)
}

// tempDir makes a directory whose name tells whose it is, and removes those of demos that
// were killed before they could.
func tempDir() (string, error) {
	const prefix = "matchd-demo-"
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range old {
		var pid int
		if n, _ := fmt.Sscanf(filepath.Base(dir), prefix+"%d-", &pid); n == 1 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
}

// show prints events as they come.
func show(ctx context.Context, s *server.Server) {
	began := time.Now()
	for seen := 0; ; {
		events, err := s.Next(ctx, seen)
		if err != nil {
			return
		}
		seen += len(events)
		for _, e := range events {
			fmt.Printf("%s%s%s\n", colour(e.Level), e.Line(began), plain())
		}
	}
}

// console prints the machine's serial console as it comes.
func console(ctx context.Context, m *machine.Machine) {
	for printed := 0; ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		lines := m.Lines()
		for _, line := range lines[printed:] {
			fmt.Printf("%s| %s%s\n", dim(), line, plain())
		}
		printed = len(lines)
	}
}

// explain prints what there is to say about a boot that did not come to its end.
func explain(err error, s *server.Server, m *machine.Machine) error {
	fmt.Printf("\nserial console:\n%s", m.Tail(30, "  | "))
	if timeline, terr := s.Timeline(context.Background(), mac); terr == nil {
		fmt.Printf("\ntimeline:\n%s", timeline)
	}
	fmt.Printf("\nmatchd:\n%s", s.Tail(30, "  "))
	return err
}

// finish checks what Ignition wrote and prints the machine's timeline.
func finish(s *server.Server, m *machine.Machine, r *machine.Result) error {
	timeline, err := s.Timeline(context.Background(), mac)
	if err != nil {
		return explain(err, s, m)
	}
	fmt.Printf("\n%sWhat Ignition wrote inside the machine%s (%s, %s", bold(), plain(), r.Fact("arch"), r.Fact("firmware"))
	if r.Fact("secureboot") == "1" {
		fmt.Print(", Secure Boot on")
	}
	fmt.Println(")")
	for _, name := range []string{"/etc/hostname", "/etc/lab/role", "/etc/lab/mac", "/etc/systemd/system/lab.service", "/etc/.ignition-result.json"} {
		if file, ok := r.Root(name); ok {
			first, _, _ := strings.Cut(file.Content, "\n")
			fmt.Printf("  %s %-36s %.60s\n", file.Mode.Perm(), name, first)
		}
	}
	fmt.Printf("\n%sTimeline of %s%s (%s, group %s)\n", bold(), mac, plain(), timeline.Address, timeline.Group)
	began := timeline.Events[0].Time
	for _, e := range timeline.Events {
		fmt.Printf("%s%s%s\n", colour(e.Level), e.Line(began), plain())
	}
	role, _ := r.Root("/etc/lab/role")
	if state := r.Fact("state"); state != "booted" || role.Content != "demo" {
		return explain(fmt.Errorf("the machine says %s: %s", state, r.Fact("error")), s, m)
	}
	if !timeline.Has("booted") {
		return errors.New("the machine booted, but matchd was not told")
	}
	fmt.Printf("\n%sbooted%s in %.1f s from power-on to power-off\n", bold(), plain(), m.Age().Seconds())
	return s.Stop()
}
