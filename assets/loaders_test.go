package assets_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/assets"
)

// debian stands for what the build embeds.
func debian(t *testing.T) fs.FS {
	t.Helper()
	files := fstest.MapFS{"README.md": {Data: []byte("not a loader")}}
	var manifest strings.Builder
	for i, name := range []string{"undionly.kpxe", "snponly.efi", "ipxe.efi", "shimx64.efi.signed", "grubnetx64.efi.signed", "grubnetaa64.efi.signed"} {
		digest, err := assets.DigestOf(strings.NewReader(name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: []byte(name)}
		manifest.WriteString([]string{"[", ","}[min(i, 1)])
		manifest.WriteString(`{"file":"` + name + `","package":"p","version":"1","sha256":"` + digest.Hex() + `"}`)
	}
	files["loaders.json"] = &fstest.MapFile{Data: []byte(manifest.String() + "]")}
	return files
}

func newLoaders(t *testing.T, o assets.LoaderOptions) *assets.Loaders {
	t.Helper()
	if o.SystemDirs == nil {
		o.SystemDirs = []string{}
	}
	l, err := assets.NewLoaders(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoadersFor(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "arm64-efi/snponly.efi"), "arm ipxe")
	write(t, filepath.Join(dir, "mine.efi"), "mine")
	for _, tc := range []struct {
		arch, family string
		override     string
		dirs         []string
		want         []string
	}{
		{arch: "x86-bios", want: []string{"undionly.kpxe"}},
		{arch: "x86-bios", family: "shim"},
		{arch: "x86_64-efi", want: []string{"snponly.efi", "ipxe.efi", "grubx64.efi"}},
		{arch: "x86_64-efi", family: "ipxe", want: []string{"snponly.efi", "ipxe.efi"}},
		{arch: "x86_64-efi", family: "shim", want: []string{"shimx64.efi"}},
		{arch: "x86_64-efi", family: "grub", want: []string{"grubx64.efi"}},
		{arch: "x86_64-efi", override: "shim", want: []string{"shimx64.efi"}},
		{arch: "x86_64-efi", override: "shim", family: "ipxe", want: []string{"snponly.efi", "ipxe.efi"}},
		{arch: "x86_64-efi", override: "mine.efi", dirs: []string{dir}, want: []string{"mine.efi", "snponly.efi", "ipxe.efi", "grubx64.efi"}},
		{arch: "x86_64-efi", override: "ipxe.efi", want: []string{"ipxe.efi", "snponly.efi", "grubx64.efi"}},
		{arch: "arm64-efi", want: []string{"grubaa64.efi"}},
		{arch: "arm64-efi", family: "shim"},
		{arch: "arm64-efi", dirs: []string{dir}, want: []string{"snponly-arm64.efi", "grubaa64.efi"}},
		{arch: "i386-efi"},
		{arch: ""},
	} {
		overrides := map[string]string{}
		if tc.override != "" {
			overrides[tc.arch] = tc.override
		}
		l := newLoaders(t, assets.LoaderOptions{Embedded: debian(t), Dirs: tc.dirs, Overrides: overrides})
		if diff := cmp.Diff(tc.want, append([]string(nil), l.For(tc.arch, tc.family)...)); diff != "" {
			t.Errorf("For(%q, %q) with override %q (-want +got):\n%s", tc.arch, tc.family, tc.override, diff)
		}
	}
}

func TestLoadersOpen(t *testing.T) {
	first, system := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "ipxe.efi"), "operator's")
	write(t, filepath.Join(system, "snponly.efi"), "packaged")
	write(t, filepath.Join(system, "ipxe.pxe"), "packaged")
	l := newLoaders(t, assets.LoaderOptions{Embedded: debian(t), Dirs: []string{first}, SystemDirs: []string{system}})
	for name, want := range map[string]string{
		"ipxe.efi": "operator's", "snponly.efi": "snponly.efi", "SNPONLY.EFI": "snponly.efi", "ipxe.pxe": "packaged",
		"grubx64.efi": "grubnetx64.efi.signed", "shimx64.efi": "shimx64.efi.signed", "shimx64.efi.signed": "shimx64.efi.signed",
	} {
		file, info, err := l.Open(name)
		if err != nil {
			t.Errorf("Open(%q): %v", name, err)
			continue
		}
		got, err := io.ReadAll(file)
		if err != nil || string(got) != want || info.ETag == "" {
			t.Errorf("Open(%q) reads %q, %v with tag %s; want %q", name, got, err, info.ETag, want)
		}
		_ = file.Close()
	}
	for _, name := range []string{"", "mmx64.efi", "README.md", "loaders.json", ".", "..", "../x", "a/b", ".hidden", `a\b`} {
		if file, _, err := l.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q) = %v, %v; want fs.ErrNotExist", name, file, err)
		}
	}
}

func TestLoadersRefuseBadOptions(t *testing.T) {
	for name, o := range map[string]assets.LoaderOptions{
		"override with a path": {Overrides: map[string]string{"x86-bios": "../etc/passwd"}},
		"empty override":       {Overrides: map[string]string{"x86-bios": ""}},
		"damaged manifest":     {Embedded: fstest.MapFS{"loaders.json": {Data: []byte(`[{`)}}},
	} {
		if _, err := assets.NewLoaders(o); err == nil {
			t.Errorf("%s: NewLoaders succeeded", name)
		}
	}
}

func TestLoadersList(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ipxe.efi"), "operator's")
	list, err := newLoaders(t, assets.LoaderOptions{Embedded: debian(t), Dirs: []string{dir}}).List()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, loader := range list {
		got[loader.File] = loader.Origin
	}
	want := map[string]string{
		"undionly.kpxe": "embedded", "snponly.efi": "embedded", "ipxe.efi": filepath.Join(dir, "ipxe.efi"),
		"shimx64.efi.signed": "embedded", "grubnetx64.efi.signed": "embedded", "grubnetaa64.efi.signed": "embedded",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

// TestSystemDirsGivePrograms asks for what else lies beside the programs: an initrd may hold the host's keys.
func TestSystemDirsGivePrograms(t *testing.T) {
	own, boot := t.TempDir(), t.TempDir()
	programs := []string{"ipxe.lkrn", "undionly.kkpxe", "ipxe.PXE", "a.efi", "b.efi.signed"}
	others := []string{"initrd.img-6.1.0-18-amd64", "vmlinuz-6.1.0-18-amd64", "config-6.1.0-18-amd64", "System.map", "grub.cfg", "a.efi.bak", "pxe"}
	for _, name := range append(programs, others...) {
		write(t, filepath.Join(boot, name), "x")
		write(t, filepath.Join(own, name), "x")
	}
	system := newLoaders(t, assets.LoaderOptions{Embedded: debian(t), SystemDirs: []string{boot}})
	for _, name := range programs {
		if !system.Has(name) {
			t.Errorf("%s is not found in a system directory", name)
		}
	}
	operators := newLoaders(t, assets.LoaderOptions{Embedded: debian(t), Dirs: []string{own}})
	for _, name := range others {
		if system.Has(name) {
			t.Errorf("%s is given out of a system directory", name)
		}
		if !operators.Has(name) {
			t.Errorf("%s is not found in the operator's directory", name)
		}
	}
}

// TestEmbedded checks what this very build embeds, which may be nothing: every digest of the manifest is that of the bytes.
func TestEmbedded(t *testing.T) {
	l := newLoaders(t, assets.LoaderOptions{})
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != l.Embedded() {
		t.Errorf("List has %d entries, the manifest %d: some bytes are not what the manifest says", len(list), l.Embedded())
	}
	if l.Embedded() == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("no network boot programs are embedded in this build: run make loaders first")
		}
		t.Skip("no network boot programs are embedded in this build")
	}
	for _, loader := range list {
		if loader.Package == "" || loader.Version == "" || loader.Licence == "" || loader.Source == "" {
			t.Errorf("%s: package, version, licence or source is missing: %+v", loader.File, loader)
		}
	}
	for arch, family := range map[string]string{"x86-bios": "ipxe", "x86_64-efi": "shim", "arm64-efi": "grub"} {
		if len(l.For(arch, family)) == 0 {
			t.Errorf("no %s for %s is embedded", family, arch)
		}
	}
}
