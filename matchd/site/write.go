package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/profiles"
)

// Directory is matchbox's data directory as "matchd serve --matchbox" serves it: files that people edit and that the API writes. What it writes is
// what matchbox would, so that either can serve the directory.
//
// A change by the API locks the directory, writes files, applies to the store, unlocks. [Directory.Apply] locks it, too, so that what was read before
// such a change never undoes it.
type Directory struct {
	dir string

	mu         sync.Mutex
	generation uint64 // grows with every change that the API made
	read       uint64 // generation at which what Read returned last was read
}

// directoryMode is that of the directories that matchbox makes.
const directoryMode fs.FileMode = 0o755

// NewDirectory returns a data directory, which need not exist yet.
func NewDirectory(dir string) *Directory { return &Directory{dir: dir} }

// Lock keeps everybody else from changing the directory and from applying it, until unlock is called.
func (d *Directory) Lock() (unlock func()) {
	d.mu.Lock()
	return d.mu.Unlock
}

// Read is [ReadLenient], for [WatchOptions].
func (d *Directory) Read(context.Context, string) (*Site, error) {
	d.mu.Lock()
	d.read = d.generation
	d.mu.Unlock()
	return ReadLenient(d.dir)
}

// Apply makes the store hold what the directory says; see [Site.Apply]. Site is what Read returned last. It is read anew if the API has changed the
// directory since, and returned as it was applied.
func (d *Directory) Apply(ctx context.Context, read *Site, to store.Store) (*Site, store.Revision, int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read != d.generation {
		var err error
		if read, err = ReadLenient(d.dir); err != nil {
			return nil, 0, 0, err
		}
		d.read = d.generation
	}
	revision, changed, err := read.Apply(ctx, to)
	return read, revision, changed, err
}

// Write replaces the files of the objects put and removes those of the keys deleted ("group/ID", "profile/ID", "template/KIND/NAME"). The directory must be
// locked. Every file is whole at any time and on disk when Write returns; one that would not change is left alone. It returns the
// objects as reading their files gives them, each with its file.
func (d *Directory) Write(puts catalog.Objects, deletes []string) (catalog.Objects, error) {
	d.generation++
	var written catalog.Objects
	for _, key := range deletes {
		if err := d.remove(key); err != nil {
			return written, err
		}
	}
	// Templates first, then what names them: a reader of the files never finds more dangling names than there must be.
	for _, t := range puts.Templates {
		file, err := d.replace(string(t.Value.Kind), t.Value.Name, t.Value.Content)
		if err != nil {
			return written, err
		}
		written.Templates = append(written.Templates, catalog.Owned[profiles.Template]{Value: t.Value, File: file})
	}
	for _, p := range puts.Profiles {
		owned, err := writeObject(d, profilesDir, p.Value.ID, newProfileFile(&p.Value), lenientProfile)
		if err != nil {
			return written, err
		}
		written.Profiles = append(written.Profiles, owned)
	}
	for _, g := range puts.Groups {
		owned, err := writeObject(d, groupsDir, g.Value.ID, &g.Value, lenientGroup)
		if err != nil {
			return written, err
		}
		written.Groups = append(written.Groups, owned)
	}
	return written, nil
}

// writeObject writes a group or a profile in the form that matchbox writes, and reads it back.
func writeObject[T any](d *Directory, dir, id string, form any, check func(*T, string) (string, error)) (catalog.Owned[T], error) {
	var owned catalog.Owned[T]
	text, err := json.MarshalIndent(form, "", "\t")
	if err != nil {
		return owned, fault.New(fault.Invalid, "writing %s/%s.json: %w", dir, id, err)
	}
	if err := json.Unmarshal(text, &owned.Value); err != nil {
		return owned, fault.New(fault.Invalid, "reading back %s/%s.json: %w", dir, id, err)
	}
	if _, err := check(&owned.Value, id); err != nil {
		return owned, fault.New(fault.Invalid, "%s/%s.json would not be served: %w", dir, id, err)
	}
	owned.File, err = d.replace(dir, id+".json", text)
	return owned, err
}

// replace puts the content under dir/name and returns that path.
func (d *Directory) replace(dir, name string, content []byte) (string, error) {
	file := path.Join(dir, name)
	if err := groups.ValidID(strings.TrimSuffix(name, ".json")); err != nil {
		return "", fault.New(fault.Invalid, "%s names no file: %w", dir, err)
	}
	target := filepath.Join(d.dir, dir, name)
	if existing, err := os.ReadFile(target); err == nil && bytes.Equal(existing, content) {
		return file, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), directoryMode); err != nil {
		return "", unwritable(file, err)
	}
	if err := keyfile.Write(target, content, keyfile.Public); err != nil {
		return "", unwritable(file, err)
	}
	return file, nil
}

// Has reports whether an object has a file, readable or not, by its key as in [Directory.Write].
func (d *Directory) Has(key string) bool {
	file, err := fileOf(key)
	if err != nil {
		return false
	}
	_, err = os.Lstat(filepath.Join(d.dir, filepath.FromSlash(file)))
	return err == nil
}

// fileOf returns the file of an object that has the key, relative to the directory.
func fileOf(key string) (string, error) {
	var file string
	kind, id, _ := strings.Cut(key, "/")
	switch catalog.Kind(kind) {
	case catalog.Group:
		file = path.Join(groupsDir, id+".json")
	case catalog.Profile:
		file = path.Join(profilesDir, id+".json")
	case catalog.Template:
		kind, name, _ := strings.Cut(id, "/")
		file, id = path.Join(kind, name), name
	default:
		return "", fault.New(fault.Invalid, "%s is in no file", key)
	}
	if err := groups.ValidID(id); err != nil {
		return "", fault.New(fault.Invalid, "%s names no file: %w", kind, err)
	}
	return file, nil
}

func (d *Directory) remove(key string) error {
	file, err := fileOf(key)
	if err != nil {
		return err
	}
	target := filepath.Join(d.dir, filepath.FromSlash(file))
	if err := os.Remove(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return unwritable(file, err)
	}
	if err := syncDirectory(filepath.Dir(target)); err != nil {
		return unwritable(file, err)
	}
	return nil
}

// syncDirectory makes durable which names a directory has.
func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// unwritable keeps the server's paths out of an error that a client of the API reads.
func unwritable(file string, err error) error {
	return fault.New(fault.Unavailable, "the data directory's %s cannot be written: %s", file, plainReason(err))
}

func plainReason(err error) string {
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err.Error()
	}
	return plainError(err)
}

// profileFile is a profile with its fields in matchbox's order, followed by matchd's own.
type profileFile struct {
	ID         string        `json:"id"`
	Name       string        `json:"name,omitempty"`
	IgnitionID string        `json:"ignition_id,omitempty"`
	CloudID    string        `json:"cloud_id,omitempty"`
	Boot       profiles.Boot `json:"boot"` // always: bootcmd fails on a profile without it
	GenericID  string        `json:"generic_id,omitempty"`

	Snippets             []string            `json:"snippets,omitempty"`
	PlatformSnippets     map[string][]string `json:"platform_snippets,omitempty"`
	IgnitionVersion      string              `json:"ignition_version,omitempty"`
	AllowUnhashedSources bool                `json:"allow_unhashed_sources,omitempty"`
	Config               profiles.ConfigMode `json:"config,omitempty"`
	Cluster              string              `json:"cluster,omitempty"`
	OS                   string              `json:"os,omitempty"`
	Loader               profiles.Loader     `json:"loader,omitempty"`
}

func newProfileFile(p *profiles.Profile) profileFile {
	return profileFile{
		ID: p.ID, Name: p.Name, IgnitionID: p.IgnitionID, CloudID: p.CloudID, Boot: p.Boot, GenericID: p.GenericID,
		Snippets: p.Snippets, PlatformSnippets: p.PlatformSnippets, IgnitionVersion: p.IgnitionVersion, AllowUnhashedSources: p.AllowUnhashedSources,
		Config: p.Config, Cluster: p.Cluster, OS: p.OS, Loader: p.Loader,
	}
}

// Describe says in a line what a lenient reading came to.
func (s *Site) Describe() string {
	if len(s.LeftOut) == 0 {
		return s.Summary()
	}
	return fmt.Sprintf("%s, %s left out", s.Summary(), count(len(s.LeftOut), "problem"))
}
