package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	canonical "github.com/clarketm/json" // leaves empty structs out, as Butane does
	"github.com/coreos/ignition/v2/config/merge"

	"github.com/matchd/matchd/matchd/fault"
)

// MaxResult is the size of the largest config that is given to a machine, in bytes.
const MaxResult = 8 * 1024 * 1024

// Config is an Ignition config as a machine gets it.
type Config struct {
	JSON    []byte // canonical: compact, without empty structs
	Version string // of the Ignition specification, such as "3.4.0"
	Digest  string // SHA-256 of JSON in hexadecimal digits

	Warnings []Problem // what is odd about the composition, but no reason to refuse it
}

// ETag returns the strong entity tag of the config.
func (c *Config) ETag() string { return `"` + c.Digest + `"` }

// Composition names the documents of one config, all of kind ignition.
type Composition struct {
	Base     *Document
	Snippets []*Document // merged over the base in order: the later one wins, as Ignition's Merge has it
	Version  string      // spec version to translate up to; "": the highest that a document declares

	AllowUnhashed  bool // sources over http and https need no hash
	RefuseOverlaps bool // two documents that set the contents of one file, where neither says overwrite, are a problem and no warning
}

// Key returns a digest of all data that the documents read. Configs with equal keys are equal.
func (c Composition) Key(data map[string]any) string { return Keys(c.documents(), data) }

// Keys returns a digest of all data that documents read, as [Composition.Key] does.
func Keys(documents []*Document, data map[string]any) string {
	keys := make([]string, len(documents))
	for i, d := range documents {
		keys[i] = d.Key(data)
	}
	return strings.Join(keys, "+")
}

// Static reports whether the config is the same for every machine.
func (c Composition) Static() bool {
	for _, d := range c.documents() {
		if !d.Static() {
			return false
		}
	}
	return true
}

// Documents returns the documents in the order of merging.
func (c Composition) Documents() []*Document { return c.documents() }

func (c Composition) documents() []*Document {
	return append([]*Document{c.Base}, c.Snippets...)
}

// Config renders and merges the documents. The result is valid and not empty; its version is the highest that a document
// declares or Version, if that is higher. A lower Version is an error, since there is no way to translate down.
//
// Errors are of kind Invalid with *[Report] in their chain, listing the problems of all documents, or Unavailable when ctx ended.
func (c Composition) Config(ctx context.Context, data map[string]any) (*Config, error) {
	parts, err := c.parts(ctx, data)
	if err != nil {
		return nil, err
	}
	config, err := c.merge(parts)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err)
	}
	return config, nil
}

// parts renders each document by itself; errors are those of Config.
func (c Composition) parts(ctx context.Context, data map[string]any) ([]*part, error) {
	var all Report
	var parts []*part
	for _, d := range c.documents() {
		rendered, err := d.result(ctx, data)
		var report *Report
		switch {
		case errors.As(err, &report):
			all.Problems = append(all.Problems, report.all(c.AllowUnhashed)...)
			all.Omitted += report.Omitted
		case err != nil:
			return nil, err
		case rendered.part == nil:
			return nil, fault.New(fault.Invalid, "%s is no Ignition document", d.path())
		default:
			parts = append(parts, rendered.part)
			if !c.AllowUnhashed {
				all.Problems = append(all.Problems, rendered.part.unhashed...)
			}
		}
	}
	if len(all.Problems) > 0 {
		return nil, fault.Wrap(fault.Invalid, &all)
	}
	return parts, nil
}

func (c Composition) merge(parts []*part) (*Config, error) {
	r := &reporter{name: c.title(), lenient: c.Base.lenient}
	merged := c.fold(r, parts)
	problems, warnings := checkNodes(parts)
	if c.RefuseOverlaps {
		problems, warnings = append(problems, warnings...), nil
	}
	for _, p := range problems {
		r.put(p)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if isEmpty(merged.json) {
		r.add(0, 0, "%s", emptyConfig)
		return nil, r.err()
	}
	sum := sha256.Sum256(merged.json)
	return &Config{JSON: merged.json, Version: merged.version, Digest: hex.EncodeToString(sum[:]), Warnings: warnings}, nil
}

// fold merges the parts in order. The result is of use only if r has no problems.
func (c Composition) fold(r *reporter, parts []*part) (merged *part) {
	defer r.catch()
	target, ok := c.target(r, parts)
	if !ok || len(parts) == 1 && parts[0].version == target.version {
		return parts[0]
	}
	config, _, err := fold(target, parts)
	if err != nil {
		r.add(0, 0, "merging: %v", err)
		return nil
	}
	// Documents that differ from ones that were validated together in the contents of files only are valid together, too.
	shape := shapeOf(target, parts)
	if !c.Base.sound.has(shape) {
		entries := target.validate(config)
		r.addEntries(entries, false)
		if len(entries.Entries) == 0 {
			c.Base.sound.add(shape)
		}
	}
	out, err := canonical.Marshal(config)
	if err != nil {
		r.add(0, 0, "writing what was merged: %v", err)
	}
	if len(out) > MaxResult {
		r.add(0, 0, "the config has %d bytes, at most %d are allowed", len(out), MaxResult)
	}
	return &part{json: out, version: target.version}
}

// fold merges parts in order; the later one wins. It returns the transcript of every step: the first merges the second part into the first.
func fold(target spec, parts []*part) (any, []merge.Transcript, error) {
	var transcripts []merge.Transcript
	merged, err := parts[0].as(target)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range parts[1:] {
		child, err := p.as(target)
		if err != nil {
			return nil, nil, err
		}
		result, transcript := target.merge(merged, child)
		merged, transcripts = result, append(transcripts, transcript)
	}
	return merged, transcripts, nil
}

// target returns the spec of the result.
func (c Composition) target(r *reporter, parts []*part) (spec, bool) {
	highest, first := 0, c.Base // the first document of that version
	for i, p := range parts {
		if index := specIndex(p.version); index > highest {
			highest, first = index, c.documents()[i]
		}
	}
	known := specs()
	if c.Version == "" {
		return known[highest], true
	}
	wanted := specIndex(c.Version)
	switch {
	case wanted < 0:
		r.add(0, 0, "ignition_version %q %s", c.Version, whyNoSpec(c.Version))
	case wanted < highest:
		r.add(0, 0, "ignition_version %s is lower than the %s that %s declares, and nothing translates down", c.Version, known[highest].version, first.path())
	default:
		return known[wanted], true
	}
	return spec{}, false
}

// title names the composition in a report: "ignition/base.yaml + ignition/ntp.yaml".
func (c Composition) title() string {
	names := make([]string, 0, 1+len(c.Snippets))
	for _, d := range c.documents() {
		names = append(names, d.path())
	}
	return strings.Join(names, " + ")
}
