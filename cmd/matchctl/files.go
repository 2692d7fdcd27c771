package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Bounds of what is read from files.
const (
	maxDocumentFile = 64 << 20 // bytes of one file of documents
	maxObjects      = 100_000  // that one call takes
)

// stdinName is how problems name what came by standard input.
const stdinName = "standard input"

// reader gathers objects of files and everything that is wrong with them.
type reader struct {
	in       io.Reader
	objects  []object
	problems []site.Problem
	warnings []site.Problem
	seen     map[string]string // object → file
}

// problemsError lists problems of files, one line each.
type problemsError struct{ problems []site.Problem }

func (e *problemsError) Error() string {
	return (&site.Problems{Problems: e.problems}).Error()
}

// readObjects reads files, directories and, as "-", standard input.
func (a *app) readObjects(ctx context.Context, names []string) ([]object, error) {
	r := &reader{in: a.in, seen: map[string]string{}}
	for _, name := range names {
		if err := r.read(ctx, name); err != nil {
			return nil, err
		}
	}
	return r.finish(a.err, strings.Join(names, ", "))
}

// finish returns the objects, or all that is wrong with them.
func (r *reader) finish(stderr terminal, source string) ([]object, error) {
	for _, warning := range trial.Sort(r.warnings) {
		stderr.painted(yellow, "warning: %s", printable(warning.String()))
	}
	switch {
	case len(r.problems) > 0:
		return nil, &problemsError{trial.Sort(r.problems)}
	case len(r.objects) == 0:
		return nil, fmt.Errorf("%s: there are no objects", source)
	case len(r.objects) > maxObjects:
		return nil, fmt.Errorf("%s: there are %d objects, at most %d are taken at once", source, len(r.objects), maxObjects)
	}
	return r.objects, nil
}

func (r *reader) read(ctx context.Context, name string) error {
	if name == "-" {
		text, err := io.ReadAll(io.LimitReader(r.in, maxDocumentFile+1))
		if err != nil {
			return fmt.Errorf("reading %s: %w", stdinName, err)
		}
		r.documents(stdinName, text, true)
		return nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return r.directory(ctx, name)
	}
	return r.file(name, true)
}

// directory reads the site that a directory holds, and the documents in the files directly in it.
func (r *reader) directory(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	isSite := slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return e.IsDir() && slices.Contains([]string{"groups", "profiles", "ignition", "generic", "cloud"}, e.Name())
	})
	if isSite {
		if err := r.site(ctx, dir); err != nil {
			return err
		}
	}
	for _, entry := range entries {
		extension := strings.ToLower(filepath.Ext(entry.Name()))
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, extension) {
			continue
		}
		// Beside a site stand other things as well, such as the daemon's configuration.
		if err := r.file(filepath.Join(dir, entry.Name()), !isSite); err != nil {
			return err
		}
	}
	return nil
}

// site reads groups, profiles and templates as the daemon would, all but the trial: the server knows what else there is.
func (r *reader) site(ctx context.Context, dir string) error {
	loaded, err := site.Read(ctx, dir, site.ReadOptions{Untried: true})
	var problems *site.Problems
	if errors.As(err, &problems) {
		r.problems = append(r.problems, inDirectory(dir, problems.Problems)...)
		r.warnings = append(r.warnings, inDirectory(dir, problems.Warnings)...)
		return nil
	}
	if err != nil {
		return err
	}
	r.take(dir, loaded)
	return nil
}

// take adds what a site says.
func (r *reader) take(dir string, loaded *site.Site) {
	r.warnings = append(r.warnings, inDirectory(dir, loaded.Warnings)...)
	for i := range loaded.Groups {
		g := &loaded.Groups[i]
		message, err := groupMessage(&g.Value)
		r.add(message, originOf(dir, g), err)
	}
	for i := range loaded.Profiles {
		p := &loaded.Profiles[i]
		r.add(profileMessage(&p.Value), originOf(dir, p), nil)
	}
	for i := range loaded.Templates {
		t := &loaded.Templates[i]
		from := originOf(dir, t)
		from.whole = true
		r.add(&matchdpb.Template{Kind: string(t.Value.Kind), Name: t.Value.Name, Content: t.Value.Content}, from, nil)
	}
}

func inDirectory(dir string, problems []site.Problem) []site.Problem {
	for i := range problems {
		problems[i].File = filepath.Join(dir, filepath.FromSlash(problems[i].File))
	}
	return problems
}

func originOf[T any](dir string, o *site.Object[T]) origin {
	file := filepath.Join(dir, filepath.FromSlash(o.File))
	return origin{file: file, problem: func(field, what string) site.Problem {
		line, column := o.At(field)
		return site.Problem{File: file, Line: line, Column: column, What: what}
	}}
}

// file reads the documents of one file. With strict unset, a file that holds no documents is left out.
func (r *reader) file(name string, strict bool) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() > maxDocumentFile {
		return fmt.Errorf("%s has %d bytes, at most %d are read", name, info.Size(), maxDocumentFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	r.documents(name, text, strict)
	return nil
}

func (r *reader) documents(name string, text []byte, strict bool) {
	documents, err := site.Documents(name, text)
	if err != nil && !strict {
		r.warnings = append(r.warnings, site.Problem{File: name, What: "is left out: it holds no documents with a kind"})
		return
	}
	r.note(name, err)
	for _, document := range documents {
		r.document(name, document)
	}
}

func (r *reader) document(name string, document *site.Document) {
	if !slices.Contains(documentKinds(), document.Kind) {
		var any map[string]any
		_ = document.Decode(&any) // for the place of the kind
		what := fmt.Sprintf("unknown kind %q%s", document.Kind, trial.DidYouMean(document.Kind, documentKinds(), "; known are "+strings.Join(documentKinds(), ", ")))
		r.problems = append(r.problems, document.Problem("kind", what))
		return
	}
	message, err := decodeObject(document)
	r.add(message, origin{file: name, problem: document.Problem}, err)
}

// documentKinds are the kinds of documents in the order of help.
func documentKinds() []string {
	return []string{"Machine", "Group", "Profile", "Template", "Reservation"}
}

// add takes an object, unless it could not be read or is there already.
func (r *reader) add(message proto.Message, from origin, err error) {
	var field *fieldError
	if errors.As(err, &field) {
		r.problems = append(r.problems, from.problem(field.field, field.what))
		return
	}
	if err != nil {
		r.note(from.file, err)
		return
	}
	o := object{wrap(message), from}
	ref := refOf(o.pb)
	if ref.GetId() == "" {
		r.problems = append(r.problems, from.problem("", "has no id"))
		return
	}
	name := client.Name(ref)
	if first, twice := r.seen[name]; twice {
		r.problems = append(r.problems, from.problem("", fmt.Sprintf("%s is there already: %s", name, first)))
		return
	}
	r.seen[name] = from.file
	r.objects = append(r.objects, o)
}

// note takes the problems of a file.
func (r *reader) note(name string, err error) {
	var problems *site.Problems
	switch {
	case errors.As(err, &problems):
		r.problems = append(r.problems, problems.Problems...)
	case err != nil:
		r.problems = append(r.problems, site.Problem{File: name, What: err.Error()})
	}
}
