// Package render turns templates into what machines read: Ignition configs, cloud-configs, any text, and metadata as an
// environment file.
//
// A [Document] is compiled once. Rendering it for a machine gives a whole and valid result or an error that lists everything
// that is wrong, by name, line and column: never half a config and never an empty one. Every bound on what a template may do
// and give is a constant of this package, so that a document cannot stop the server.
package render

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/profiles"
)

// MaxDuration is how long one template may run.
const MaxDuration = 10 * time.Second

// Document is a compiled template. It looks immutable and is safe for concurrent use: what it remembers of earlier renderings saves time only.
type Document struct {
	kind    profiles.Kind
	name    string
	source  string
	lenient bool     // see CompileLenient
	program *program // nil: sent as it is
	packer  packer
	moulds  moulds
	sound   shapes // of compositions with the document as base

	fixed atomic.Pointer[fixedResult] // to render a document that reads no data
}

// fixedResult renders what is the same for every machine. All who ask meanwhile wait for it and get what it gave.
type fixedResult struct {
	once   sync.Once
	result *result
	err    error
}

// result is a rendered document: its text, and for an Ignition document what the text means.
type result struct {
	text []byte
	part *part
}

// Compile parses a template. A document of kind ignition whose name ends in .ign or .ignition is sent as it is (matchbox's rule);
// everything else is a Go template with [Input.Data] as its data. Errors are of kind Invalid; *[Report] is in their chain.
func Compile(t profiles.Template) (*Document, error) { return compile(t, false) }

// CompileLenient is [Compile] for documents that matchbox has served so far: what only matchd objects to is let pass, such as keys that nobody reads, sources
// without a hash, and braces that a template leaves behind. What is wrong by Ignition's own rules, and what cannot be parsed, is refused as ever.
func CompileLenient(t profiles.Template) (*Document, error) { return compile(t, true) }

func compile(t profiles.Template, lenient bool) (*Document, error) {
	if err := t.Validate(); err != nil {
		return nil, fault.Wrap(fault.Invalid, fmt.Errorf("%s/%s: %w", t.Kind, t.Name, err))
	}
	d := &Document{kind: t.Kind, name: t.Name, source: string(t.Content), lenient: lenient}
	d.fixed.Store(&fixedResult{})
	if d.verbatim() || !strings.Contains(d.source, "{{") {
		return d, nil
	}
	program, err := newProgram(d.path(), d.source)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err)
	}
	d.program = program
	return d, nil
}

// verbatim reports whether the document's name says that it is an Ignition config and no template.
func (d *Document) verbatim() bool {
	return d.kind == profiles.Ignition && (strings.HasSuffix(d.name, ".ign") || strings.HasSuffix(d.name, ".ignition"))
}

// path names the document in reports: the file that a site would have it in.
func (d *Document) path() string { return string(d.kind) + "/" + d.name }

// Kind returns the template's kind.
func (d *Document) Kind() profiles.Kind { return d.kind }

// Name returns the template's name.
func (d *Document) Name() string { return d.name }

// Static reports whether the document reads no data, so that it is the same for every machine.
func (d *Document) Static() bool { return d.program == nil || d.program.reads.nothing() }

// Key returns a digest of all data that the document reads. Renderings with equal keys are equal; a static document's key is "".
func (d *Document) Key(data map[string]any) string {
	if d.Static() {
		return ""
	}
	return d.program.reads.key(data)
}

// Check renders a document that reads no data and returns what is wrong with it. It returns nil for all others: only a machine's
// data can tell.
func (d *Document) Check(ctx context.Context) error {
	if !d.Static() {
		return nil
	}
	_, err := d.result(ctx, nil)
	return err
}

// Text renders the document as text. A document of kind cloud is a cloud-config that parses or a script; one of kind
// ignition is a valid Butane or Ignition config, before it is translated. An error is of kind Invalid with *[Report] in its
// chain, or of kind Unavailable when ctx ended first.
func (d *Document) Text(ctx context.Context, data map[string]any) ([]byte, error) {
	rendered, err := d.result(ctx, data)
	if err != nil {
		return nil, err
	}
	return rendered.text, nil
}

func (d *Document) result(ctx context.Context, data map[string]any) (*result, error) {
	if !d.Static() {
		return d.render(ctx, data)
	}
	fixed := d.fixed.Load()
	fixed.once.Do(func() { fixed.result, fixed.err = d.render(context.WithoutCancel(ctx), nil) })
	if fault.Is(fixed.err, fault.Unavailable) { // it took too long, which says more of the server's state than of the document: the next one tries anew
		d.fixed.CompareAndSwap(fixed, &fixedResult{})
	}
	return fixed.result, fixed.err
}

func (d *Document) render(ctx context.Context, data map[string]any) (*result, error) {
	ctx, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	rendered := &text{out: []byte(d.source), source: d.source}
	if d.program != nil {
		var err error
		if rendered, err = d.execute(ctx, data); err != nil {
			return nil, renderFault(ctx, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, renderFault(ctx, fmt.Errorf("rendering %s: %w", d.path(), err))
	}
	return d.evaluate(rendered, thoroughly)
}

// effort says how small the contents of files shall become.
type effort bool

const (
	thoroughly effort = true  // compressed where that pays: what a machine gets
	quickly    effort = false // a third of the cost, to see whether it can be translated
)

// evaluate makes of a rendered text what it means.
func (d *Document) evaluate(rendered *text, how effort) (*result, error) {
	r := &reporter{name: d.path(), text: rendered, lenient: d.lenient}
	out := &result{text: rendered.out}
	switch d.kind {
	case profiles.Cloud:
		checkCloud(r)
	case profiles.Ignition:
		out.part = d.ignition(r, how)
	}
	if err := r.err(); err != nil {
		return nil, fault.Wrap(fault.Invalid, err)
	}
	return out, nil
}

func renderFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.Unavailable, err)
	}
	return fault.Wrap(fault.Invalid, err)
}

// ignition reads r's text as Ignition or Butane, whichever it is.
func (d *Document) ignition(r *reporter, how effort) (result *part) {
	defer r.catch()
	r.text.lines() // found now, so that nobody writes to the text once others may see it
	r.refuseRemains()
	content := bytes.TrimSpace(r.text.out)
	if len(content) == 0 {
		r.add(0, 0, "%s", emptyConfig)
		return nil
	}
	root, read := d.read(r, content, how)
	found := inspect(r, root)
	if read == nil || r.err() != nil {
		r.report.Unhashed = found.unhashed
		return nil
	}
	nodes, err := nodesOf(read.json)
	if err != nil {
		r.add(0, 0, "%v", err) // no config that passed its own parser gets here
		return nil
	}
	read.nodes, read.reporter, read.findings = nodes, r, found
	problems, _ := checkNodes([]*part{read})
	for _, p := range problems {
		r.put(p)
	}
	if r.err() != nil {
		r.report.Unhashed = found.unhashed
	}
	return read
}

// read returns the tree of r's text and what it is in Ignition, nil where r has problems.
func (d *Document) read(r *reporter, content []byte, how effort) (*yaml.Node, *part) {
	switch {
	case d.verbatim() && content[0] != '{':
		r.add(1, 1, "is no JSON object: a document named .ign or .ignition is sent as it is; give a Butane document another suffix, such as .yaml")
		return nil, nil
	case d.verbatim() || looksLikeIgnition(content):
		root := decodeJSON(r)
		if root == nil {
			return nil, nil
		}
		return root, parseSpec(r, r.text.out, true)
	}
	earlier := len(r.report.Problems)
	root := decodeYAML(r)
	if len(r.report.Problems) > earlier {
		return nil, nil
	}
	var p *packer
	if how == thoroughly {
		p = &d.packer
	}
	translated := transpile(r, root, &d.moulds, p)
	if translated == nil {
		return root, nil
	}
	return root, trusted(r, translated)
}

// looksLikeIgnition tells an Ignition config from Butane in YAML's flow style, which may be JSON too: Butane has a variant.
func looksLikeIgnition(content []byte) bool {
	if content[0] != '{' {
		return false
	}
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(content, &probe); err != nil {
		return bytes.Contains(content, []byte(`"ignition"`))
	}
	_, butane := probe["variant"]
	return !butane
}

// refuseRemains catches what a template leaves behind where it failed to fill something in: what text/template prints for a null, and
// an action that came in with the data and was not run. Braces that the template itself writes as a constant are meant: {{"{{"}}.
func (r *reporter) refuseRemains() {
	if r.lenient {
		return
	}
	const noValue, braces = "<no value>", "{{"
	for i, line := range strings.Split(string(r.text.out), "\n") {
		if at := strings.Index(line, noValue); at >= 0 {
			_, column := lineColumn(line, at)
			r.add(i+1, column, "the template printed a null")
		}
		if at := strings.Index(line, braces); at >= 0 && !r.text.meant(i+1, at) {
			_, column := lineColumn(line, at)
			r.add(i+1, column, "the template left {{ behind: a value holds a template of its own, and nobody runs it")
		}
	}
}

func checkCloud(r *reporter) {
	r.refuseRemains()
	switch {
	case bytes.HasPrefix(r.text.out, []byte("#!")):
	case bytes.HasPrefix(r.text.out, []byte("#cloud-config")):
		decodeYAML(r)
	default:
		r.add(1, 1, "must start with #cloud-config or be a script that starts with #!")
	}
}
