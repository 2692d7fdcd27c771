package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
)

// Bounds of a [Tree].
const (
	// MaxListing is the number of entries that are read of one directory.
	MaxListing = 10_000
	// maxDigests is the number of files whose digests are remembered.
	maxDigests = 4096
	// racyWindow is how long after a change a file's entity tag stays weak. A file system stamps changes by a coarse clock (a few
	// milliseconds on Linux, two seconds on the coarsest), so a second change within that time may leave every stamp alike.
	racyWindow = 3 * time.Second
)

// Tree is a directory whose regular files may be read by anybody. It is safe for concurrent use. The directory may be made or replaced by
// another later on: every name is looked up in the one that is there.
//
// The entity tag of a file is made of its inode, size, modification and change time, and that makes it a strong validator: nobody
// can set the change time, so no change of content leaves it as it was. A digest of the content would say the same and cost a pass over
// gigabytes that firmware then waits for. Only a file that changed within the last seconds gets a weak tag, since its stamps could
// still stand for two contents; Range requests conditional on it then get the whole file, which is right.
type Tree struct {
	dir string

	mu      sync.Mutex
	root    *os.Root    // nil: there was no directory when last looked for
	stat    fs.FileInfo // of root
	closed  bool
	digests map[string]knownDigest // by path; an entry is good as long as the tag is the file's
}

type knownDigest struct {
	tag    string
	digest Digest
}

// OpenTree opens a directory, which need not exist yet. The caller closes the tree.
func OpenTree(dir string) (*Tree, error) {
	t := &Tree{dir: dir, digests: map[string]knownDigest{}}
	if _, err := t.current(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the assets directory: %w", err)
	}
	return t, nil
}

// current returns the directory that is there now, or fs.ErrNotExist.
func (t *Tree) current() (*os.Root, error) {
	stat, err := os.Stat(t.dir)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fs.ErrClosed
	case t.root != nil && os.SameFile(stat, t.stat):
		return t.root, nil
	}
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return nil, err
	}
	if stat, err = root.Stat("."); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	t.root, t.stat = root, stat // the former one may be in use; it is closed when nobody holds it (os.Root's finalizer)
	return root, nil
}

// Close releases the directory; files opened from it stay open.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.root == nil {
		return nil
	}
	return t.root.Close()
}

// Open opens the regular file with the given name, which is cleaned first (see [Clean]). The caller closes the file. For a directory
// it returns Info with Dir set and no file. The error is fs.ErrNotExist for all that cannot be had; anything else is the
// environment failing us, such as a read error or too many open files.
func (t *Tree) Open(name string) (*os.File, Info, error) {
	cleaned, err := Clean(name)
	if err != nil {
		return nil, Info{}, err
	}
	return t.open(cleaned)
}

// OpenFold is Open for TFTP, where firmware upper-cases names and DOS habits live on: where no file has exactly this name, one
// whose name differs in case alone is taken, the first in the order of bytes.
func (t *Tree) OpenFold(name string) (*os.File, Info, error) {
	cleaned, err := Clean(name)
	if err != nil {
		return nil, Info{}, err
	}
	file, info, err := t.open(cleaned)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, info, err
	}
	folded, err := t.fold(cleaned)
	if err != nil {
		return nil, Info{}, err
	}
	return t.open(folded)
}

func (t *Tree) open(cleaned string) (*os.File, Info, error) {
	root, err := t.current()
	if err != nil {
		return nil, Info{}, t.outcome(cleaned, err)
	}
	// The open must not wait for the writer of a FIFO, nor take a terminal, hence the flags; fstat then tells what was opened.
	file, err := root.OpenFile(cleaned, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, Info{}, t.outcome(cleaned, err)
	}
	stat, err := file.Stat()
	switch {
	case err != nil:
	case stat.IsDir():
		return nil, Info{Name: stat.Name(), ModTime: stat.ModTime(), Dir: true}, file.Close()
	case !stat.Mode().IsRegular():
		err = notFound(cleaned)
	default:
		return file, infoOf(stat, time.Now()), nil
	}
	return nil, Info{}, errors.Join(err, file.Close())
}

// outcome keeps apart what a name can be blamed for and what the environment can: an escape, a loop of links, a path through a file or
// a missing permission are all "no such file" to a machine.
func (t *Tree) outcome(cleaned string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return notFound(cleaned)
	case exhausted(err):
		return fmt.Errorf("opening asset: %w", err)
	}
	return &fs.PathError{Op: "open", Path: cleaned, Err: fmt.Errorf("%w (%w)", fs.ErrNotExist, err)}
}

func infoOf(stat fs.FileInfo, now time.Time) Info {
	return Info{Name: stat.Name(), Size: stat.Size(), ModTime: stat.ModTime(), ETag: validator(stat, now)}
}

func (t *Tree) fold(cleaned string) (string, error) {
	at := "."
	for want := range strings.SplitSeq(cleaned, "/") {
		entries, err := t.entries(at)
		if err != nil {
			return "", err
		}
		found := ""
		for _, entry := range entries {
			if entry.Name() == want {
				found = want
				break
			}
			if found == "" && strings.EqualFold(entry.Name(), want) {
				found = entry.Name()
			}
		}
		if found == "" {
			return "", notFound(cleaned)
		}
		at = path.Join(at, found)
	}
	return at, nil
}

// entries returns a directory's entries by name, without hidden ones.
func (t *Tree) entries(dir string) ([]fs.DirEntry, error) {
	root, err := t.current()
	if err != nil {
		return nil, t.outcome(dir, err)
	}
	d, err := root.OpenFile(dir, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, t.outcome(dir, err)
	}
	all, err := d.ReadDir(MaxListing)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(notFound(dir), err, d.Close())
	}
	shown := make([]fs.DirEntry, 0, len(all))
	for _, entry := range all {
		if !hidden(entry.Name()) {
			shown = append(shown, entry)
		}
	}
	sort.Slice(shown, func(i, j int) bool { return shown[i].Name() < shown[j].Name() })
	return shown, d.Close()
}

// List returns what lies in a directory, by name: regular files and directories that Open would open. A file's entity tag is left out.
func (t *Tree) List(name string) ([]Info, error) {
	cleaned, err := Clean(name)
	if err != nil {
		return nil, err
	}
	entries, err := t.entries(cleaned)
	if err != nil {
		return nil, err
	}
	root, err := t.current()
	if err != nil {
		return nil, t.outcome(cleaned, err)
	}
	infos := make([]Info, 0, len(entries))
	for _, entry := range entries {
		// Through the root, so that a link counts as what it leads to and one that leads outside does not count.
		stat, err := root.Stat(path.Join(cleaned, entry.Name()))
		if err != nil || !stat.IsDir() && !stat.Mode().IsRegular() {
			continue
		}
		info := Info{Name: entry.Name(), ModTime: stat.ModTime(), Dir: stat.IsDir()}
		if !info.Dir {
			info.Size = stat.Size()
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Digest returns the SHA-256 of a file. It reads the whole file the first time and remembers the result for as long as the file's
// entity tag stays.
func (t *Tree) Digest(ctx context.Context, name string) (Digest, error) {
	file, info, err := t.Open(name)
	if err != nil {
		return Digest{}, err
	}
	if file == nil {
		return Digest{}, notFound(name)
	}
	cleaned, _ := Clean(name)
	t.mu.Lock()
	known, ok := t.digests[cleaned]
	t.mu.Unlock()
	if ok && known.tag == info.ETag {
		return known.digest, file.Close()
	}
	digest, err := DigestOf(&cancellable{ctx: ctx, r: file})
	if err := errors.Join(err, file.Close()); err != nil {
		return Digest{}, fmt.Errorf("reading asset %s: %w", cleaned, err)
	}
	if !strings.HasPrefix(info.ETag, "W/") {
		t.mu.Lock()
		if len(t.digests) >= maxDigests {
			clear(t.digests)
		}
		t.digests[cleaned] = knownDigest{info.ETag, digest}
		t.mu.Unlock()
	}
	return digest, nil
}

// cancellable ends a long read when its context does.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
