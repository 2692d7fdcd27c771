package site

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How a directory is followed, unless [WatchOptions] say otherwise.
const (
	DefaultQuiet    = 250 * time.Millisecond // without a change before the site is read
	DefaultMaxDelay = 10 * time.Second       // after the first change the site is read in any case
	DefaultPoll     = 5 * time.Second        // between looks at file times, for file systems that notify nobody (NFS)
)

// maxRereads is how often a site is read anew because it changed while it was being read.
const maxRereads = 5

// pollShare is how many times longer than one look the pause after it is at least: a large site is not worth a core.
const pollShare = 100

// WatchOptions of [Watch]; the zero value works.
type WatchOptions struct {
	Quiet    time.Duration // default DefaultQuiet
	MaxDelay time.Duration // default DefaultMaxDelay
	Poll     time.Duration // default DefaultPoll
	Logger   *slog.Logger  // told when the file system cannot notify; default slog.Default

	RefuseOverlaps bool // as in ReadOptions

	// Read reads the site in place of [Read]; nil: that.
	Read func(ctx context.Context, dir string) (*Site, error)
}

// progressEvery is how often a trial that takes long is told of.
const progressEvery = 2 * time.Second

// progress logs how far a trial is, if it takes long.
func (o WatchOptions) progress() func(done, total int) {
	logger := o.withDefaults().Logger
	var mu sync.Mutex
	told := time.Now()
	return func(done, total int) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case done == 1:
			told = time.Now()
		case time.Since(told) >= progressEvery:
			told = time.Now()
			logger.Info("trying the site's configs", "done", done, "of", total)
		}
	}
}

// Watch reads the site directory now and after every change until ctx ends, and calls deliver with what [Load] gave. It returns
// nil when ctx ends.
//
// Calls of deliver do not overlap. A burst of changes, such as a git pull, is one call; a reading that gives what the one before gave
// is none, unless deliver returned an error: then the site is read and delivered again at the next poll. The directory may be replaced, be a symbolic link to another one at every look, or be away for a while.
func Watch(ctx context.Context, dir string, options WatchOptions, deliver func(*Site, error) error) error {
	w := &watcher{dir: dir, options: options.withDefaults(), loader: newLoader(ReadOptions{Progress: options.progress(), RefuseOverlaps: options.RefuseOverlaps}), deliver: deliver}
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		w.options.Logger.Warn("the file system cannot notify of changes, looking from time to time", "dir", dir, "every", w.options.Poll, "error", err)
		return w.run(ctx, nil)
	}
	defer notifier.Close()
	w.refresh = func() { subscribe(notifier, dir) }
	events := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		forward(notifier, dir, events)
	}()
	err = w.run(ctx, events)
	notifier.Close()
	<-done
	return err
}

func (o WatchOptions) withDefaults() WatchOptions {
	if o.Quiet <= 0 {
		o.Quiet = DefaultQuiet
	}
	if o.MaxDelay <= 0 {
		o.MaxDelay = DefaultMaxDelay
	}
	if o.Poll <= 0 {
		o.Poll = DefaultPoll
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// subscribe asks for news of the directories that are there now. They may be others than last time under the same names.
func subscribe(notifier *fsnotify.Watcher, dir string) {
	for _, watched := range notifier.WatchList() {
		// Errors mean that it is gone, which is what we want; what cannot be added is seen by looking from time to time.
		_ = notifier.Remove(watched)
	}
	_ = notifier.Add(dir)
	for _, name := range directories() {
		_ = notifier.Add(filepath.Join(dir, name))
	}
}

// forward boils the notifier's events down to "something changed".
func forward(notifier *fsnotify.Watcher, dir string, events chan<- struct{}) {
	changed := func() {
		select {
		case events <- struct{}{}:
		default: // one is waiting already
		}
	}
	for {
		select {
		case event, open := <-notifier.Events:
			if !open {
				return
			}
			if !isLeftover(filepath.Base(event.Name)) || event.Name == dir {
				changed()
			}
		case _, open := <-notifier.Errors: // too many events at once
			if !open {
				return
			}
			changed()
		}
	}
}

type watcher struct {
	dir     string
	options WatchOptions
	loader  *loader
	deliver func(*Site, error) error
	refresh func() // renews subscriptions; may be nil

	stamp     [sha256.Size]byte // of the files that were read last
	delivered string            // what was delivered last
}

// run reads and delivers until ctx ends. events tells of changes; nil: nobody does.
func (w *watcher) run(ctx context.Context, events <-chan struct{}) error {
	poll := time.NewTimer(w.options.Poll)
	defer poll.Stop()
	for {
		if !w.load(ctx, events) {
			return nil
		}
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return nil
			case <-events:
				changed = true
			case <-poll.C:
				start := time.Now()
				changed = w.look() != w.stamp
				poll.Reset(max(w.options.Poll, time.Since(start)*pollShare))
			}
		}
		if !w.settle(ctx, events) {
			return nil
		}
	}
}

// settle waits until nothing has changed for a while and git is not at work. It returns false if ctx ends.
func (w *watcher) settle(ctx context.Context, events <-chan struct{}) bool {
	deadline := time.NewTimer(w.options.MaxDelay)
	defer deadline.Stop()
	quiet := time.NewTimer(w.options.Quiet)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return true
		case <-events:
			quiet.Reset(w.options.Quiet)
		case <-quiet.C:
			if !w.gitAtWork() {
				return true
			}
			quiet.Reset(w.options.Quiet)
		}
	}
}

// gitAtWork reports whether git is changing the work tree: it holds this lock while it writes files.
func (w *watcher) gitAtWork() bool {
	_, err := os.Lstat(filepath.Join(w.dir, ".git", "index.lock"))
	return err == nil
}

// load reads the site, again if it changes meanwhile, and delivers it unless it is what was delivered last. It returns false if
// ctx ends.
func (w *watcher) load(ctx context.Context, events <-chan struct{}) bool {
	for range maxRereads {
		if w.refresh != nil {
			w.refresh()
		}
		before := w.look()
		site, err := w.read(ctx)
		if ctx.Err() != nil {
			return false
		}
		w.stamp = w.look()
		if before == w.stamp {
			w.hand(site, err)
			return ctx.Err() == nil
		}
		if !w.settle(ctx, events) {
			return false
		}
	}
	// Something writes without pause. The next look sees that the stamp is another.
	w.options.Logger.Warn("the site keeps changing while it is read", "dir", w.dir)
	w.stamp = [sha256.Size]byte{}
	return true
}

func (w *watcher) read(ctx context.Context) (*Site, error) {
	if w.options.Read != nil {
		return w.options.Read(ctx, w.dir)
	}
	return w.loader.load(ctx, w.dir)
}

func (w *watcher) hand(site *Site, err error) {
	var fingerprint string
	var refused *refusal
	switch {
	case err == nil:
		fingerprint = fmt.Sprintf("site %x", site.digest)
	case errors.As(err, &refused):
		fingerprint = fmt.Sprintf("refused %x", refused.digest)
	default:
		fingerprint = "failed " + err.Error()
	}
	if fingerprint == w.delivered {
		return
	}
	w.delivered = fingerprint
	if w.deliver(site, err) != nil {
		w.delivered, w.stamp = "", [sha256.Size]byte{} // the next look finds a change
	}
}

// look returns a digest of the names, sizes and times of all files that would be read. It is cheap beside reading them.
func (w *watcher) look() (stamp [sha256.Size]byte) {
	hash := sha256.New()
	defer func() { hash.Sum(stamp[:0]) }()
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		fmt.Fprintln(hash, err)
		return stamp
	}
	defer root.Close()
	for _, dir := range directories() {
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(hash, err)
		}
		for _, entry := range entries[:min(len(entries), MaxFiles)] {
			if isLeftover(entry.Name()) {
				continue
			}
			file := path.Join(dir, entry.Name())
			if info, err := root.Stat(file); err == nil {
				fmt.Fprintf(hash, "%q %d %d %v\n", file, info.Size(), info.ModTime().UnixNano(), info.Mode())
			} else {
				fmt.Fprintf(hash, "%q %v\n", file, err)
			}
		}
	}
	return stamp
}
