package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ListKind is the kind of a document that holds others in its field "items".
const ListKind = "List"

// Document is one of the documents of a file that says with "kind" what each of them is. [Document.Decode] reads it.
type Document struct {
	Kind string // value of the field "kind"

	object Object[struct{}]
	root   *yaml.Node
}

// Documents takes a file apart: documents of a YAML stream, a JSON value, the elements of a list, and the items of documents of
// [ListKind]. A file without content has none. Text that is valid JSON is read as JSON whatever the file is called. The error is
// that of [Decode]; a document without a kind is one.
func Documents(name string, data []byte) ([]*Document, error) {
	d := &decoder{file: name, source: data}
	var documents []*Document
	for _, root := range d.roots() {
		documents = append(documents, d.split(root, 0)...)
	}
	return documents, d.err()
}

// roots returns the root values of a stream.
func (d *decoder) roots() []*yaml.Node {
	if strings.EqualFold(path.Ext(d.file), ".json") || json.Valid(d.source) {
		if root := d.parseJSON(); root != nil {
			return []*yaml.Node{root}
		}
		return nil
	}
	if i := firstInvalid(d.source); i >= 0 {
		line, column := position(d.source, i)
		d.addAt(line, column, "is not UTF-8 text")
		return nil
	}
	var roots []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(d.source)); ; {
		var root yaml.Node
		err := decoder.Decode(&root)
		switch {
		case errors.Is(err, io.EOF):
			return roots
		case err != nil:
			d.syntax(err)
			return nil
		case len(root.Content) > 0 && !isNull(root.Content[0]):
			roots = append(roots, root.Content[0])
		}
	}
}

// split returns the documents that stand in one value.
func (d *decoder) split(n *yaml.Node, depth int) []*Document {
	switch {
	case depth > MaxDepth:
		d.add(n, "lists are nested too deep")
		return nil
	case n.Kind == yaml.SequenceNode:
		return d.splitAll(n, depth)
	case n.Kind != yaml.MappingNode:
		d.add(n, `want a document with "kind", got `+got(n))
		return nil
	}
	kind, items := lookup(n, "kind"), lookup(n, "items")
	switch {
	case kind == nil:
		d.add(n, `a document needs a "kind"`)
	case !isText(kind):
		d.add(kind, "want a string, got "+got(kind)+quoteHint(kind))
	case kind.Value != ListKind:
		return []*Document{{Kind: kind.Value, object: Object[struct{}]{File: d.file, source: d.source}, root: n}}
	case items != nil && items.Kind == yaml.SequenceNode:
		return d.splitAll(items, depth)
	default:
		d.add(n, `a List needs "items", a list of documents`)
	}
	return nil
}

func (d *decoder) splitAll(list *yaml.Node, depth int) (documents []*Document) {
	for _, element := range list.Content {
		documents = append(documents, d.split(element, depth+1)...)
	}
	return documents
}

// lookup returns the value of a key, nil if there is none.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// Decode reads the document into the value that into points to, as the function [Decode] does; into has a field for "kind", too.
func (doc *Document) Decode(into any) error {
	d := &decoder{file: doc.object.File, source: doc.object.source}
	d.value(doc.root, reflect.ValueOf(into).Elem(), "", 0)
	doc.object.places = d.places
	return d.err()
}

// Problem returns a problem of a field, such as "boot.args[1]", of a document that was decoded; "" is the document.
func (doc *Document) Problem(field, what string) Problem { return doc.object.problem(field, what) }
