// Command bench measures matchd beside the servers that it is compared with, each in the same run on the same machine, and prints
// tables for docs/performance.md. It needs root, `make build` and `.lab/setup --bench`; all traffic stays in network namespaces
// that it makes and that end with it.
//
//	cd .lab && go run ./bench                 everything, about fifteen minutes
//	cd .lab && go run ./bench -only dhcp      dhcp, web, ignition, assets, separated by commas
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	only    string
	matchd  string // the binary
	tools   string // where `.lab/setup --bench` unpacked the other servers
	scratch string // where servers keep their state: the disk whose flushes are measured
	seconds int    // of one measurement
	rounds  int    // of each measurement; the median counts
	rates   string // four-way exchanges per second that are tried
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "dhcp,web,ignition,assets", "what to measure")
	flag.StringVar(&o.matchd, "matchd", "../bin/matchd", "the binary")
	flag.StringVar(&o.tools, "tools", "../.cache/lab/bench", "tree of the other servers")
	flag.StringVar(&o.scratch, "scratch", "../.cache/lab/bench-state", "directory for state")
	flag.IntVar(&o.seconds, "seconds", 10, "length of one measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "repetitions, the median counts")
	flag.StringVar(&o.rates, "rates", "300,1000,2000,4000,6000,8000", "DHCP exchanges per second to try")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parts are the measurements by name, in order.
var parts = []struct {
	name string
	run  func(context.Context, *options) error
}{{"dhcp", benchDHCP}, {"web", benchWeb}, {"ignition", benchIgnition}, {"assets", benchAssets}}

func run(ctx context.Context, o *options) error {
	for _, path := range []*string{&o.matchd, &o.tools, &o.scratch} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	if _, err := os.Stat(o.matchd); err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	if _, err := os.Stat(filepath.Join(o.tools, "usr/sbin/perfdhcp")); err != nil {
		return fmt.Errorf("%w: run .lab/setup --bench", err)
	}
	for _, p := range parts {
		if !strings.Contains(","+o.only+",", ","+p.name+",") {
			continue
		}
		fmt.Printf("\n## %s (%s)\n\n", p.name, time.Now().UTC().Format("2006-01-02 15:04 MST"))
		if err := p.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
