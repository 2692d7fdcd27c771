package firmware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	actorIgnition  = "Ignition"
	actorInstaller = "installer"
)

// configArguments are the kernel arguments that name a config, with who reads it (Ignition's docs/supported-platforms.md, Flatcar's patches to
// it; coreos-installer's getting-started, "kernel command line").
var configArguments = [...]struct{ name, actor string }{
	{"ignition.config.url=", actorIgnition}, {"flatcar.config.url=", actorIgnition}, {"coreos.config.url=", actorIgnition},
	{"coreos.inst.ignition_url=", actorInstaller},
}

// maxPointers is how many configs may replace each other before the boot counts as stuck.
const maxPointers = 4

// configure plays who looks for the config behind the kernel, if its arguments name one. No version of the config's spec is asked for: which one the
// system reads is not known here.
func (r *run) configure(ctx context.Context) {
	for _, word := range strings.Fields(r.trace.Args) {
		for _, argument := range configArguments {
			if location, found := strings.CutPrefix(word, argument.name); found {
				r.trace.Config = location
				r.fetchConfig(ctx, argument.actor, location)
				return
			}
		}
	}
}

// fetchConfig fetches a config and what it is replaced by, each told as a step.
func (r *run) fetchConfig(ctx context.Context, actor, location string) {
	var header http.Header
	for range maxPointers {
		text, err := r.getWith(ctx, location, header)
		switch {
		case errors.Is(err, ErrElsewhere):
			r.stepOf(actor, "takes its config %s to be there: %v", location, err)
			r.trace.Configured = true
			return
		case err != nil:
			r.fail("would boot %s, but %s cannot load its config %s: %v", r.trace.Kernel, actor, location, err)
			return
		}
		r.add(Step{Actor: actor, Text: "has the config " + location, Bytes: int64(len(text)), Content: string(text)})
		next, with, err := replacement(text)
		if err != nil {
			r.fail("would boot %s, but its config %s %v", r.trace.Kernel, location, err)
			return
		}
		if next == "" || actor == actorInstaller { // which writes it to the disk unread
			r.trace.Configured = true
			return
		}
		location, header = next, with
	}
	r.fail("would boot %s, but its configs replace each other without end", r.trace.Kernel)
}

// replacement returns what a config is replaced by (ignition.config.replace, spec 3.0), with the headers to ask with; empty if by nothing.
func replacement(text []byte) (source string, header http.Header, err error) {
	var config struct {
		Ignition struct {
			Version string `json:"version"`
			Config  struct {
				Replace struct {
					Source  string `json:"source"`
					Headers []struct {
						Name  string `json:"name"`
						Value string `json:"value"`
					} `json:"httpHeaders"`
				} `json:"replace"`
			} `json:"config"`
		} `json:"ignition"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return "", nil, fmt.Errorf("is no JSON: %w", err)
	}
	if config.Ignition.Version == "" {
		return "", nil, errors.New("has no ignition.version")
	}
	replace := &config.Ignition.Config.Replace
	for _, h := range replace.Headers {
		if header == nil {
			header = http.Header{}
		}
		header.Add(h.Name, h.Value)
	}
	return replace.Source, header, nil
}
