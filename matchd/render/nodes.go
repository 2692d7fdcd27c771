package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
)

// node is what a config puts at a path.
type node struct {
	path      string
	what      string // "file", "directory", "link", "file system"
	contents  bool   // a file that has contents
	overwrite bool
}

// nodesOf returns what an Ignition config puts at which path, in its order.
func nodesOf(config []byte) ([]node, error) {
	type entry struct {
		Path      string `json:"path"`
		Overwrite *bool  `json:"overwrite"`
		Contents  struct {
			Source *string `json:"source"`
		} `json:"contents"`
	}
	var probe struct {
		Storage struct {
			Files       []entry `json:"files"`
			Directories []entry `json:"directories"`
			Links       []entry `json:"links"`
			Filesystems []entry `json:"filesystems"`
		} `json:"storage"`
	}
	if err := json.Unmarshal(config, &probe); err != nil {
		return nil, err
	}
	var nodes []node
	add := func(what string, list []entry) {
		for _, e := range list {
			if e.Path != "" {
				nodes = append(nodes, node{e.Path, what, e.Contents.Source != nil, e.Overwrite != nil && *e.Overwrite})
			}
		}
	}
	add("file", probe.Storage.Files)
	add("directory", probe.Storage.Directories)
	add("link", probe.Storage.Links)
	add("file system", probe.Storage.Filesystems)
	return nodes, nil
}

// claim is a node with the part that put it there.
type claim struct {
	node
	part *part
}

// problem returns a problem at the place where the author wrote the path.
func (c claim) problem(format string, args ...any) Problem {
	at := c.part.places[c.path]
	return c.part.reporter.problem(at.line, at.column, format, args...)
}

// checkNodes looks at what the parts put where, together: what lies below a file, and whose contents are lost. The former are problems,
// the latter warnings.
func checkNodes(parts []*part) (problems, warnings []Problem) {
	merged := map[string]claim{} // as in Ignition's Merge, files, directories and links share one space of names
	var mounts []claim
	for _, p := range parts {
		for _, n := range p.nodes {
			now := claim{n, p}
			before, again := merged[n.path]
			switch {
			case n.what == "file system":
				mounts = append(mounts, now)
				continue
			case again && before.part != p && before.contents && n.contents && !before.overwrite && !n.overwrite:
				warnings = append(warnings, now.problem("storage.files: %s: these contents replace those of %s, and neither says overwrite: true", n.path, before.part.reporter.name))
			}
			now.contents = now.contents || before.contents && n.what == before.what
			merged[n.path] = now
		}
	}
	for _, at := range slices.Sorted(maps.Keys(merged)) {
		problems = append(problems, merged[at].below(merged)...)
	}
	for _, mount := range mounts {
		problems = append(problems, mount.below(merged)...)
	}
	return problems, warnings
}

// below tells whether the node lies below a file; Ignition refuses what lies below a link.
func (c claim) below(merged map[string]claim) []Problem {
	for dir := path.Dir(c.path); len(dir) > 1; dir = path.Dir(dir) {
		file, found := merged[dir]
		if !found || file.what != "file" {
			continue
		}
		whose := ""
		if file.part != c.part {
			whose = fmt.Sprintf(" in %s", file.part.reporter.name)
		}
		return []Problem{c.problem("the %s %s lies below %s, which is a file%s", c.what, c.path, dir, whose)}
	}
	return nil
}
