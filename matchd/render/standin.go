package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/profiles"
)

// Bounds of the search for what else is wrong with a template that has failed.
const (
	maxFailures    = 20          // failed actions that are reported, the first one included
	maxFurtherTime = time.Second // beyond the execution that failed first
)

// standIn is how the text starts that stands for an action that has failed; its number follows, so that no two stand-ins are equal.
const standIn = "stand-in-"

// execute runs the document's template. The error is a *[Report], or that of ctx. A report goes on behind the first action that failed: an author who
// has three mistakes shall not need three attempts.
func (d *Document) execute(ctx context.Context, data map[string]any) (*text, error) {
	rendered, err := d.program.run(ctx, data)
	var failed template.ExecError
	switch {
	case err == nil:
		return rendered, nil
	case errors.Is(err, errNoChance):
		return nil, fmt.Errorf("rendering %s: %w", d.path(), context.Cause(ctx))
	case !errors.As(err, &failed):
		return nil, &Report{Problems: []Problem{templateProblem(d.path(), d.source, err)}}
	}
	ctx, cancel := context.WithTimeout(ctx, maxFurtherTime)
	defer cancel()
	return nil, d.further(ctx, data, failed)
}

// further reports an action's failure and what else is certainly wrong. Each action that fails is replaced by a stand-in, which decides nothing: no branch
// and no variable hangs on it.
func (d *Document) further(ctx context.Context, data map[string]any, failed template.ExecError) error {
	r := &reporter{name: d.path()}
	r.put(templateProblem(d.path(), d.source, failed))
	p, err := newProgram(d.path(), d.source) // another one, since its nodes are replaced
	if err != nil {
		return r.err()
	}
	whole := true
	for failures := 1; failures < maxFailures; failures++ {
		replaced, complete := p.replace(templateOffset(d.source, failed), fmt.Sprint(standIn, failures))
		if !replaced {
			break
		}
		whole = whole && complete
		rendered, err := p.run(ctx, data)
		if err == nil {
			if whole {
				d.certain(r, rendered)
			}
			break
		}
		if !errors.As(err, &failed) {
			break
		}
		r.put(templateProblem(d.path(), d.source, failed))
	}
	return r.err()
}

// replace puts a text in the place of the action that stands at an offset of the source. It cannot if variables or loops depend on that action.
// complete says that nothing but the action's own text is missing from the output then.
func (p *program) replace(offset int, written string) (replaced, complete bool) {
	var found actionPlace
	for _, t := range p.tmpl.Templates() {
		if t.Tree != nil {
			found.search(t.Root, offset)
		}
	}
	if found.list == nil {
		return false, false
	}
	node := found.list.Nodes[found.index]
	action, simple := node.(*parse.ActionNode)
	switch {
	case simple && len(action.Pipe.Decl) > 0, !simple && steering.MatchString(node.String()):
		return false, false
	case !simple:
		written = ""
	}
	found.list.Nodes[found.index] = &parse.TextNode{NodeType: parse.NodeText, Pos: node.Position(), Text: []byte(written)}
	return true, simple
}

// steering finds what makes the rest of a template depend on a block: a variable that is set, or the end of a loop.
var steering = regexp.MustCompile(`=|\{\{(break|continue)\}\}`)

// actionPlace is where an action stands in a template.
type actionPlace struct {
	list  *parse.ListNode
	index int
	at    parse.Pos
}

// search looks for the last action that starts at offset or before it.
func (p *actionPlace) search(list *parse.ListNode, offset int) {
	if list == nil {
		return
	}
	for i, node := range list.Nodes {
		var branch *parse.BranchNode
		switch n := node.(type) {
		case *parse.ActionNode, *parse.TemplateNode:
		case *parse.IfNode:
			branch = &n.BranchNode
		case *parse.RangeNode:
			branch = &n.BranchNode
		case *parse.WithNode:
			branch = &n.BranchNode
		default:
			continue
		}
		if at := node.Position(); int(at) <= offset && (p.list == nil || at > p.at) {
			*p = actionPlace{list: list, index: i, at: at}
		}
		if branch != nil {
			p.search(branch.List, offset)
			p.search(branch.ElseList, offset)
		}
	}
}

// certain adds to r what is wrong with a text that holds stand-ins, whatever stands there in the end: mistakes in lines that the author wrote himself, of
// a Butane config that can be read. In JSON, and in braces over several lines, nobody can tell what hangs on what.
func (d *Document) certain(r *reporter, rendered *text) {
	content := bytes.TrimSpace(rendered.out)
	if d.kind != profiles.Ignition || len(content) == 0 || content[0] == '{' {
		return
	}
	tried := &reporter{name: d.path(), text: rendered, lenient: d.lenient, wary: true}
	root := decodeYAML(tried)
	if root == nil || hasWideFlow(root) {
		return
	}
	for _, key := range []string{"variant", "version"} { // what both say decides what every line may hold
		if n := field(root.Content[0], key); n == nil || !rendered.asWritten(n.Line) {
			return
		}
	}
	unnamed := hasNamelessUnit(rendered, root)
	apart := &Document{kind: d.kind, name: d.name, source: d.source, lenient: d.lenient} // learns nothing for others
	apart.ignition(tried, quickly)
	for _, p := range tried.report.Problems {
		if p.Line > 0 && p.origin == literal && !strings.Contains(p.What, standIn) && !(unnamed && strings.HasPrefix(p.What, "systemd")) {
			r.put(p)
		}
	}
}

// hasNamelessUnit reports whether the name of a unit is not as its author wrote it: its suffix decides what the unit may hold.
func hasNamelessUnit(t *text, root *yaml.Node) bool {
	units := field(field(root.Content[0], "systemd"), "units")
	if units == nil {
		return false
	}
	for _, unit := range units.Content {
		if name := field(unit, "name"); name == nil || !t.asWritten(name.Line) {
			return true
		}
	}
	return false
}

// hasWideFlow reports whether a map or list in YAML's flow style extends over several lines.
func hasWideFlow(n *yaml.Node) bool {
	for _, child := range n.Content {
		if n.Style&yaml.FlowStyle != 0 && child.Line != n.Line || hasWideFlow(child) {
			return true
		}
	}
	return false
}

// standsAlone reports whether a line of the output, from 1, is as the author wrote it, and so is all that YAML has below it, and the keys above it.
func (t *text) standsAlone(n int) bool {
	if !t.asWritten(n) {
		return false
	}
	depth := depthOf(t.line(n))
	for i := n + 1; i <= len(t.lines()); i++ {
		line := t.line(i)
		if strings.TrimSpace(line) != "" && depthOf(line) <= depth {
			break
		}
		if !t.asWritten(i) {
			return false
		}
	}
	for i := n - 1; i >= 1 && depth > 0; i-- {
		line := t.line(i)
		above := depthOf(line)
		if strings.TrimSpace(line) == "" || above >= depth {
			continue
		}
		depth = above
		if !t.asWritten(i) && depth%2 == 0 { // a list entry's first line is a sibling of what is below it
			return false
		}
	}
	return true
}

// depthOf tells how deep a line of YAML is: a list entry is below a key in the same column.
func depthOf(line string) int {
	content := strings.TrimLeft(line, " ")
	depth := 2 * (len(line) - len(content))
	if strings.HasPrefix(content, "- ") {
		depth++
	}
	return depth
}
