package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/matchd/matchd/lab/process"
)

// groupCounts are the sizes of site that are compared; an index that works makes them equal.
var groupCounts = []int{10, 1000, 10000}

// profileCount is how many profiles the groups share.
const profileCount = 20

// connections is how many requests wrk keeps under way; threads is its own.
const (
	connections = 16
	threads     = 1
)

// script asks as a different machine each time, in turn, among BENCH_MACHINES.
const script = `local n = tonumber(os.getenv("BENCH_MACHINES"))
local path = os.getenv("BENCH_PATH")
local i = 0
request = function()
  i = (i + 1) % n
  return wrk.format("GET", string.format("%s?uuid=00000000-0000-4000-8000-%012x&mac=52-54-00-%02x-%02x-%02x&arch=x86_64",
    path, i, math.floor(i / 65536) % 256, math.floor(i / 256) % 256, i % 256))
end
`

// warm is how many machines' own configs are asked for again and again; it is below what a snapshot caches.
const warm = 100

// webResult is what one size of site gave.
type webResult struct {
	ipxe, shared, again, first float64 // requests per second
	loaded, after              float64 // MiB resident
}

func benchWeb(ctx context.Context, o *options) error {
	fmt.Printf("Requests per second, wrk with %d connections, each request another machine, %d s, median of %d. \"Again\": %d machines that asked before.\n\n",
		connections, o.seconds, o.rounds, warm)
	fmt.Println("| groups | `/ipxe` | `/ignition`, same for a profile | own per machine, again | own per machine, first time | MiB resident, loaded | after `/ipxe` |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	for _, n := range groupCounts {
		r, err := measureWeb(ctx, o, n)
		if err != nil {
			return fmt.Errorf("%d groups: %w", n, err)
		}
		first := "–"
		if r.first > 0 {
			first = fmt.Sprintf("%.0f", r.first)
		}
		fmt.Printf("| %d | %.0f | %.0f | %.0f | %s | %.0f | %.0f |\n", n, r.ipxe, r.shared, r.again, first, r.loaded, r.after)
	}
	return nil
}

func measureWeb(ctx context.Context, o *options, n int) (webResult, error) {
	var r webResult
	b, err := newBed(o)
	if err != nil {
		return r, err
	}
	defer b.Close()
	for _, own := range []bool{false, true} {
		site := filepath.Join(b.scratch, "site")
		depends := nothing
		if own {
			depends = worker
		}
		if err := writeSite(site, n, depends); err != nil {
			return r, err
		}
		server, err := b.startMatchd(ctx, "--site", site, "--tftp", "", "--dhcp-interfaces", "lan0=off")
		if err != nil {
			return r, err
		}
		load := b.loadShared
		if own {
			load = b.loadOwn
		}
		if err := load(ctx, server, n, &r); err != nil {
			return r, fmt.Errorf("%w\n%s", err, server.Tail(10, "  "))
		}
		if err := server.Stop(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (b *bed) loadShared(ctx context.Context, server *process.Process, n int, r *webResult) (err error) {
	if r.loaded, err = memory(server.PID()); err != nil {
		return err
	}
	if r.ipxe, err = b.requests(ctx, n, "/ipxe"); err != nil {
		return err
	}
	if r.after, err = memory(server.PID()); err != nil {
		return err
	}
	r.shared, err = b.requests(ctx, n, "/ignition")
	return err
}

func (b *bed) loadOwn(ctx context.Context, _ *process.Process, n int, r *webResult) (err error) {
	// So many machines that none asks twice within the time that they are asked.
	if n >= 10000 {
		once := *b
		quick := *b.options
		quick.rounds = 1
		once.options = &quick
		if r.first, err = once.requests(ctx, n, "/ignition"); err != nil {
			return err
		}
	}
	machines := min(n, warm)
	quick := *b.options
	quick.rounds = 1
	warming := *b
	warming.options = &quick
	if _, err = warming.requests(ctx, machines, "/ignition"); err != nil {
		return err
	}
	r.again, err = b.requests(ctx, machines, "/ignition")
	return err
}

// requests returns the median rate of the rounds.
func (b *bed) requests(ctx context.Context, machines int, path string) (float64, error) {
	file := filepath.Join(b.scratch, "machines.lua")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return 0, err
	}
	var rates []float64
	for range b.rounds {
		output, err := b.wrk(ctx, []string{fmt.Sprint("BENCH_MACHINES=", machines), "BENCH_PATH=" + path}, connections, "-s", file, "http://"+serverAddr.Addr().String()+":8080/")
		if err != nil {
			return 0, err
		}
		rate, err := number(output, `Requests/sec:\s+([0-9.]+)`)
		if err != nil {
			return 0, err
		}
		rates = append(rates, rate)
	}
	return median(rates), nil
}

// wrk loads the segment from the other host; an answer that is no success fails the measurement.
func (b *bed) wrk(ctx context.Context, env []string, connections int, args ...string) (string, error) {
	args = append([]string{"-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections), "-d", fmt.Sprint(b.seconds, "s"), "--timeout", "30s"}, args...)
	load, err := process.Start(b.client, process.Options{Name: "wrk", Env: append(b.libraries(), env...)}, filepath.Join(b.tools, "usr/bin/wrk"), args...)
	if err != nil {
		return "", err
	}
	err = load.WaitEnd(ctx)
	output := load.Tail(50, "")
	if err == nil && (strings.Contains(output, "Non-2xx") || strings.Contains(output, "Socket errors")) {
		err = fmt.Errorf("requests failed:\n%s", output)
	}
	return output, err
}

func number(text, pattern string) (float64, error) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no %s in:\n%s", pattern, text)
	}
	return strconv.ParseFloat(m[1], 64)
}

// dependency is what of a config depends on the machine.
type dependency string

const (
	nothing dependency = "one config for all of a profile"
	snippet dependency = "a snippet with the host name"
	worker  dependency = "the worker itself, by the host name"
)

// writeSite writes n groups, one per machine, that share a few profiles. The documents are of a real worker's size: some files and
// units, and the machine's host name in them where something depends on it.
func writeSite(dir string, n int, depends dependency) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, sub := range []string{"groups", "profiles", "ignition"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for i := range profileCount {
		if err := writeProfile(dir, i, depends); err != nil {
			return err
		}
	}
	if depends == snippet {
		text := "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      overwrite: true\n      mode: 0644\n      contents: {inline: \"{{.hostname}}\"}\n"
		if err := os.WriteFile(filepath.Join(dir, "ignition", "hostname.yaml"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for i := range n {
		text := fmt.Sprintf(`{"id": "node%d", "profile": "worker%d", "selector": {"mac": "52:54:00:%02x:%02x:%02x"}, "metadata": {"hostname": "node%d.example.com", "rack": "r%d"}}`+"\n",
			i, i%profileCount, i>>16&255, i>>8&255, i&255, i, i/40)
		if err := os.WriteFile(filepath.Join(dir, "groups", fmt.Sprintf("node%d.json", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func writeProfile(dir string, i int, depends dependency) error {
	profile := fmt.Sprintf(`id: worker%d
ignition_id: worker%d.yaml
boot:
  kernel: /assets/vmlinuz
  initrd: [/assets/initrd.img]
  args: ["initrd=initrd.img", "ignition.firstboot", "ignition.platform.id=metal", "ignition.config.url=${matchd:config-url}"]
`, i, i)
	if depends == snippet {
		profile += "snippets: [hostname.yaml]\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "profiles", fmt.Sprintf("worker%d.yaml", i)), []byte(profile), 0o644); err != nil {
		return err
	}
	var doc strings.Builder
	name := fmt.Sprintf("worker%d", i)
	if depends == worker {
		name = "{{.hostname}}"
	}
	fmt.Fprintf(&doc, "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      mode: 0644\n      contents: {inline: %q}\n", name)
	for f := range 12 {
		fmt.Fprintf(&doc, "    - path: /etc/bench/file%d\n      mode: 0644\n      contents:\n        inline: |\n", f)
		for line := range 8 {
			fmt.Fprintf(&doc, "          setting_%d_%d = value of some length, as configuration files have\n", f, line)
		}
	}
	doc.WriteString("systemd:\n  units:\n")
	for u := range 6 {
		fmt.Fprintf(&doc, "    - name: bench%d.service\n      enabled: true\n      contents: |\n        [Unit]\n        Description=Unit %d\n        [Service]\n        ExecStart=/usr/bin/true\n        [Install]\n        WantedBy=multi-user.target\n", u, u)
	}
	return os.WriteFile(filepath.Join(dir, "ignition", fmt.Sprintf("worker%d.yaml", i)), []byte(doc.String()), 0o644)
}
