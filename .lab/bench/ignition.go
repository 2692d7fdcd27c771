package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// crowd is how many machines ask for their config at the same moment, as after a power failure.
const crowd = 10_000

// How Ignition asks again after a 5xx or a connection that failed.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// stormResult is what came of one crowd.
type stormResult struct {
	took      time.Duration
	latencies []time.Duration // from the first request of a machine to its config, in order
	refused   int             // answers "come back later"
}

func (r *stormResult) percentile(p int) time.Duration {
	return r.latencies[(len(r.latencies)-1)*p/100].Round(time.Millisecond)
}

func benchIgnition(ctx context.Context, o *options) error {
	fmt.Printf("%d machines of %d profiles ask for /ignition at the same moment, each on a connection of its own, and ask again as Ignition does.\n\n", crowd, profileCount)
	fmt.Println("| what depends on the machine | | configs per second | p50 | p99 | last | told to come back | ms of a core per config | MiB resident |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, depends := range []dependency{nothing, snippet, worker} {
		if err := measureStorm(ctx, o, depends); err != nil {
			return fmt.Errorf("%s: %w", depends, err)
		}
	}
	return nil
}

func measureStorm(ctx context.Context, o *options, depends dependency) error {
	b, err := newBed(o)
	if err != nil {
		return err
	}
	defer b.Close()
	site := filepath.Join(b.scratch, "site")
	if err := writeSite(site, crowd, depends); err != nil {
		return err
	}
	server, err := b.startMatchd(ctx, "--site", site, "--tftp", "", "--dhcp-interfaces", "lan0=off")
	if err != nil {
		return err
	}
	for _, when := range []string{"first", "again"} {
		before, err := processorTime(server.PID())
		if err != nil {
			return err
		}
		r, err := b.storm(ctx, depends != nothing)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, server.Tail(10, "  "))
		}
		after, err := processorTime(server.PID())
		if err != nil {
			return err
		}
		resident, err := memory(server.PID())
		if err != nil {
			return err
		}
		spent := float64((after - before).Milliseconds()) / crowd
		fmt.Printf("| %s | %s | %.0f | %v | %v | %v | %d | %.1f | %.0f |\n", depends, when, crowd/r.took.Seconds(), r.percentile(50), r.percentile(99),
			r.percentile(100), r.refused, spent, resident)
	}
	return server.Stop()
}

// ticks per second of the times in /proc, on every Linux.
const ticks = 100

// processorTime returns what a process has spent so far.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of process %d has %d fields", pid, len(fields))
	}
	var total time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * time.Second / ticks
	}
	return total, nil
}

// storm lets all machines ask at once and waits until each has its config. named says that a config holds its machine's name.
func (b *bed) storm(ctx context.Context, named bool) (*stormResult, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: b.client.DialContext, DisableKeepAlives: true}}
	r := &stormResult{latencies: make([]time.Duration, crowd)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards refused
	var machines sync.WaitGroup
	start := time.Now()
	for i := range crowd {
		machines.Go(func() {
			refused, err := ask(ctx, client, i, named)
			if err != nil {
				cancel(fmt.Errorf("machine %d: %w", i, err))
			}
			r.latencies[i] = time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			r.refused += refused
		})
	}
	machines.Wait()
	r.took = time.Since(start)
	slices.Sort(r.latencies)
	return r, context.Cause(ctx)
}

// ask gets one machine's config, as often as it takes, and returns how often it was told to come back.
func ask(ctx context.Context, client *http.Client, i int, named bool) (refused int, err error) {
	url := fmt.Sprintf("http://%s:8080/ignition?mac=52-54-00-%02x-%02x-%02x", serverAddr.Addr(), i>>16&255, i>>8&255, i&255)
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		body, status, err := get(ctx, client, url)
		switch {
		case ctx.Err() != nil:
			return refused, nil // somebody else has the reason
		case err == nil && status == http.StatusOK:
			if want := fmt.Sprintf("data:,node%d.example.com", i); named && !bytes.Contains(body, []byte(want)) {
				return refused, fmt.Errorf("its config does not hold %s", want)
			}
			return refused, nil
		case err == nil && status < http.StatusInternalServerError:
			return refused, fmt.Errorf("status %d: %s", status, body)
		}
		refused++
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return refused, nil
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (body []byte, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1")
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err == nil && response.StatusCode == http.StatusOK && len(body) == 0 {
		err = errors.New("the config is empty")
	}
	return body, response.StatusCode, err
}
