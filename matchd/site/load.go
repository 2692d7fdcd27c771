package site

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/profiles"
)

// Bounds of a site.
const (
	MaxFiles    = 100_000    // files in all directories; a store takes as many changes at once
	MaxFileSize = 256 * 1024 // bytes of a group's or a profile's file; templates have profiles.MaxTemplateSize
)

// The directories of a site that are read.
const (
	groupsDir   = "groups"
	profilesDir = "profiles"
)

func directories() []string {
	return []string{groupsDir, profilesDir, string(profiles.Ignition), string(profiles.Generic), string(profiles.Cloud)}
}

// Load reads a site directory. When anything in it is wrong the error is of kind Invalid and holds *[Problems] with all of it; a
// directory that cannot be read at all is another error.
func Load(dir string) (*Site, error) { return Read(context.Background(), dir, ReadOptions{}) }

// ReadOptions of [Read]; the zero value works.
type ReadOptions struct {
	Progress       func(done, total int) // told how many of how many configs have been tried; calls may overlap; may be nil
	RefuseOverlaps bool                  // two documents that set one file's contents unasked are a problem, not a warning
	Untried        bool                  // every file is checked by itself only: whoever gets the objects tries them with what else there is
}

// Read is [Load] with options, for callers who may not want to wait until all documents have been tried: it ends with ctx's error when ctx ends.
func Read(ctx context.Context, dir string, options ReadOptions) (*Site, error) {
	return newLoader(options).load(ctx, dir)
}

// loader reads sites. It remembers what was tried from one reading to the next, since most does not change.
type loader struct {
	ReadOptions
	cache *trial.Cache
}

func newLoader(options ReadOptions) *loader { return &loader{options, trial.NewCache()} }

// reading is one reading of a directory.
type reading struct {
	root     *os.Root
	site     *Site
	problems Problems
	named    map[string]string // "profiles/web" → "profiles/web.yaml"
	failed   map[string]bool   // "profiles/web": the file is there, but could not be read
	files    int
	digest   hash.Hash
	lenient  bool // see ReadLenient
}

func (l *loader) load(ctx context.Context, dir string) (*Site, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the site directory: %w", err)
	}
	defer root.Close()
	r := &reading{root: root, site: &Site{Dir: dir}, digest: sha256.New(), named: map[string]string{}, failed: map[string]bool{}}
	if err := r.all(); err != nil {
		return nil, err
	}
	if !l.Untried {
		if err := l.try(ctx, r); err != nil {
			return nil, fmt.Errorf("trying the documents: %w", err)
		}
	}
	trial.Sort(r.site.Warnings)
	trial.Sort(r.problems.Problems)
	io.WriteString(r.digest, r.problems.Error()) // a hash does not fail
	r.digest.Sum(r.site.digest[:0])
	if len(r.problems.Problems) > 0 {
		r.problems.Warnings = r.site.Warnings
		return nil, &refusal{digest: r.site.digest, error: fault.Wrap(fault.Invalid, &r.problems)}
	}
	return r.site, nil
}

// try finds out what the files say together, and what they come to for the machines.
func (l *loader) try(ctx context.Context, r *reading) error {
	found, err := trial.Run(ctx, r.site.Objects(), trial.Options{
		Broken: r.failed, RefuseOverlaps: l.RefuseOverlaps, Place: r.site.placer(), Progress: l.Progress, Cache: l.cache,
	})
	if err != nil {
		return err
	}
	trial.NameGroups(r.site.Objects(), r.problems.Problems)
	for _, problem := range found.Problems {
		r.problems.add(problem)
	}
	r.site.Warnings = append(r.site.Warnings, found.Warnings...)
	return nil
}

// refusal is the error of a site that was read and found wrong. It remembers what was read, so that a watcher can tell whether
// anything has changed since.
type refusal struct {
	error
	digest [32]byte
}

func (r *refusal) Unwrap() error { return r.error }

func (r *reading) warn(file, what string) {
	r.site.Warnings = append(r.site.Warnings, Problem{File: file, What: what})
}

func (r *reading) refuse(file, what string) { r.problems.add(Problem{File: file, What: what}) }

func (r *reading) all() error {
	top, err := r.list(".")
	if err != nil {
		return fmt.Errorf("reading the site directory: %w", err)
	}
	known := append(directories(), "assets")
	found := 0
	for _, entry := range top {
		name := entry.Name()
		switch {
		case slices.Contains(known, name):
			found++
		case entry.IsDir() && !strings.HasPrefix(name, ".") && trial.Suggest(name, known) != "":
			r.warn(name, fmt.Sprintf("this directory is not read: did you mean %q?", trial.Suggest(name, known)))
		}
	}
	if found == 0 {
		r.warn(".", "holds none of "+strings.Join(directories(), ", ")+": is this a site's directory?")
	}
	for _, dir := range directories() {
		if err := r.directory(dir); err != nil {
			return err
		}
	}
	return nil
}

// list returns the entries of a directory by name; one that is not there is empty.
func (r *reading) list(dir string) ([]fs.DirEntry, error) {
	opened, err := r.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != "." {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	entries, err := opened.ReadDir(MaxFiles + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (r *reading) directory(dir string) error {
	entries, err := r.list(dir)
	if err != nil {
		if info, statErr := r.root.Stat(dir); statErr == nil && !info.IsDir() {
			err = errors.New("is not a directory")
		}
		r.refuse(dir, plainError(err))
		return nil
	}
	for _, entry := range entries {
		name := entry.Name()
		if isLeftover(name) {
			continue
		}
		if r.files++; r.files > MaxFiles {
			return fault.New(fault.Invalid, "reading the site directory: it holds more than %d files", MaxFiles)
		}
		r.file(dir, name)
	}
	return nil
}

// isLeftover reports whether a file is hidden or what an editor leaves behind.
func isLeftover(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") ||
		strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx")
}

// file reads one file, follows symbolic links that stay within the site, and leaves out what is no file.
func (r *reading) file(dir, name string) {
	file := path.Join(dir, name)
	info, err := r.root.Stat(file)
	switch {
	case err != nil:
		r.fail(file, plainError(err))
		return
	case info.IsDir():
		r.warn(file, "directories in "+dir+"/ are not read")
		return
	case !info.Mode().IsRegular():
		r.warn(file, "is no regular file and not read")
		return
	}
	isTemplate := dir != groupsDir && dir != profilesDir
	if extension := path.Ext(name); !isTemplate && !slices.Contains([]string{".json", ".yaml", ".yml"}, extension) {
		r.warn(file, "is not read: "+dir+" are files ending in .json, .yaml or .yml")
		return
	}
	limit := MaxFileSize
	if isTemplate {
		limit = profiles.MaxTemplateSize
	}
	data, err := r.content(file, limit)
	if err != nil {
		r.fail(file, plainError(err))
		return
	}
	r.digest.Write(binary.AppendUvarint(nil, uint64(len(file))))
	io.WriteString(r.digest, file) // a hash does not fail
	r.digest.Write(binary.AppendUvarint(nil, uint64(len(data))))
	r.digest.Write(data)
	switch {
	case r.lenient && !isTemplate:
		r.lenientFile(dir, textFile{file, data})
	case dir == groupsDir:
		loadObject(r, &r.site.Groups, textFile{file, data}, func(g *groups.Group) (*string, func() error) { return &g.ID, g.Validate })
	case dir == profilesDir:
		loadObject(r, &r.site.Profiles, textFile{file, data}, func(p *profiles.Profile) (*string, func() error) { return &p.ID, p.Validate })
	default:
		r.template(profiles.Kind(dir), name, data)
	}
}

// fail notes that a file could not be taken, so that nothing else complains that its object is missing.
func (r *reading) fail(file, what string) {
	r.failed[withoutExtension(file)] = true
	r.failed[file] = true
	if what != "" {
		r.refuse(file, what)
	}
}

func withoutExtension(file string) string { return strings.TrimSuffix(file, path.Ext(file)) }

func (r *reading) content(file string, limit int) ([]byte, error) {
	// Non-blocking: should the file have become a pipe meanwhile, nobody waits for its writer.
	opened, err := r.root.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("has more than %d bytes", limit)
	}
	return data, err
}

// plainError drops what an *fs.PathError repeats of the path.
func plainError(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		if strings.Contains(pathErr.Err.Error(), "escapes") {
			return "leads out of the site's directory"
		}
		return pathErr.Err.Error()
	}
	return err.Error()
}

// textFile is a file that was read.
type textFile struct {
	name string
	data []byte
}

// loadObject decodes and validates a group or a profile. identify returns its id and its Validate method.
func loadObject[T any](r *reading, list *[]Object[T], from textFile, identify func(*T) (*string, func() error)) {
	d := &decoder{file: from.name, source: from.data}
	object := Object[T]{File: from.name, source: from.data}
	root := d.parse()
	switch {
	case root != nil:
		d.value(root, reflect.ValueOf(&object.Value).Elem(), "", 0)
	case len(d.problems.Problems) == 0:
		d.add(nil, "is empty")
	}
	object.places = d.places
	id, validate := identify(&object.Value)
	name := withoutExtension(path.Base(from.name))
	if len(d.problems.Problems) == 0 {
		if *id != "" && *id != name {
			r.site.Warnings = append(r.site.Warnings, object.problem("id", fmt.Sprintf("the id is %q, after the file's name, and not %q", name, *id)))
		}
		*id = name
		for _, err := range flatten(validate()) {
			field, _, _ := strings.Cut(err.Error(), ": ")
			d.problems.add(object.problem(field, err.Error()))
		}
		if other := r.named[withoutExtension(from.name)]; other != "" {
			d.add(nil, fmt.Sprintf("%q is there already: %s", name, other))
		}
		r.named[withoutExtension(from.name)] = from.name
	}
	if len(d.problems.Problems) > 0 {
		r.fail(from.name, "")
		for _, problem := range d.problems.Problems {
			r.problems.add(problem)
		}
		return
	}
	*list = append(*list, object)
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, each := range joined.Unwrap() {
		all = append(all, flatten(each)...)
	}
	return all
}

func (r *reading) template(kind profiles.Kind, name string, data []byte) {
	object := Object[profiles.Template]{
		Value: profiles.Template{Kind: kind, Name: name, Content: data}, File: path.Join(string(kind), name), source: data,
	}
	if err := (&profiles.Template{Kind: kind, Name: name}).Validate(); err != nil {
		r.fail(object.File, "")
		r.warn(object.File, "is not read, since no profile could name it: "+err.Error())
		return
	}
	r.site.Templates = append(r.site.Templates, object)
}
