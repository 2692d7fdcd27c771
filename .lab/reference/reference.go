// Package reference is the lab without matchd: dnsmasq and a static web server that boot
// every kind of machine. It proves that firmware, kernels, initrds and Ignition are
// sound, so that a boot that fails against matchd is matchd's fault; and its dnsmasq is
// the DHCP server beside which matchd must work as a proxy.
package reference

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/process"
)

// Dnsmasq starts dnsmasq as a plain DHCP server on a host's interface, for the /24 of the
// host's address there; more options may follow. It returns when the server answers.
func Dnsmasq(ctx context.Context, host *netns.Namespace, iface string, own netip.Addr, dir string, options ...string) (*process.Process, error) {
	addr := own.As4()
	prefix := fmt.Sprintf("%d.%d.%d.", addr[0], addr[1], addr[2])
	args := append([]string{
		"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--user=root", "--port=0", "--no-ping",
		"--pid-file=", "--dhcp-authoritative", "--interface=" + iface, "--bind-dynamic",
		"--dhcp-leasefile=" + filepath.Join(dir, "dnsmasq.leases"),
		"--dhcp-range=" + prefix + "100," + prefix + "200,255.255.255.0,12h",
	}, options...)
	p, err := process.Start(host, process.Options{Name: "dnsmasq", Guard: true, LogFile: filepath.Join(dir, "dnsmasq.log")}, "dnsmasq", args...)
	if err != nil {
		return nil, err
	}
	if _, err := p.Output.Wait(ctx, "DHCP, IP range"); err != nil {
		p.Kill()
		return nil, fmt.Errorf("starting dnsmasq: %w\n%s", err, p.Tail(10, "  "))
	}
	return p, nil
}

// Server is dnsmasq and a web server that boot one kind of machine.
type Server struct {
	// Reports receives the body of every report that a machine sends.
	Reports chan string

	dnsmasq *process.Process
	web     *http.Server
}

// Start starts a reference server for one kind of machine, whose Ignition config is given.
func Start(ctx context.Context, seg *netns.Segment, f machine.Firmware, dir, config string) (*Server, error) {
	s := &Server{Reports: make(chan string, 16)}
	base := "http://" + seg.Addr.Addr().String() + ":8080"
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := files(dir, f, base, config); err != nil {
		return nil, err
	}
	var listener net.Listener
	err = seg.Do(func() (err error) { listener, err = net.Listen("tcp", ":8080"); return err })
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("POST /v1/report", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.Reports <- r.URL.Query().Get("state") + ": " + string(body)
		w.WriteHeader(http.StatusNoContent)
	})
	s.web = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go s.web.Serve(listener)
	loader := map[machine.Firmware]string{
		machine.UEFI: "snponly.efi", machine.HTTP: base + "/snponly.efi",
		machine.SecureBoot: "shimx64.efi", machine.ARM64: "grubaa64.efi",
	}[f]
	options := []string{"--enable-tftp", "--tftp-root=" + dir, "--dhcp-match=set:ipxe,175", "--dhcp-boot=tag:ipxe," + base + "/boot.ipxe",
		"--dhcp-vendorclass=set:http,HTTPClient", "--dhcp-option-force=tag:http,60,HTTPClient"}
	if loader != "" {
		options = append(options, "--dhcp-boot=tag:!ipxe,"+loader)
	}
	if s.dnsmasq, err = Dnsmasq(ctx, seg.Namespace, netns.Bridge, seg.Addr.Addr(), dir, options...); err != nil {
		s.web.Close()
		return nil, err
	}
	return s, nil
}

// Log returns dnsmasq's last lines.
func (s *Server) Log() string { return s.dnsmasq.Tail(60, "  dnsmasq: ") }

// Stop stops both servers.
func (s *Server) Stop() error {
	s.web.Close()
	return s.dnsmasq.Stop()
}

// files lays out what the servers serve.
func files(dir string, f machine.Firmware, base, config string) error {
	args := "panic=1 console=" + f.Console() + " ignition.config.url=" + base + "/config.ign"
	script := fmt.Sprintf("#!ipxe\nkernel %[1]s/assets/x86_64/vmlinuz initrd=initrd %[2]s BOOTIF=01-${net0/mac:hexhyp}\ninitrd --name initrd %[1]s/assets/x86_64/initrd\nboot\n", base, args)
	grub := fmt.Sprintf("linux /assets/%[1]s/vmlinuz %[2]s\ninitrd /assets/%[1]s/initrd\nboot\n", f.Arch(), args)
	if err := os.MkdirAll(filepath.Join(dir, "grub"), 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{"boot.ipxe": script, "grub/grub.cfg": grub, "config.ign": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	links := map[string]string{"assets": cache.Path("assets"), "snponly.efi": "/usr/lib/ipxe/snponly.efi"}
	for _, name := range []string{"shimx64.efi", "grubx64.efi", "grubaa64.efi"} {
		links[name] = cache.Path("loaders", name)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil && !strings.Contains(err.Error(), "exists") {
			return err
		}
	}
	return nil
}
