package render

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// checkCalls refuses a template that calls itself, directly or through others, and one that calls what is not defined. Data have no
// depth that would need recursion, and text/template follows it for 100,000 levels: enough to use up the stack, which ends the
// process.
func checkCalls(name, source string, tmpl *template.Template) error {
	c := caller{r: reporter{name: name, text: &text{out: []byte(source)}}, tmpl: tmpl, state: map[string]int{}}
	all := tmpl.Templates()
	slices.SortFunc(all, func(a, b *template.Template) int { return strings.Compare(a.Name(), b.Name()) }) // the report is always the same
	for _, t := range all {
		if c.state[t.Name()] == notFollowed {
			c.follow(t.Name())
		}
	}
	return c.r.err()
}

// States of a template while calls are followed.
const (
	notFollowed = iota
	beingFollowed
	followed
)

type caller struct {
	r     reporter
	tmpl  *template.Template
	state map[string]int
}

func (c *caller) follow(name string) {
	c.state[name] = beingFollowed
	if t := c.tmpl.Lookup(name); t != nil && t.Tree != nil {
		c.list(t.Root)
	}
	c.state[name] = followed
}

func (c *caller) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.IfNode:
			c.branch(&n.BranchNode)
		case *parse.RangeNode:
			c.branch(&n.BranchNode)
		case *parse.WithNode:
			c.branch(&n.BranchNode)
		case *parse.TemplateNode:
			c.call(n)
		}
	}
}

func (c *caller) branch(b *parse.BranchNode) {
	c.list(b.List)
	c.list(b.ElseList)
}

func (c *caller) call(n *parse.TemplateNode) {
	problem := ""
	switch {
	case c.tmpl.Lookup(n.Name) == nil:
		problem = fmt.Sprintf("template %q is not defined", n.Name)
	case c.state[n.Name] == beingFollowed:
		problem = fmt.Sprintf("template %q calls itself", n.Name)
	case c.state[n.Name] == notFollowed:
		c.follow(n.Name)
	}
	if problem != "" {
		line, column := lineColumn(string(c.r.text.out), int(n.Position()))
		c.r.add(line, column, "%s", problem)
	}
}
