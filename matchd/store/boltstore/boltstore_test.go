package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
	"github.com/matchd/matchd/matchd/store/storetest"
)

// open returns a store that is closed at the end of the test.
func open(t testing.TB, path string, opts boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s store.Store, key, value string) store.Revision {
	t.Helper()
	revision, err := s.Apply(t.Context(), store.Op{Key: key, Value: []byte(value)})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, filepath.Join(t.TempDir(), "test.db"), boltstore.Options{})
	})
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	s := open(t, path, boltstore.Options{Name: "config"})
	put(t, s, "a", `1`)
	at := put(t, s, "b", `{"x":2}`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, boltstore.Options{Name: "config"})
	r, err := s.Get(t.Context(), "b")
	if err != nil || string(r.Value) != `{"x":2}` || r.Revision != at {
		t.Errorf("Get = %+v, %v", r, err)
	}
	if _, err := s.Watch(t.Context(), "", at-1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watching from before the restart: got error %v, want ErrCompacted", err)
	}
	if next := put(t, s, "c", `3`); next != at+1 {
		t.Errorf("the next revision is %d, want %d", next, at+1)
	}
	if c, err := s.Watch(t.Context(), "", at); err != nil || c.Revision != at+1 {
		t.Errorf("Watch = %+v, %v", c, err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	open(t, path, boltstore.Options{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"), boltstore.Options{History: 3})
	for i := range 10 {
		put(t, s, "a", fmt.Sprint(i))
	}
	if _, err := s.Watch(t.Context(), "", 6); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("four commits back: got error %v, want ErrCompacted", err)
	}
	if c, err := s.Watch(t.Context(), "", 7); err != nil || c.Revision != 8 {
		t.Errorf("three commits back: %+v, %v", c, err)
	}
	none := open(t, filepath.Join(t.TempDir(), "b.db"), boltstore.Options{History: -1})
	put(t, none, "a", `1`)
	if _, err := none.Watch(t.Context(), "", 0); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("without history: got error %v, want ErrCompacted", err)
	}
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"), boltstore.Options{})
	value := strings.Repeat("1", store.MaxValueSize)
	for range boltstore.MaxHistoryBytes/store.MaxValueSize + 2 {
		put(t, s, "a", value)
	}
	if _, err := s.Watch(t.Context(), "", 0); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("got error %v, want ErrCompacted", err)
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	open(t, path, boltstore.Options{})
	_, err := boltstore.Open(path, boltstore.Options{LockTimeout: time.Millisecond})
	if !fault.Is(err, fault.Unavailable) {
		t.Fatalf("got error %v, want one of kind unavailable", err)
	}
	if want := fmt.Sprintf("process %d ", os.Getpid()); !strings.Contains(err.Error(), want) {
		t.Errorf("the error does not say who has the file (%q): %v", want, err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	db, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(dir, "named.db")
	open(t, named, boltstore.Options{Name: "leases"}).Close()
	whole, err := os.ReadFile(named)
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(dir, "short.db")
	if err := os.WriteFile(short, whole[:len(whole)/4], 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		foreign: `belongs to another program: it has a bucket "theirs"`,
		text:    "is not a store or is damaged",
		named:   `is the store of "leases", not of "config"`,
		short:   "is cut off",
		dir:     "is not a file",
	} {
		_, err := boltstore.Open(path, boltstore.Options{Name: "config"})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one of kind invalid with %q", filepath.Base(path), err, want)
		}
	}
	if _, err := boltstore.Open(filepath.Join(dir, "none", "a.db"), boltstore.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without directory: got error %v", err)
	}
}

// TestGroupCommit: many callers at once need far fewer transactions than commits.
func TestGroupCommit(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"), boltstore.Options{})
	const callers, commits = 64, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range commits {
				if _, err := s.Apply(t.Context(), store.Op{Key: fmt.Sprintf("%d/%d", c, i), Value: []byte("1")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := boltstore.Transactions(s); n > callers*commits/4 {
		t.Errorf("%d transactions for %d commits", n, callers*commits)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "a.db"), boltstore.Options{History: -1})
			value := []byte(`{"address":"10.0.0.1","mac":"52:54:00:00:00:01","state":"active","start":"2026-01-01T00:00:00Z","expires":"2026-01-01T12:00:00Z"}`)
			work := make(chan int)
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := range work {
						if _, err := s.Apply(b.Context(), store.Op{Key: fmt.Sprintf("lease/10.0.%d.%d", i>>8&255, i&255), Value: value}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
