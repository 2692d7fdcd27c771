package render

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	canonical "github.com/clarketm/json"
	"github.com/coreos/ignition/v2/config/merge"
	"github.com/coreos/vcontext/path"

	"github.com/matchd/matchd/matchd/fault"
)

// Source says which documents gave one entry of a config.
type Source struct {
	Kind      string   `json:"kind"`      // "file", "unit", "user", …
	Name      string   `json:"name"`      // its path or name
	Documents []string `json:"documents"` // in the order of merging: where they differ, the last one won
}

// sections are the lists of a config, in the order in which they are told of, with what their entries are called.
var sections = [...][2]string{
	{"passwd.users", "user"}, {"passwd.groups", "group"}, {"storage.disks", "disk"}, {"storage.raid", "RAID"}, {"storage.luks", "LUKS volume"},
	{"storage.filesystems", "file system"}, {"storage.directories", "directory"}, {"storage.files", "file"}, {"storage.links", "link"},
	{"systemd.units", "unit"}, {"kernelArguments.shouldExist", "kernel argument"}, {"kernelArguments.shouldNotExist", "no kernel argument"},
	{"ignition.config.merge", "merged config"}, {"ignition.security.tls.certificateAuthorities", "certificate authority"},
}

// Provenance returns which document each file, unit, user and other entry of the composition's config came from, as Ignition's transcript of
// merging has it. Errors are those of [Composition.Config].
func (c Composition) Provenance(ctx context.Context, data map[string]any) ([]Source, error) {
	parts, err := c.parts(ctx, data)
	if err != nil {
		return nil, err
	}
	r := &reporter{name: c.title()}
	target, ok := c.target(r, parts)
	if !ok {
		return nil, fault.Wrap(fault.Invalid, r.err())
	}
	merged, transcripts, err := fold(target, parts)
	if err != nil {
		return nil, fault.New(fault.Invalid, "merging %s: %w", c.title(), err)
	}
	out, err := canonical.Marshal(merged)
	if err != nil {
		return nil, fault.New(fault.Invalid, "writing what was merged: %w", err)
	}
	var config any
	if err := json.Unmarshal(out, &config); err != nil {
		return nil, fault.New(fault.Invalid, "reading what was merged: %w", err)
	}
	owners := c.owners(transcripts)
	var sources []Source
	for _, section := range sections {
		for i, entry := range listAt(config, section[0]) {
			item := fmt.Sprintf("%s.%d", section[0], i)
			sources = append(sources, Source{section[1], nameOf(entry), owners(item)})
		}
	}
	return sources, nil
}

// owners follows every entry of the result back through the transcripts. An entry is named as in "storage.files.3".
func (c Composition) owners(transcripts []merge.Transcript) func(item string) []string {
	documents := c.documents()
	owners := func(string) []string { return []string{documents[0].path()} }
	for i, transcript := range transcripts {
		before, child := owners, documents[i+1].path()
		now := map[string][]string{}
		for _, m := range transcript.Mappings {
			to, from := itemOf(m.To), itemOf(m.From)
			if to == "" || from == "" {
				continue
			}
			origin := []string{child}
			if m.From.Tag == merge.TAG_PARENT {
				origin = before(from)
			}
			for _, document := range origin {
				if !slices.Contains(now[to], document) {
					now[to] = append(now[to], document)
				}
			}
		}
		owners = func(item string) []string { return now[item] }
	}
	return func(item string) []string {
		found := slices.Clone(owners(item))
		slices.SortStableFunc(found, func(a, b string) int { return c.position(a) - c.position(b) })
		return found
	}
}

func (c Composition) position(document string) int {
	return slices.IndexFunc(c.documents(), func(d *Document) bool { return d.path() == document })
}

// itemOf returns the part of a path up to its first list index, "" if it has none.
func itemOf(p path.ContextPath) string {
	var b strings.Builder
	for _, element := range p.Path {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, element)
		if _, index := element.(int); index {
			return b.String()
		}
	}
	return ""
}

func listAt(config any, at string) []any {
	for key := range strings.SplitSeq(at, ".") {
		m, _ := config.(map[string]any)
		config = m[key]
	}
	list, _ := config.([]any)
	return list
}

// nameOf returns what identifies an entry of a list.
func nameOf(entry any) string {
	if text, ok := entry.(string); ok {
		return text
	}
	m, _ := entry.(map[string]any)
	for _, key := range []string{"path", "name", "device", "source"} {
		if name, ok := m[key].(string); ok {
			return name
		}
	}
	return ""
}
