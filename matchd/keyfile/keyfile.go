// Package keyfile keeps keys and certificates in files: whole or not at all, on disk before anybody relies on them, and readable by
// others only where that is asked for.
package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/matchd/matchd/matchd/fault"
)

// Permissions of files.
const (
	Secret fs.FileMode = 0o600 // for the owner alone
	Public fs.FileMode = 0o644 // certificates
)

// MaxSize is the size of the largest file that is read, in bytes. A bundle of every public root is a fifth of it.
const MaxSize = 1 << 20

// Write puts the content under the name: beside it first, made durable, then renamed, so that the name is the old file or the whole new
// one, also after a crash.
func Write(name string, content []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", name, err)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(name))
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Read returns the content of a file of at most [MaxSize] bytes. The error wraps fs.ErrNotExist for a name that nothing has.
func Read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxSize {
		return nil, fault.New(fault.Invalid, "%s has %d bytes, which no key or certificate has", name, info.Size())
	}
	return os.ReadFile(name)
}

// ReadSecret is [Read] for a file that only its owner may read: one that others can read or change is Invalid, since nobody can tell who has.
func ReadSecret(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if open := info.Mode().Perm() &^ Secret; open != 0 {
		return nil, fault.New(fault.Invalid, "%s has mode %04o: others than its owner can use it; replace it if they may have, then chmod 600 it", name, info.Mode().Perm())
	}
	return Read(name)
}

// ReadOrCreate is [ReadSecret]; a file that there is not is made with the content that fresh returns.
func ReadOrCreate(name string, fresh func() ([]byte, error)) ([]byte, error) {
	content, err := ReadSecret(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if content, err = fresh(); err != nil {
		return nil, err
	}
	return content, Write(name, content, Secret)
}
