package assets

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// embedded holds what assets/loaders/fetch put there before the build; in a plain checkout, a README alone.
//
//go:embed all:loaders/files
var embedded embed.FS

const (
	embeddedDir  = "loaders/files"
	manifestFile = "loaders.json"
)

// Families of network boot programs, as profiles and the configuration name them.
const (
	FamilyIPXE = "ipxe"
	FamilyShim = "shim"
	FamilyGRUB = "grub"
)

// SystemDirs returns where Debian's packages put network boot programs: the last places that [Loaders] looks at, and only for names that end
// as such programs' do.
func SystemDirs() []string {
	return []string{
		"/usr/lib/ipxe", "/boot", // Debian's ipxe keeps ipxe.efi under /boot
		"/usr/lib/shim", "/usr/lib/grub/x86_64-efi-signed", "/usr/lib/grub/arm64-efi-signed",
	}
}

// Loader describes one network boot program, for people and for its licence.
type Loader struct {
	File          string `json:"file"`
	Package       string `json:"package,omitempty"` // Debian's binary package
	Version       string `json:"version,omitempty"`
	Architecture  string `json:"architecture,omitempty"`
	SHA256        Digest `json:"sha256"`
	Size          int64  `json:"size"`                     // bytes
	Source        string `json:"source,omitempty"`         // Debian's source package: the corresponding source
	SourceVersion string `json:"source_version,omitempty"` // of that source package
	BuiltUsing    string `json:"built_using,omitempty"`    // further source packages, for signed programs: Debian's field of that name
	Licence       string `json:"licence,omitempty"`        // SPDX
	Origin        string `json:"origin,omitempty"`         // "embedded" or the directory that it comes from
}

// LoaderOptions says where network boot programs come from. The zero value means embedded ones and [SystemDirs].
type LoaderOptions struct {
	// Dirs are looked at first, in order: an operator's file wins over ours.
	Dirs []string
	// SystemDirs replaces the directories looked at last. Nil means [SystemDirs], empty means none.
	SystemDirs []string
	// Overrides maps an architecture's key (machine.Arch.LoaderKey: "x86-bios", "x86_64-efi", "arm64-efi", …) to a family or to the name
	// of a file, which is then the first candidate of that architecture.
	Overrides map[string]string
	// Embedded replaces the embedded files, for tests. Nil means those of the build.
	Embedded fs.FS
}

// Loaders finds network boot programs by name and by architecture. Its names are flat; it is safe for concurrent use.
type Loaders struct {
	dirs      []string
	system    []string
	overrides map[string]string
	embedded  fs.FS
	manifest  map[string]Loader // of embedded files, by file
}

// NewLoaders reads the manifest of the embedded files. It fails on a manifest that was damaged and on an override that names
// neither a family nor a plain file.
func NewLoaders(o LoaderOptions) (*Loaders, error) {
	l := &Loaders{dirs: o.Dirs, system: o.SystemDirs, overrides: o.Overrides, embedded: o.Embedded, manifest: map[string]Loader{}}
	if l.system == nil {
		l.system = SystemDirs()
	}
	if l.embedded == nil {
		sub, err := fs.Sub(embedded, embeddedDir)
		if err != nil {
			return nil, fmt.Errorf("opening embedded loaders: %w", err)
		}
		l.embedded = sub
	}
	for arch, value := range o.Overrides {
		if !isFamily(value) && !loaderName.MatchString(value) {
			return nil, fmt.Errorf("loaders.%s: %q is neither ipxe, shim or grub nor the name of a file", arch, value)
		}
	}
	data, err := fs.ReadFile(l.embedded, manifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading embedded loaders: %w", err)
	}
	var list []Loader
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading embedded loaders: %s: %w", manifestFile, err)
	}
	for _, loader := range list {
		loader.Origin = "embedded"
		l.manifest[loader.File] = loader
	}
	return l, nil
}

// Embedded returns the number of network boot programs inside the binary: 0 in a build that did not fetch them.
func (l *Loaders) Embedded() int { return len(l.manifest) }

func isFamily(s string) bool { return s == FamilyIPXE || s == FamilyShim || s == FamilyGRUB }

// loaderName is the form of a network boot program's name: flat, visible, harmless in a path.
var loaderName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$`)

// programName is the form of the names that are taken from the system's directories. They hold more than network boot programs: /boot has the
// host's own initrd, with whatever keys are in it.
var programName = regexp.MustCompile(`(?i)\.(efi|efi\.signed|k{0,2}pxe|lkrn)$`)

// sources lists under which names the files behind a name may lie. Packages and upstream's archives disagree with what the programs ask
// each other for: shim asks for grubx64.efi, Debian's package has grubnetx64.efi.signed.
var sources = map[string][]string{
	"shimx64.efi":         {"shimx64.efi.signed"},
	"shimaa64.efi":        {"shimaa64.efi.signed"},
	"mmx64.efi":           {"mmx64.efi.signed"},
	"mmaa64.efi":          {"mmaa64.efi.signed"},
	"grubx64.efi":         {"grubnetx64.efi.signed", "grubnetx64.efi"},
	"grubaa64.efi":        {"grubnetaa64.efi.signed", "grubnetaa64.efi"},
	"snponly-arm64.efi":   {"arm64-efi/snponly.efi", "arm64/snponly.efi"},
	"ipxe-arm64.efi":      {"arm64-efi/ipxe.efi", "arm64/ipxe.efi"},
	"snponly.efi":         {"snponly-x86_64.efi", "x86_64-efi/snponly.efi", "x86_64/snponly.efi"},
	"ipxe.efi":            {"ipxe-x86_64.efi", "x86_64-efi/ipxe.efi", "x86_64/ipxe.efi"},
	"snponly-i386.efi":    {"i386-efi/snponly.efi", "i386/snponly.efi"},
	"ipxe-i386.efi":       {"i386-efi/ipxe.efi", "i386/ipxe.efi"},
	"snponly-arm32.efi":   {"arm32-efi/snponly.efi", "arm32/snponly.efi"},
	"snponly-riscv64.efi": {"riscv64-efi/snponly.efi", "riscv64/snponly.efi"},
	"snponly-loong64.efi": {"loong64-efi/snponly.efi", "loong64/snponly.efi"},
}

// candidates lists, by architecture and family, what to try in order. Programs that use only the interface the firmware booted from
// come first: those that take over all interfaces hang on some hardware (FIRMWARE 30).
var candidates = map[string]map[string][]string{
	"x86-bios": {FamilyIPXE: {"undionly.kpxe", "ipxe.pxe"}},
	"x86_64-efi": {
		FamilyIPXE: {"snponly.efi", "ipxe.efi"},
		FamilyShim: {"shimx64.efi"},
		FamilyGRUB: {"grubx64.efi"},
	},
	"arm64-efi": {
		FamilyIPXE: {"snponly-arm64.efi", "ipxe-arm64.efi"},
		FamilyShim: {"shimaa64.efi"},
		FamilyGRUB: {"grubaa64.efi"},
	},
	"i386-efi":    {FamilyIPXE: {"snponly-i386.efi", "ipxe-i386.efi"}},
	"arm-efi":     {FamilyIPXE: {"snponly-arm32.efi"}},
	"riscv64-efi": {FamilyIPXE: {"snponly-riscv64.efi"}},
	"loong64-efi": {FamilyIPXE: {"snponly-loong64.efi"}},
}

// For returns the names of the network boot programs that exist for an architecture, best first: the override if there is one, then
// the family's. With the empty family that is the override's, else iPXE's and, where there is none, GRUB's (Debian builds no iPXE
// for arm64). Nothing is returned where nothing would do: a shim is never replaced by what Secure Boot refuses.
func (l *Loaders) For(archKey, family string) []string {
	var names []string
	if override := l.overrides[archKey]; family == "" && override != "" {
		if isFamily(override) {
			family = override
		} else {
			names = append(names, override)
		}
	}
	families := []string{family}
	if family == "" {
		families = []string{FamilyIPXE, FamilyGRUB}
	}
	for _, f := range families {
		names = append(names, candidates[archKey][f]...)
	}
	var existing []string
	for _, name := range names {
		if !slices.Contains(existing, name) && l.Has(name) {
			existing = append(existing, name)
		}
	}
	return existing
}

// Has reports whether Open would find name.
func (l *Loaders) Has(name string) bool {
	file, _, err := l.Open(name)
	if err != nil {
		return false
	}
	return file.Close() == nil
}

// Open opens the network boot program with the given flat name; case does not matter. The caller closes the file. The error is
// fs.ErrNotExist for a name that no place has.
func (l *Loaders) Open(name string) (File, Info, error) {
	if !loaderName.MatchString(name) {
		return nil, Info{}, notFound(name)
	}
	for _, dir := range l.dirs {
		if file, info, err := openLoader(dir, name); err == nil {
			return file, info, nil
		}
	}
	if file, info, err := l.openEmbedded(name); err == nil {
		return file, info, nil
	}
	if !programName.MatchString(name) {
		return nil, Info{}, notFound(name)
	}
	for _, dir := range l.system {
		if file, info, err := openLoader(dir, name); err == nil {
			return file, info, nil
		}
	}
	return nil, Info{}, notFound(name)
}

// spellings lists the files to look for under a name.
func spellings(name string) []string {
	lower := strings.ToLower(name)
	all := []string{name}
	if lower != name {
		all = append(all, lower)
	}
	return append(all, sources[lower]...)
}

func (l *Loaders) openEmbedded(name string) (File, Info, error) {
	for _, spelling := range spellings(name) {
		known, ok := l.manifest[spelling]
		if !ok {
			continue
		}
		opened, err := l.embedded.Open(spelling)
		if err != nil {
			return nil, Info{}, err
		}
		file, ok := opened.(File) // embed.FS and fstest.MapFS promise as much for regular files
		if !ok {
			return nil, Info{}, errors.Join(notFound(name), opened.Close())
		}
		return file, Info{Name: name, Size: known.Size, ETag: `"` + known.SHA256.Hex() + `"`}, nil
	}
	return nil, Info{}, notFound(name)
}

// openLoader opens a file of a directory that the operator or a package fills: links in it are theirs, and followed.
func openLoader(dir, name string) (File, Info, error) {
	for _, spelling := range spellings(name) {
		file, err := os.Open(filepath.Join(dir, filepath.FromSlash(spelling)))
		if err != nil {
			continue
		}
		stat, err := file.Stat()
		if err != nil || !stat.Mode().IsRegular() {
			_ = file.Close() // nothing was written; the next spelling may do
			continue
		}
		info := infoOf(stat, time.Now())
		info.Name = name
		return file, info, nil
	}
	return nil, Info{}, notFound(name)
}

// List returns every network boot program that can be had: the embedded ones with their packages, and the known names that the
// directories have. Where two places have a name, the one that Open takes is listed. Every digest is of the bytes as they are.
func (l *Loaders) List() ([]Loader, error) {
	names := map[string]bool{}
	for file := range l.manifest {
		names[file] = true
	}
	for name := range sources {
		names[name] = true
	}
	for _, families := range candidates {
		for _, list := range families {
			for _, name := range list {
				names[name] = true
			}
		}
	}
	var list []Loader
	seen := map[Digest]bool{}
	for _, name := range sortedKeys(names) {
		loader, err := l.describe(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading loader %s: %w", name, err)
		}
		if !seen[loader.SHA256] {
			list = append(list, loader)
			seen[loader.SHA256] = true
		}
	}
	return list, nil
}

func (l *Loaders) describe(name string) (loader Loader, err error) {
	file, info, err := l.Open(name)
	if err != nil {
		return Loader{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	digest, err := DigestOf(file)
	if err != nil {
		return Loader{}, err
	}
	for _, known := range l.manifest {
		if known.SHA256 == digest {
			return known, nil
		}
	}
	origin := ""
	if f, ok := file.(*os.File); ok {
		origin = filepath.ToSlash(f.Name())
	}
	return Loader{File: path.Base(name), SHA256: digest, Size: info.Size, Origin: origin}, nil
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
