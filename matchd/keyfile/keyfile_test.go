package keyfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/keyfile"
)

func TestWriteReplacesWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	for _, content := range []string{"a long first content", "second"} {
		if err := keyfile.Write(name, []byte(content), keyfile.Secret); err != nil {
			t.Fatal(err)
		}
		got, err := keyfile.ReadSecret(name)
		if err != nil || string(got) != content {
			t.Fatalf("got %q, %v, want %q", got, err, content)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, want one: %v", len(entries), err)
	}
}

func TestWriteLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "taken")
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Write(name, []byte("x"), keyfile.Secret); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left, want the directory alone", len(entries))
	}
	if err := keyfile.Write(filepath.Join(dir, "none", "key"), nil, keyfile.Secret); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing into no directory: %v", err)
	}
}

func TestReadSecretRefusesWhatOthersCanUse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	for mode, fine := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o644: false, 0o602: false} {
		if err := keyfile.Write(name, []byte("secret"), mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.ReadSecret(name)
		if fine != (err == nil) || err != nil && (!fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(name, make([]byte, keyfile.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Read(name); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want Invalid", err)
	}
}

func TestReadOrCreate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	made := 0
	fresh := func() ([]byte, error) { made++; return []byte("content"), nil }
	for range 2 {
		got, err := keyfile.ReadOrCreate(name, fresh)
		if err != nil || string(got) != "content" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if made != 1 {
		t.Errorf("made %d times, want once", made)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != keyfile.Secret {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	failure := errors.New("no randomness")
	if _, err := keyfile.ReadOrCreate(name+"2", func() ([]byte, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(name + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failure left a file: %v", err)
	}
}
