package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/matchd/matchd/lab/process"
)

// clients is how many different clients perfdhcp plays; the pools hold all of them.
const clients = 60000

// A rate counts as held when at most the first share of exchanges was lost; beyond the second a server is not tried much further.
const (
	allowedLoss = 0.01
	hopeless    = 0.5
)

// dhcpServer is one of the servers that are compared.
type dhcpServer struct {
	name  string
	start func(context.Context, *bed) (*process.Process, error)
}

var dhcpServers = []dhcpServer{
	{"matchd, fsync before ACK", startMatchdDHCP},
	{"Kea 2.2, memfile, no fsync", startKea},
	{"dnsmasq 2.90", startDnsmasq},
}

// exchanges is what one run of perfdhcp found.
type exchanges struct {
	rate float64 // completed four-way exchanges per second
	loss float64 // share of started exchanges that did not complete
}

// benchDHCP offers every server the same rates, in turns and each time with fresh state, so that a busy neighbour meets all of them.
func benchDHCP(ctx context.Context, o *options) error {
	restore, err := largerBuffers()
	if err != nil {
		return err
	}
	defer restore()
	fmt.Printf("Four-way exchanges per second, completed (share lost), %d s each, median of %d, in turns; ✓: at most %.0f %% lost.\n\n",
		o.seconds, o.rounds, 100*allowedLoss)
	fmt.Print("| offered |")
	for _, s := range dhcpServers {
		fmt.Printf(" %s |", s.name)
	}
	fmt.Printf("\n| --- |%s\n", strings.Repeat(" --- |", len(dhcpServers)))
	broken := make([]int, len(dhcpServers))
	for text := range strings.SplitSeq(o.rates, ",") {
		rate, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		results, err := roundsDHCP(ctx, o, rate, broken)
		if err != nil {
			return err
		}
		fmt.Printf("| %d |", rate)
		for i, r := range results {
			fmt.Printf(" %s |", r)
			if r.loss > hopeless {
				broken[i]++
			}
		}
		fmt.Println()
	}
	return nil
}

// defaultBuffer is the kernel's setting for the receive buffer of sockets that ask for none, in bytes.
const defaultBuffer = "/proc/sys/net/core/rmem_default"

// largerBuffers lets perfdhcp, which asks for no receive buffer of its own, take the bursts in which a server answers that writes many
// leases at once: with the usual 208 KiB it loses replies that arrived, and counts them against the server. The other servers get the
// larger buffer as well.
func largerBuffers() (restore func(), err error) {
	before, err := os.ReadFile(defaultBuffer)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(defaultBuffer, []byte("4194304"), 0); err != nil {
		return nil, err
	}
	return func() {
		if err := os.WriteFile(defaultBuffer, before, 0); err != nil {
			fmt.Fprintln(os.Stderr, "bench: restoring", defaultBuffer, err)
		}
	}, nil
}

// roundsDHCP measures one rate. A server that was hopeless at two lower rates will not recover; its runs would only cost time.
func roundsDHCP(ctx context.Context, o *options, rate int, broken []int) ([]exchanges, error) {
	rounds := make([][]exchanges, len(dhcpServers))
	for range o.rounds {
		for i, s := range dhcpServers {
			if broken[i] >= 2 {
				continue
			}
			result, err := measureDHCP(ctx, o, s, rate)
			if err != nil {
				return nil, fmt.Errorf("%s at %d/s: %w", s.name, rate, err)
			}
			rounds[i] = append(rounds[i], result)
		}
	}
	medians := make([]exchanges, len(dhcpServers))
	for i, r := range rounds {
		if len(r) > 0 {
			slices.SortFunc(r, func(a, b exchanges) int { return cmp.Compare(a.rate, b.rate) })
			medians[i] = r[len(r)/2]
		}
	}
	return medians, nil
}

func (e exchanges) String() string {
	switch {
	case e == exchanges{}:
		return "–"
	case e.loss <= allowedLoss:
		return fmt.Sprintf("%.0f (%.1f %%) ✓", e.rate, 100*e.loss)
	}
	return fmt.Sprintf("%.0f (%.1f %%)", e.rate, 100*e.loss)
}

func measureDHCP(ctx context.Context, o *options, s dhcpServer, rate int) (exchanges, error) {
	b, err := newBed(o)
	if err != nil {
		return exchanges{}, err
	}
	defer b.Close()
	server, err := s.start(ctx, b)
	if err != nil {
		return exchanges{}, err
	}
	defer server.Stop()
	load, err := process.Start(b.client, process.Options{Name: "perfdhcp", Env: b.libraries()}, filepath.Join(b.tools, "usr/sbin/perfdhcp"),
		"-4", "-r", strconv.Itoa(rate), "-R", strconv.Itoa(clients), "-p", strconv.Itoa(o.seconds), "-W", "1000000", "-l", "eth0", serverAddr.Addr().String())
	if err != nil {
		return exchanges{}, err
	}
	// perfdhcp's exit status says whether there were drops, which its output says better.
	_ = load.WaitEnd(ctx)
	return parsePerfdhcp(load.Tail(200, ""), o.seconds)
}

var sentReceived = regexp.MustCompile(`(?s)Statistics for: (\S+)\*\*\*\s+sent packets: (\d+)\s+received packets: (\d+)`)

// parsePerfdhcp reads the statistics of both halves of the exchange.
func parsePerfdhcp(output string, seconds int) (exchanges, error) {
	started, completed := 0.0, 0.0
	for _, m := range sentReceived.FindAllStringSubmatch(output, -1) {
		sent, _ := strconv.ParseFloat(m[2], 64)
		received, _ := strconv.ParseFloat(m[3], 64)
		switch m[1] {
		case "DISCOVER-OFFER":
			started = sent
		case "REQUEST-ACK":
			completed = received
		}
	}
	if started == 0 {
		return exchanges{}, fmt.Errorf("perfdhcp told no statistics:\n%s", output)
	}
	return exchanges{rate: completed / float64(seconds), loss: 1 - completed/started}, nil
}

func startMatchdDHCP(ctx context.Context, b *bed) (*process.Process, error) {
	site := filepath.Join(b.scratch, "empty-site")
	if err := os.MkdirAll(filepath.Join(site, "groups"), 0o755); err != nil {
		return nil, err
	}
	return b.startMatchd(ctx, "--site", site, "--tftp", "", "--dhcp-interfaces", "lan0=server", "--dhcp-conflict-probe=false",
		"--dhcp-subnets", "{subnet: 10.77.0.0/16, pools: [10.77.1.0-10.77.250.255], lease_time: 1h}")
}

const keaConfig = `{"Dhcp4": {
  "interfaces-config": {"interfaces": ["lan0"], "dhcp-socket-type": "udp"},
  "lease-database": {"type": "memfile", "persist": true, "name": "%[1]s/leases.csv", "lfc-interval": 0},
  "valid-lifetime": 3600,
  "multi-threading": {"enable-multi-threading": true},
  "subnet4": [{"id": 1, "subnet": "10.77.0.0/16", "pools": [{"pool": "10.77.1.0-10.77.250.255"}]}],
  "loggers": [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]}]
}}`

func startKea(ctx context.Context, b *bed) (*process.Process, error) {
	dir, err := b.state("kea")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "kea.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, keaConfig, dir), 0o644); err != nil {
		return nil, err
	}
	opts := process.Options{Name: "kea", Env: append(b.libraries(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)}
	return b.start(ctx, opts, b.udpBound("kea"), filepath.Join(b.tools, "usr/sbin/kea-dhcp4"), "-c", config)
}

func startDnsmasq(ctx context.Context, b *bed) (*process.Process, error) {
	dir, err := b.state("dnsmasq")
	if err != nil {
		return nil, err
	}
	opts := process.Options{Name: "dnsmasq", Guard: true}
	return b.start(ctx, opts, b.udpBound("dnsmasq"), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
		"--interface=lan0", "--bind-dynamic", "--no-ping", "--dhcp-authoritative", "--dhcp-lease-max="+strconv.Itoa(clients), "--log-facility=/dev/null",
		"--dhcp-range=10.77.1.0,10.77.250.255,255.255.0.0,1h", "--dhcp-leasefile="+filepath.Join(dir, "leases"), "--pid-file="+filepath.Join(dir, "pid"))
}
