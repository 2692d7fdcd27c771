package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"go.yaml.in/yaml/v3"
)

// This file is the only one that imports Butane: its code has moved into the ignition module, and we shall follow.

// transpile turns r's text, a Butane config whose tree is root, into Ignition JSON. Every entry of Butane's report is a problem, warnings
// too: "unused key" is one. m spares Butane what it has seen, p compresses the contents of files; nil: nobody needs that. It returns nil if r has
// problems.
func transpile(r *reporter, root *yaml.Node, m *moulds, p *packer) []byte {
	if !checkHeader(r, root) {
		return nil
	}
	// Some versions of openshift do not compress, and with an author's own "compression" what was inline cannot be told from what was not.
	alone := field(root.Content[0], "variant").Value == "openshift" || bytes.Contains(r.text.out, []byte("compression"))
	if alone {
		return translate(r, root, p != nil)
	}
	out, shape, holes, hasHoles := m.cast(root)
	if out == nil {
		if out = translate(r, root, false); out == nil {
			return nil
		}
		if hasHoles {
			m.learn(root, shape, holes, out, func(text []byte) []byte {
				out, _, _ := config.TranslateBytes(text, butaneOptions(false))
				return out // nil if it has problems, which the original has not
			})
		}
	}
	if p != nil {
		return p.pack(out)
	}
	return out
}

// translate has Butane translate r's text. It returns nil if r has problems.
func translate(r *reporter, root *yaml.Node, compress bool) []byte {
	out, report, err := config.TranslateBytes(r.text.out, butaneOptions(compress))
	r.addEntries(report, true)
	if err != nil && len(report.Entries) == 0 {
		r.yamlError(err, root)
	}
	if r.err() != nil {
		return nil
	}
	return out
}

// butaneOptions returns Butane's options. No files directory: "local:" must not read the server's disk. Raw: the openshift variants give Ignition
// too, no MachineConfig.
func butaneOptions(compress bool) common.TranslateBytesOptions {
	options := common.TranslateBytesOptions{Raw: true}
	options.NoResourceAutoCompression = !compress
	return options
}

// checkHeader refuses what has no variant and version that Butane knows, with the position of what is wrong.
func checkHeader(r *reporter, root *yaml.Node) bool {
	if root == nil {
		r.add(0, 0, "%s", emptyConfig)
		return false
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode {
		r.add(top.Line, top.Column, "is neither a Butane config (a YAML map with variant and version) nor an Ignition config")
		return false
	}
	variant, version := field(top, "variant"), field(top, "version")
	switch {
	case variant == nil && field(top, "ignition") != nil:
		r.add(top.Line, top.Column, "an Ignition config must be JSON; Butane has variant and version")
	case variant == nil:
		r.add(top.Line, top.Column, "variant is missing: a Butane config starts with lines such as variant: fcos and version: 1.5.0")
	case version == nil:
		r.add(top.Line, top.Column, "version is missing: a Butane config has a line such as version: 1.5.0")
	case strings.Contains(version.Value, "experimental"):
		r.add(version.Line, version.Column, "version %s is experimental: only Ignition releases of exactly that state read what it gives", version.Value)
	default:
		return knownVersion(r, variant, version)
	}
	return false
}

// headers remembers the pairs of variant and version that Butane knows, once they have been asked for: there are some forty, and asking
// costs a tenth of a translation.
var headers sync.Map

// knownVersion asks Butane with a config of nothing but the header, so that the answer can be put at the right line.
func knownVersion(r *reporter, variant, version *yaml.Node) bool {
	header := [2]string{variant.Value, version.Value}
	if _, known := headers.Load(header); known {
		return true
	}
	_, _, err := config.TranslateBytes(fmt.Appendf(nil, "variant: %q\nversion: %q\n", variant.Value, version.Value), common.TranslateBytesOptions{Raw: true})
	var unknown common.ErrUnknownVersion
	switch {
	case errors.As(err, &unknown):
		r.add(version.Line, version.Column, "there is no Butane variant %q with version %q", variant.Value, version.Value)
	case errors.Is(err, common.ErrNoVariant), errors.Is(err, common.ErrRhcosVariantUnsupported):
		r.add(variant.Line, variant.Column, "%q is no variant of Butane", variant.Value)
	case errors.Is(err, common.ErrInvalidVersion):
		r.add(version.Line, version.Column, "version %q is not of the form 1.5.0", version.Value)
	default: // openshift wants more than a header: not our question here
		headers.Store(header, true)
		return true
	}
	return false
}
