package render

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/template"
	"text/template/parse"
)

// Bounds of one rendering. Whoever may write a template may not thereby stop the server.
const (
	MaxOutput = 8 * 1024 * 1024 // bytes that a template may give
	MaxSteps  = 1_000_000       // actions that a template may perform
)

var (
	errTooLong  = fmt.Errorf("the template gives more than %d MiB", MaxOutput>>20)
	errTooBusy  = fmt.Errorf("the template has not ended after %d steps", MaxSteps)
	errNoChance = errors.New("rendering was given up")
)

// program is a parsed template that knows what data it reads and that cannot run away.
type program struct {
	tmpl   *template.Template
	source string
	texts  map[*byte]int // first byte of each literal text → its offset in source
	reads  dependencies
}

// newProgram parses source; the error is a *Report.
func newProgram(name, source string) (*program, error) {
	tmpl, err := parseTemplate(name, source)
	if err != nil {
		return nil, err
	}
	if err := checkCalls(name, source, tmpl); err != nil {
		return nil, err
	}
	p := &program{tmpl: tmpl, source: source, texts: make(map[*byte]int)}
	for _, t := range tmpl.Templates() {
		if t.Tree == nil || t.Root == nil {
			continue
		}
		p.reads.list(t.Root, t.Name() == name)
		p.instrument(t.Root)
	}
	return p, nil
}

// instrument remembers where literal texts stand, and puts an empty text before every action: executing it writes nothing,
// but calls the writer, which counts. Without that, an empty loop over a large number would run unseen.
func (p *program) instrument(list *parse.ListNode) {
	if list == nil {
		return
	}
	nodes := make([]parse.Node, 0, 2*len(list.Nodes)+1)
	nodes = append(nodes, &parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos})
	for _, node := range list.Nodes {
		if constant := constantOf(node); constant != nil {
			node = constant
		}
		if literal, ok := node.(*parse.TextNode); ok {
			if len(literal.Text) > 0 {
				p.texts[&literal.Text[0]] = int(literal.Pos)
			}
			nodes = append(nodes, node)
			continue
		}
		nodes = append(nodes, &parse.TextNode{NodeType: parse.NodeText, Pos: node.Position()}, node)
		switch n := node.(type) {
		case *parse.IfNode:
			p.instrumentBranch(&n.BranchNode)
		case *parse.RangeNode:
			p.instrumentBranch(&n.BranchNode)
		case *parse.WithNode:
			p.instrumentBranch(&n.BranchNode)
		}
	}
	list.Nodes = nodes
}

// constantOf returns an action that only writes a constant text, such as {{"{{"}}, as the text that it writes; else nil.
func constantOf(node parse.Node) *parse.TextNode {
	action, ok := node.(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return nil
	}
	constant, ok := action.Pipe.Cmds[0].Args[0].(*parse.StringNode)
	if !ok {
		return nil
	}
	return &parse.TextNode{NodeType: parse.NodeText, Pos: constant.Pos + 1, Text: []byte(constant.Text)}
}

func (p *program) instrumentBranch(branch *parse.BranchNode) {
	p.instrument(branch.List)
	p.instrument(branch.ElseList)
}

// run executes the template. The error is text/template's, or that of a bound: errNoChance where ctx ended.
func (p *program) run(ctx context.Context, data map[string]any) (*text, error) {
	s := &sink{ctx: ctx, texts: p.texts}
	if err := p.tmpl.Execute(s, data); err != nil {
		return nil, err
	}
	return &text{out: s.out, source: p.source, segments: s.segments}, nil
}

// sink takes a template's output, within bounds, and remembers where it came from.
type sink struct {
	ctx      context.Context
	texts    map[*byte]int
	out      []byte
	segments []segment
	end      int // offset in the source after the last literal text
	steps    int
}

// Write implements [io.Writer].
func (s *sink) Write(b []byte) (int, error) {
	s.steps++
	switch {
	case s.steps > MaxSteps:
		return 0, errTooBusy
	case len(s.out)+len(b) > MaxOutput:
		return 0, errTooLong
	case s.steps%8 == 0 && s.ctx.Err() != nil: // not seldom: a step may have been a function that took its while
		return 0, errNoChance
	case len(b) == 0:
		return 0, nil
	}
	src, literal := s.texts[&b[0]]
	if literal {
		s.end = src + len(b)
	} else {
		src = s.end
	}
	s.segments = append(s.segments, segment{out: len(s.out), src: src, literal: literal})
	s.out = append(s.out, b...)
	return len(b), nil
}

// dependencies are the data that a template reads: paths from the root, or everything.
type dependencies struct {
	everything bool
	paths      [][]string
}

// list collects what nodes read. rooted says that the dot is the root of the data here; where it is not, the dot was made from
// data that the enclosing action has read already.
func (d *dependencies) list(list *parse.ListNode, rooted bool) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			d.pipe(n.Pipe, rooted)
		case *parse.IfNode:
			d.branch(&n.BranchNode, rooted, rooted)
		case *parse.RangeNode:
			d.branch(&n.BranchNode, rooted, false)
		case *parse.WithNode:
			d.branch(&n.BranchNode, rooted, false)
		case *parse.TemplateNode:
			d.pipe(n.Pipe, rooted)
		}
	}
}

func (d *dependencies) branch(b *parse.BranchNode, rooted, rootedInside bool) {
	d.pipe(b.Pipe, rooted)
	d.list(b.List, rootedInside)
	d.list(b.ElseList, rooted)
}

func (d *dependencies) pipe(pipe *parse.PipeNode, rooted bool) {
	if pipe == nil {
		return
	}
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			d.operand(arg, rooted)
		}
	}
}

func (d *dependencies) operand(node parse.Node, rooted bool) {
	switch n := node.(type) {
	case *parse.DotNode:
		d.everything = d.everything || rooted
	case *parse.FieldNode:
		if rooted {
			d.path(n.Ident)
		}
	case *parse.VariableNode:
		// Only "$" is data that no action has read yet. In a named template it is that template's argument; then the path is
		// one too many at worst.
		switch {
		case n.Ident[0] == "$" && len(n.Ident) == 1:
			d.everything = true
		case n.Ident[0] == "$":
			d.path(n.Ident[1:])
		}
	case *parse.ChainNode:
		d.operand(n.Node, rooted)
	case *parse.PipeNode:
		d.pipe(n, rooted)
	}
}

func (d *dependencies) path(path []string) {
	if !slices.ContainsFunc(d.paths, func(known []string) bool { return slices.Equal(known, path) }) {
		d.paths = append(d.paths, path)
	}
}

// nothing reports whether the output is the same for all data.
func (d *dependencies) nothing() bool { return !d.everything && len(d.paths) == 0 }
