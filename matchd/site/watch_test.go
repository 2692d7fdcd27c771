package site

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// news is one call of deliver.
type news struct {
	site *Site
	err  error
}

func put(t *testing.T, dir, file, text string) {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// simulated runs a watcher on a real directory with simulated time and events.
type simulated struct {
	t      *testing.T
	dir    string
	events chan struct{}

	mu   sync.Mutex
	got  []news
	fail error // what deliver returns
}

func simulate(t *testing.T, test func(*simulated)) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulated{t: t, dir: t.TempDir(), events: make(chan struct{}, 1)}
		put(t, s.dir, "profiles/p.yaml", "{}\n")
		put(t, s.dir, "groups/a.yaml", "profile: p\n")
		ctx, cancel := context.WithCancel(t.Context())
		w := &watcher{dir: s.dir, options: WatchOptions{Logger: slog.New(slog.DiscardHandler)}.withDefaults(), loader: newLoader(ReadOptions{})}
		w.deliver = func(site *Site, err error) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got = append(s.got, news{site, err})
			return s.fail
		}
		done := make(chan error)
		go func() { done <- w.run(ctx, s.events) }()
		synctest.Wait()
		s.want("the first reading", 1)
		test(s)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// want fails unless so many deliveries have been made.
func (s *simulated) want(when string, n int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) != n {
		s.t.Fatalf("%s: %d deliveries, want %d", when, len(s.got), n)
	}
}

// pass lets time pass.
func (s *simulated) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *simulated) event() {
	s.events <- struct{}{}
	synctest.Wait()
}

func (s *simulated) last() news {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[len(s.got)-1]
}

func TestWatchCoalescesABurst(t *testing.T) {
	simulate(t, func(s *simulated) {
		for _, name := range []string{"b", "c", "d", "e"} {
			put(t, s.dir, "groups/"+name+".yaml", "profile: p\nselector: {os: "+name+"}\n")
			s.event()
			s.pass(DefaultQuiet / 2)
		}
		s.want("during the burst", 1)
		s.pass(DefaultQuiet)
		s.want("after the burst", 2)
		if n := len(s.last().site.Groups); n != 5 {
			t.Errorf("%d groups, want 5", n)
		}
	})
}

func TestWatchDoesNotWaitForEver(t *testing.T) {
	simulate(t, func(s *simulated) {
		put(t, s.dir, "groups/b.yaml", "profile: p\nselector: {os: b}\n")
		for passed := time.Duration(0); passed < DefaultMaxDelay+DefaultQuiet; passed += DefaultQuiet / 2 {
			s.event() // something else keeps writing, to files that are not read
			s.pass(DefaultQuiet / 2)
		}
		s.want("after the longest delay", 2)
	})
}

func TestWatchDeliversAgainWhatCouldNotBeTaken(t *testing.T) {
	simulate(t, func(s *simulated) {
		failing := func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fail = err
		}
		failing(errors.New("the disk is full"))
		put(t, s.dir, "groups/b.yaml", "profile: p\nselector: {os: b}\n")
		s.event()
		s.pass(DefaultQuiet)
		s.want("when it was not taken", 2)
		s.pass(DefaultPoll + DefaultQuiet)
		s.want("a poll later", 3)
		failing(nil)
		s.pass(DefaultPoll + DefaultQuiet)
		s.want("when it was taken", 4)
		s.pass(10 * DefaultPoll)
		s.want("afterwards", 4)
	})
}

func TestWatchWaitsForGit(t *testing.T) {
	simulate(t, func(s *simulated) {
		put(t, s.dir, ".git/index.lock", "")
		put(t, s.dir, "groups/b.yaml", "profile: p\nselector: {os: b}\n")
		s.event()
		s.pass(4 * DefaultQuiet)
		s.want("while git is at work", 1)
		if err := os.Remove(filepath.Join(s.dir, ".git/index.lock")); err != nil {
			t.Fatal(err)
		}
		s.pass(DefaultQuiet)
		s.want("when git is done", 2)
	})
}

func TestWatchLooksFromTimeToTime(t *testing.T) {
	simulate(t, func(s *simulated) {
		put(t, s.dir, "groups/b.yaml", "profile: p\nselector: {os: b}\n") // without an event, as on NFS
		s.pass(DefaultPoll + DefaultQuiet)
		s.want("after a look", 2)
		s.pass(10 * DefaultPoll)
		s.want("with nothing new", 2)
	})
}

func TestWatchSaysNothingOfTheSame(t *testing.T) {
	simulate(t, func(s *simulated) {
		put(t, s.dir, "groups/a.yaml", "profile: p\n") // the same again
		put(t, s.dir, "groups/.a.yaml.swp", "x")
		s.event()
		s.pass(DefaultPoll)
		s.want("after writing the same", 1)
	})
}

func TestWatchBrokenAndMended(t *testing.T) {
	simulate(t, func(s *simulated) {
		put(t, s.dir, "groups/a.yaml", "profile: [\n")
		s.event()
		s.pass(DefaultQuiet)
		s.want("after breaking it", 2)
		var problems *Problems
		if got := s.last(); got.site != nil || !errors.As(got.err, &problems) {
			t.Errorf("got %v, %v", got.site, got.err)
		}
		s.event()
		s.pass(DefaultQuiet)
		s.want("while it is as broken as before", 2)
		put(t, s.dir, "groups/a.yaml", "profile: [ \n")
		s.event()
		s.pass(DefaultQuiet)
		s.want("when it is broken in another way", 3)
		put(t, s.dir, "groups/a.yaml", "profile: p\n")
		s.event()
		s.pass(DefaultQuiet)
		s.want("after mending it", 4)
		if got := s.last(); got.err != nil || len(got.site.Groups) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWatchDirectoryGoesAndComes(t *testing.T) {
	simulate(t, func(s *simulated) {
		away := s.dir + ".away"
		if err := os.Rename(s.dir, away); err != nil {
			t.Fatal(err)
		}
		s.pass(DefaultPoll + DefaultQuiet)
		s.want("when it is gone", 2)
		if got := s.last(); !errors.Is(got.err, os.ErrNotExist) {
			t.Errorf("got %v", got.err)
		}
		put(t, away, "groups/b.yaml", "profile: p\nselector: {os: b}\n")
		if err := os.Rename(away, s.dir); err != nil {
			t.Fatal(err)
		}
		s.pass(DefaultPoll + DefaultQuiet)
		s.want("when it is back", 3)
		if got := s.last(); got.err != nil || len(got.site.Groups) != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestWatchSymlinkSwap replaces the whole site the way that deployments do.
func TestWatchSymlinkSwap(t *testing.T) {
	simulate(t, func(s *simulated) {
		next := t.TempDir()
		put(t, next, "profiles/p.yaml", "{}\n")
		put(t, next, "groups/new.yaml", "profile: p\n")
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(next, s.dir); err != nil {
			t.Fatal(err)
		}
		s.pass(DefaultPoll + DefaultQuiet)
		if got := s.last(); got.err != nil || got.site.Groups[0].Value.ID != "new" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestWatchForReal lets the file system notify.
func TestWatchForReal(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "profiles/p.yaml", "{}\n")
	ctx, cancel := context.WithCancel(t.Context())
	delivered := make(chan news)
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, dir, WatchOptions{Quiet: time.Millisecond, Poll: time.Hour}, func(site *Site, err error) error {
			select {
			case delivered <- news{site, err}:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	until := func(what string, good func(*Site) bool) {
		t.Helper()
		for {
			select {
			case got := <-delivered:
				if got.err == nil && good(got.site) {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("no news of %s", what)
			}
		}
	}
	until("the first reading", func(s *Site) bool { return len(s.Profiles) == 1 })
	put(t, dir, "groups/a.yaml", "profile: p\n") // in a directory that was not there
	until("a new directory", func(s *Site) bool { return len(s.Groups) == 1 })
	if err := os.Rename(filepath.Join(dir, "groups"), filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	until("a directory that went away", func(s *Site) bool { return len(s.Groups) == 0 })
	put(t, dir, "groups/b.yaml", "profile: p\n")
	until("another directory of that name", func(s *Site) bool { return len(s.Groups) == 1 })
	put(t, dir, "groups/b.yaml", "profile: p\nname: changed\n")
	until("a change in it", func(s *Site) bool { return s.Groups[0].Value.Name == "changed" })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watch: %v", err)
	}
}
