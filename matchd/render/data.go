package render

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/profiles"
)

// Names at the root of the data that no metadata and no selector can take.
const (
	requestKey = "request" // matchbox's: what the machine asked
	ours       = "matchd"  // everything that matchbox does not have
)

// Input is what a document may speak of: one machine's match and request.
type Input struct {
	Group    *groups.Group     // nil: no metadata and no selector
	Profile  *profiles.Profile // nil: .matchd.profile is empty
	Labels   groups.Labels     // .request.query
	RawQuery string            // .request.raw_query
	Machine  map[string]any    // .matchd.machine: what the server knows of the machine
	Server   map[string]any    // .matchd.server: how the machine reaches the server
}

// Data returns matchbox's data model: the group's metadata at the root, overlaid by its selector with lower-case keys, and
// .request; ours is all under .matchd. Values are JSON's: strings, float64, bool, nil, []any, map[string]any.
func (in Input) Data() map[string]any {
	data := in.identity()
	query := make(map[string]string, len(in.Labels))
	for key, value := range in.Labels {
		query[key] = value
	}
	data[requestKey] = map[string]any{"query": query, "raw_query": in.RawQuery}
	data[ours] = map[string]any{
		"machine": orEmpty(in.Machine),
		"server":  orEmpty(in.Server),
		"group":   describeGroup(in.Group),
		"profile": describeProfile(in.Profile),
	}
	return data
}

// identity returns metadata overlaid by the selector.
func (in Input) identity() map[string]any {
	data := make(map[string]any)
	if in.Group == nil {
		return data
	}
	for key, value := range in.Group.Metadata {
		data[key] = value
	}
	selector, err := in.Group.Selector.Normalized()
	if err != nil {
		selector = in.Group.Selector // such a group matches no machine; a trial rendering still sees its values
	}
	keys := make([]string, 0, len(selector))
	for key := range selector {
		keys = append(keys, key)
	}
	slices.Sort(keys) // "mac" and "MAC" become one name: the greater key wins, always
	for _, key := range keys {
		data[strings.ToLower(key)] = selector[key]
	}
	return data
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

func describeGroup(g *groups.Group) map[string]any {
	if g == nil {
		return map[string]any{}
	}
	selector := make(map[string]any, len(g.Selector))
	for key, value := range g.Selector {
		selector[key] = value
	}
	return map[string]any{
		"id": g.ID, "name": g.Name, "profile": g.Profile, "priority": float64(g.Priority), "selector": selector, "metadata": orEmpty(g.Metadata),
	}
}

func describeProfile(p *profiles.Profile) map[string]any {
	if p == nil {
		return map[string]any{}
	}
	return map[string]any{
		"id": p.ID, "name": p.Name, "ignition_id": p.IgnitionID, "generic_id": p.GenericID, "cloud_id": p.CloudID, "cluster": p.Cluster, "os": p.OS,
		"boot": map[string]any{"kernel": p.Boot.Kernel, "initrd": stringList(p.Boot.Initrd), "args": stringList(p.Boot.Args)},
	}
}

func stringList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// key returns a digest of everything in data that the template reads: equal keys give equal output.
func (d *dependencies) key(data map[string]any) string {
	if d.nothing() {
		return ""
	}
	hash := sha256.New()
	add := func(v any) {
		encoded, err := json.Marshal(v)
		if err != nil { // no JSON value: spell it out
			encoded = fmt.Appendf(nil, "%#v", v)
		}
		hash.Write(binary.AppendUvarint(nil, uint64(len(encoded))))
		hash.Write(encoded)
	}
	if d.everything {
		add(data)
	}
	for _, path := range d.paths {
		value, found := lookUp(data, path)
		add(found)
		add(value)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// lookUp follows path as far as it goes. A value that is no map ends it: the rendering will fail there, for all that share it.
func lookUp(v any, path []string) (value any, found bool) {
	for _, name := range path {
		switch m := v.(type) {
		case map[string]any:
			if v, found = m[name]; !found {
				return nil, false
			}
		case map[string]string:
			if v, found = m[name]; !found {
				return nil, false
			}
		default:
			return v, false
		}
	}
	return v, true
}
