package assets_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/assets"
)

// newTree returns a tree over a fresh directory that holds the given files, and that directory.
func newTree(t *testing.T, files map[string]string) (*assets.Tree, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "assets")
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	tree, err := assets.OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	return tree, dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTreeOpen(t *testing.T) {
	tree, dir := newTree(t, map[string]string{
		"fcos/vmlinuz": "kernel", ".secret": "s", "fcos/.git/config": "s", "UPPER/Initrd.IMG": "initrd", "upper/other": "o",
	})
	write(t, filepath.Join(filepath.Dir(dir), "outside"), "passwd")
	link := func(to, from string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	link("fcos", "current")
	link("../outside", "escape")
	link("/etc/passwd", "absolute")
	link("loop", "loop")
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		fold       bool
		dir        bool
	}{
		{name: "fcos/vmlinuz", want: "kernel"},
		{name: "/fcos//vmlinuz", want: "kernel"},
		{name: `\fcos\vmlinuz`, want: "kernel"},
		{name: "./fcos/../fcos/vmlinuz", want: "kernel"},
		{name: "../../fcos/vmlinuz", want: "kernel"}, // above the root there is the root
		{name: "current/vmlinuz", want: "kernel"},
		{name: "upper/initrd.img"},
		{name: "UPPER/INITRD.IMG", fold: true, want: "initrd"},
		{name: "FCOS/VMLINUZ", fold: true, want: "kernel"},
		{name: "FCOS/VMLINUX", fold: true},
		{name: "/", dir: true},
		{name: "", dir: true},
		{name: "fcos/", dir: true},
		{name: "missing"},
		{name: "fcos/vmlinuz/x"},
		{name: ".secret"},
		{name: "fcos/.git/config"},
		{name: "escape"},
		{name: "absolute"},
		{name: "loop"},
		{name: "fifo"},
		{name: "fcos/vmlinuz\x00.txt"},
		{name: strings.Repeat("a/", 600)},
	} {
		open := tree.Open
		if tc.fold {
			open = tree.OpenFold
		}
		file, info, err := open(tc.name)
		if info.Dir != tc.dir {
			t.Errorf("Open(%q): Dir = %v, want %v", tc.name, info.Dir, tc.dir)
		}
		if tc.dir {
			continue
		}
		if tc.want == "" {
			if !errors.Is(err, fs.ErrNotExist) || file != nil {
				t.Errorf("Open(%q) = %v, %v; want fs.ErrNotExist", tc.name, file, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("Open(%q): %v", tc.name, err)
			continue
		}
		got, err := io.ReadAll(file)
		if err != nil || string(got) != tc.want || info.Size != int64(len(tc.want)) {
			t.Errorf("Open(%q) reads %q (size %d), %v; want %q", tc.name, got, info.Size, err, tc.want)
		}
		_ = file.Close()
	}
}

func TestTreeValidator(t *testing.T) {
	tree, dir := newTree(t, map[string]string{"a": "1"})
	tag := func() string {
		t.Helper()
		file, info, err := tree.Open("a")
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		return info.ETag
	}
	first := tag()
	if !strings.HasPrefix(first, `W/"`) {
		t.Errorf("tag of a file changed just now is %s, want a weak one", first)
	}
	// Same size, and the modification time put back: the change time still tells.
	stat, err := os.Stat(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.new"), "2")
	if err := os.Rename(filepath.Join(dir, "a.new"), filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "a"), stat.ModTime(), stat.ModTime()); err != nil {
		t.Fatal(err)
	}
	if second := tag(); second == first {
		t.Errorf("tag stayed %s when the content changed behind the same size and modification time", second)
	}
}

func TestTreeList(t *testing.T) {
	tree, dir := newTree(t, map[string]string{"b": "22", "a/x": "1", ".hidden": "", "c": ""})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "escape")); err != nil {
		t.Fatal(err)
	}
	got, err := tree.List("/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].ModTime = time.Time{}
	}
	want := []assets.Info{{Name: "a", Dir: true}, {Name: "b", Size: 2}, {Name: "c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := tree.List("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of a missing directory: %v, want fs.ErrNotExist", err)
	}
}

func TestTreeDigest(t *testing.T) {
	tree, dir := newTree(t, map[string]string{"a": "abc"})
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	for range 2 {
		got, err := tree.Digest(t.Context(), "a")
		if err != nil || got.String() != abc {
			t.Errorf("Digest = %s, %v; want %s", got, err, abc)
		}
	}
	write(t, filepath.Join(dir, "a"), "abd")
	if got, err := tree.Digest(t.Context(), "/a"); err != nil || got.String() == abc {
		t.Errorf("Digest after a change = %s, %v", got, err)
	}
	if _, err := tree.Digest(t.Context(), "/"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Digest of a directory: %v", err)
	}
}

func TestParseDigest(t *testing.T) {
	d, err := assets.DigestOf(strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{d.String(), d.Hex(), "sha256-" + d.Hex(), strings.ToUpper(d.Hex())} {
		if got, err := assets.ParseDigest(text); err != nil || got != d {
			t.Errorf("ParseDigest(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "sha256:", d.Hex()[1:], d.Hex() + "0", strings.Repeat("g", 64), "sha512-" + d.Hex()} {
		if _, err := assets.ParseDigest(text); err == nil {
			t.Errorf("ParseDigest(%q) succeeded", text)
		}
	}
}

// FuzzTreeOpen looks for a name that leaves the directory or shows something hidden.
// TestTreeFollowsItsDirectory makes, replaces and removes the directory while the tree is open, as an operator or a deployment does.
func TestTreeFollowsItsDirectory(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "assets")
	tree, err := assets.OpenTree(dir)
	if err != nil {
		t.Fatalf("a directory that is not there yet: %v", err)
	}
	is := func(step, want string) {
		t.Helper()
		file, _, err := tree.Open("vmlinuz")
		if want == "" {
			if _, listing := tree.List("."); !errors.Is(err, fs.ErrNotExist) || !errors.Is(listing, fs.ErrNotExist) {
				t.Errorf("%s: %v, %v, want fs.ErrNotExist", step, err, listing)
			}
			return
		}
		if err != nil {
			t.Errorf("%s: %v", step, err)
			return
		}
		defer file.Close()
		if got, err := io.ReadAll(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", step, got, err, want)
		}
	}
	is("before", "")
	write(t, filepath.Join(dir, "vmlinuz"), "first")
	is("made", "first")
	write(t, filepath.Join(parent, "next/vmlinuz"), "second")
	for _, err := range []error{os.Rename(dir, filepath.Join(parent, "old")), os.Symlink("next", dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	is("replaced by a link", "second")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	is("removed", "")
	if err := tree.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if err := os.Symlink("old", dir); err != nil {
		t.Fatal(err)
	}
	is("closed", "")
	if _, err := assets.OpenTree(filepath.Join(parent, "old/vmlinuz")); err == nil {
		t.Error("a file is taken for a directory")
	}
}

func FuzzTreeOpen(f *testing.F) {
	dir := f.TempDir()
	inside := filepath.Join(dir, "assets")
	for name, content := range map[string]string{
		filepath.Join(dir, "outside"): "secret", filepath.Join(inside, ".hidden"): "secret", filepath.Join(inside, "a/b"): "public",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(inside, "link")); err != nil {
		f.Fatal(err)
	}
	tree, err := assets.OpenTree(inside)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"a/b", "../outside", `..\outside`, "a/../../outside", "link", ".hidden", "A//B", "a/b\x00", "%2e%2e/outside", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, open := range []func(string) (*os.File, assets.Info, error){tree.Open, tree.OpenFold} {
			file, _, err := open(name)
			if err != nil || file == nil {
				continue
			}
			got, err := io.ReadAll(file)
			_ = file.Close()
			if err != nil || string(got) != "public" {
				t.Errorf("Open(%q) reads %q, %v", name, got, err)
			}
		}
	})
}
