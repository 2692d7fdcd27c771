package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

func TestBackupWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "config.db"), boltstore.Options{Name: "config"})
	stop, done := make(chan struct{}), make(chan struct{})
	put(t, s, "a/0", `0`)
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				put(t, s, fmt.Sprintf("a/%d", i%500), fmt.Sprint(i))
			}
		}
	}()
	for i := range 5 {
		var backup bytes.Buffer
		if n, err := s.Backup(&backup); err != nil || n != int64(backup.Len()) {
			t.Fatalf("Backup = %d, %v, wrote %d", n, err, backup.Len())
		}
		path := filepath.Join(dir, fmt.Sprintf("backup%d.db", i))
		if err := os.WriteFile(path, backup.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		summary, err := boltstore.CheckFile(path)
		if err != nil || summary.Err() != nil || summary.Name != "config" || summary.Schema != boltstore.Schema || summary.Records == 0 {
			t.Fatalf("CheckFile = %+v, %v", summary, err)
		}
	}
	if summary, err := s.Check(); err != nil || summary.Err() != nil || summary.Records == 0 {
		t.Errorf("Check = %+v, %v", summary, err)
	}
	close(stop)
	<-done
	if left, err := filepath.Glob(filepath.Join(dir, ".check-*")); err != nil || left != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestBackupFails(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a.db"), boltstore.Options{})
	if _, err := s.Backup(failing{}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got error %v", err)
	}
}

func TestCheckFindsProblems(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.db")
	s := open(t, path, boltstore.Options{})
	put(t, s, "fine", `{}`)
	put(t, s, "text", `{"no`)
	s.Close()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		records := tx.Bucket([]byte("records"))
		return errors.Join(records.Put([]byte("short"), []byte("1")),
			records.Put([]byte("new\nline"), append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, '1')),
			records.Put([]byte("future"), append([]byte{0, 0, 0, 0, 0, 0, 0, 9}, '1')))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	summary, err := boltstore.CheckFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`record "future" has revision 9, the store is at 2`,
		`key "new\nline" contains a control character`,
		`record "short" is damaged: 1 bytes`,
		`record "text" is not JSON`,
	}
	if got := strings.Join(summary.Problems, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("problems:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if err := summary.Err(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "and 3 more") {
		t.Errorf("Err = %v", err)
	}
	if _, err := boltstore.CheckFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestCheckSurvivesDamage overwrites every page in turn; whatever is found, the process lives.
func TestCheckSurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.db")
	s := open(t, path, boltstore.Options{})
	for i := range 200 {
		put(t, s, fmt.Sprintf("key/%d", i), `"`+strings.Repeat("x", 100)+`"`)
	}
	var backup bytes.Buffer
	if _, err := s.Backup(&backup); err != nil {
		t.Fatal(err)
	}
	whole := backup.Bytes()
	found := 0
	for at := 0; at < len(whole); at += os.Getpagesize() {
		damaged := bytes.Clone(whole)
		copy(damaged[at:], bytes.Repeat([]byte{0xa5}, os.Getpagesize()))
		broken := filepath.Join(dir, "broken.db")
		if err := os.WriteFile(broken, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if summary, err := boltstore.CheckFile(broken); err != nil || summary.Err() != nil {
			found++
		}
	}
	if found == 0 {
		t.Error("no damage was found")
	}
}

func TestRestore(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "config.db"), filepath.Join(dir, "backup.db")
	s := open(t, path, boltstore.Options{Name: "config"})
	put(t, s, "a", `"old"`)
	f, err := os.Create(backup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	put(t, s, "a", `"new"`)
	if _, err := boltstore.Restore(path, backup); !fault.Is(err, fault.Unavailable) {
		t.Errorf("restoring under a running store: got error %v, want one of kind unavailable", err)
	}
	s.Close()
	if summary, err := boltstore.Restore(path, backup); err != nil || summary.Records != 1 {
		t.Fatalf("Restore = %+v, %v", summary, err)
	}
	for file, want := range map[string]string{path: `"old"`, path + ".before-restore": `"new"`} {
		s := open(t, file, boltstore.Options{Name: "config"})
		if r, err := s.Get(t.Context(), "a"); err != nil || string(r.Value) != want {
			t.Errorf("%s: %s, %v, want %s", filepath.Base(file), r.Value, err, want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", filepath.Base(file), info.Mode(), err)
		}
		s.Close()
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.db")
	s := open(t, path, boltstore.Options{Name: "config"})
	put(t, s, "a", `1`)
	s.Close()
	leases := filepath.Join(dir, "leases.db")
	open(t, leases, boltstore.Options{Name: "leases"}).Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	short, empty := filepath.Join(dir, "short.db"), filepath.Join(dir, "empty.db")
	if err := errors.Join(os.WriteFile(short, whole[:len(whole)/2], 0o600), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{leases, short, empty} {
		if _, err := boltstore.Restore(path, from); err == nil {
			t.Errorf("%s was restored", filepath.Base(from))
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(after, whole) {
		t.Errorf("a refused restore changed the file, %v", err)
	}
}

func TestRestoreOverDamage(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "config.db"), filepath.Join(dir, "backup.db")
	s := open(t, backup, boltstore.Options{Name: "config"})
	put(t, s, "a", `1`)
	s.Close()
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Restore(path, backup); err != nil {
		t.Fatal(err)
	}
	open(t, path, boltstore.Options{Name: "config"})
	if _, err := boltstore.Restore(filepath.Join(dir, "new.db"), backup); err != nil {
		t.Errorf("restoring where nothing was: %v", err)
	}
}

// rename is a step that moves every record, as a migration might.
func rename(tx *bolt.Tx) error {
	records := tx.Bucket([]byte("records"))
	value := bytes.Clone(records.Get([]byte("old")))
	return errors.Join(records.Delete([]byte("old")), records.Put([]byte("new"), value))
}

func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.db")
	s := open(t, path, boltstore.Options{Name: "config"})
	put(t, s, "old", `1`)
	s.Close()

	broken := map[int]func(*bolt.Tx) error{1: rename, 2: func(*bolt.Tx) error { return errors.New("no luck") }}
	if _, err := boltstore.Open(path, boltstore.WithLayout(3, broken)); err == nil || !strings.Contains(err.Error(), "migrating from schema 2: no luck") {
		t.Errorf("a failing step: got error %v", err)
	}
	if _, err := boltstore.Open(path, boltstore.WithLayout(3, map[int]func(*bolt.Tx) error{1: rename})); !fault.Is(err, fault.Invalid) {
		t.Errorf("a missing step: got error %v", err)
	}
	s = open(t, path, boltstore.WithLayout(2, map[int]func(*bolt.Tx) error{1: rename}))
	if r, err := s.Get(t.Context(), "new"); err != nil || r.Revision != 1 {
		t.Errorf("after migrating: %+v, %v", r, err)
	}
	s.Close()

	_, err := boltstore.Open(path, boltstore.Options{})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "has schema 2, this version of matchd knows schemas up to 1") {
		t.Errorf("a newer schema: got error %v", err)
	}
	kept := open(t, path+".schema-1.bak", boltstore.Options{Name: "config"})
	if r, err := kept.Get(t.Context(), "old"); err != nil || string(r.Value) != `1` {
		t.Errorf("in the backup: %+v, %v", r, err)
	}
}
