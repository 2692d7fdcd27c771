package boltstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
)

// MaxProblems is the number of problems that a check names.
const MaxProblems = 100

// Summary is what a file says about itself.
type Summary struct {
	Name     string         `json:"name"` // what the file is for
	Schema   int            `json:"schema"`
	Revision store.Revision `json:"revision"`
	Records  int            `json:"records"`
	Bytes    int64          `json:"bytes"`    // size of the file
	Problems []string       `json:"problems"` // at most MaxProblems; empty: the file is sound
}

// Err returns an error of kind Invalid that names the first problem, nil if there is none.
func (s Summary) Err() error {
	switch len(s.Problems) {
	case 0:
		return nil
	case 1:
		return fault.New(fault.Invalid, "%s", s.Problems[0])
	}
	return fault.New(fault.Invalid, "%s (and %d more)", s.Problems[0], len(s.Problems)-1)
}

func (s *Summary) add(format string, args ...any) {
	if len(s.Problems) < MaxProblems {
		s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
	}
}

// Backup writes the file as of now to w, while others read and write. It returns the number of bytes. The space of what is overwritten
// meanwhile cannot be reused before w has taken everything, so w should not be slow for ever: bound it with a deadline.
func (s *Store) Backup(w io.Writer) (int64, error) {
	var n int64
	err := s.view(context.Background(), func(tx *bolt.Tx) error {
		var err error
		n, err = tx.WriteTo(w)
		return err
	})
	if err != nil {
		return n, fmt.Errorf("backing up the store: %w", err)
	}
	return n, nil
}

// Check examines a copy of the file as of now, which needs the file's size of space beside it for a moment.
func (s *Store) Check() (Summary, error) {
	f, err := os.CreateTemp(filepath.Dir(s.db.Path()), ".check-*")
	if err != nil {
		return Summary{}, fmt.Errorf("checking store: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = s.Backup(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return Summary{}, fmt.Errorf("checking store: %w", err)
	}
	return CheckFile(f.Name())
}

// CheckFile examines a file that no process writes to: bolt's own structure, the header, the keys, and that every value is JSON.
// What is wrong with the content is in the summary; the error says that the file could not be read at all.
func CheckFile(path string) (summary Summary, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return Summary{}, fmt.Errorf("checking store: %w", err)
	}
	db, err := openFile(path, DefaultLockTimeout, true)
	if err != nil {
		return Summary{}, fmt.Errorf("checking store: %w", err)
	}
	defer db.Close()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			summary.add("the file is damaged: %v", r)
		}
	}()
	summary.Bytes = info.Size()
	found, err := inspect(db, "")
	if err != nil {
		return summary, fmt.Errorf("checking store %s: %w", path, err)
	}
	summary.Name, summary.Schema, summary.Revision = found.name, found.schema, found.revision
	if found.schema == 0 {
		return summary, fault.New(fault.Invalid, "checking store %s: the file is empty", path)
	}
	if err := current.acceptable(found.schema); err != nil {
		return summary, fmt.Errorf("checking store %s: %w", path, err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		for problem := range tx.Check() {
			summary.add("structure: %v", problem)
		}
		return tx.Bucket(recordBucket).ForEach(func(k, v []byte) error {
			summary.Records++
			summary.examine(k, v)
			return nil
		})
	})
	return summary, err
}

func (s *Summary) examine(key, data []byte) {
	record, err := decode(key, data)
	if err != nil {
		s.add("%v", err)
		return
	}
	if err := store.CheckKey(record.Key); err != nil {
		s.add("%v", err)
	}
	if record.Revision == 0 || record.Revision > s.Revision {
		s.add("record %q has revision %d, the store is at %d", record.Key, record.Revision, s.Revision)
	}
	if !json.Valid(record.Value) {
		s.add("record %q is not JSON", record.Key)
	}
}

// Restore replaces the file at path by the backup in from, after checking the backup. The replaced file is kept as path with
// ".before-restore". It refuses, with kind Unavailable, while a process has the file at path, and with kind Invalid if the backup is
// damaged or of another name than the file it would replace.
func Restore(path, from string) (Summary, error) {
	summary, err := CheckFile(from)
	if err == nil {
		err = summary.Err()
	}
	if err != nil {
		return summary, fmt.Errorf("restoring %s: %w", path, err)
	}
	unlock, err := keepOld(path, summary.Name)
	if err != nil {
		return summary, fmt.Errorf("restoring %s: %w", path, err)
	}
	defer unlock()
	err = replaceFile(path, func(f *os.File) error {
		backup, err := os.Open(from)
		if err != nil {
			return err
		}
		defer backup.Close()
		_, err = io.Copy(f, backup)
		return err
	})
	return summary, err
}

// keepOld gives the file at path a second name and keeps it locked until unlock is called. A damaged old file is no
// obstacle: that is what one restores for.
func keepOld(path, name string) (unlock func(), err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	unlock = func() {}
	db, err := openFile(path, DefaultLockTimeout, false)
	switch {
	case err == nil:
		unlock = func() { db.Close() }
		found, err := inspect(db, "")
		if err == nil && found.name != "" && name != "" && found.name != name {
			unlock()
			return nil, fault.New(fault.Invalid, "the backup is the store of %q, the file that of %q", name, found.name)
		}
	case !fault.Is(err, fault.Invalid):
		return nil, err
	}
	kept := path + ".before-restore"
	if err := os.Remove(kept); err != nil && !errors.Is(err, os.ErrNotExist) {
		unlock()
		return nil, err
	}
	if err := os.Link(path, kept); err != nil {
		unlock()
		return nil, fmt.Errorf("keeping the old file: %w", err)
	}
	return unlock, nil
}
