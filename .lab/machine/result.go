package machine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	resultBegin = "LAB-RESULT-BEGIN"
	resultEnd   = "LAB-RESULT-END"
)

// Result is what a guest said of itself: facts gathered by its /init and the whole root
// file system that Ignition wrote.
type Result struct {
	files map[string]File
}

// File is one file of a Result.
type File struct {
	Mode    fs.FileMode
	Content string
}

// parseResult finds the archive that the guest printed between its markers.
func parseResult(lines []string) (*Result, error) {
	marker := func(text string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, text) }
	}
	begin := slices.IndexFunc(lines, marker(resultBegin))
	end := slices.IndexFunc(lines, marker(resultEnd))
	if begin < 0 || end < begin {
		return nil, errors.New("the guest printed no result")
	}
	packed, err := base64.StdEncoding.DecodeString(strings.Join(lines[begin+1:end], ""))
	if err != nil {
		return nil, fmt.Errorf("decoding the guest's result: %w", err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking the guest's result: %w", err)
	}
	r := &Result{files: map[string]File{}}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return nil, fmt.Errorf("unpacking the guest's result: %w", err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("unpacking the guest's result: %w", err)
		}
		if header.Typeflag == tar.TypeReg {
			r.files[path.Clean(header.Name)] = File{Mode: header.FileInfo().Mode(), Content: string(content)}
		}
	}
}

// Fact returns one of the guest's facts, without the newline: state (booted or failed),
// cmdline, arch, uuid, mac, serial, address, firmware (bios or efi), secureboot (1 or 0,
// empty where there is none), error, ignition.log.
func (r *Result) Fact(name string) string { return strings.TrimSpace(r.files[name].Content) }

// Root returns a file of the root file system that Ignition wrote, by absolute path.
func (r *Result) Root(name string) (File, bool) {
	f, ok := r.files["sysroot"+path.Clean("/"+name)]
	return f, ok
}

// Names returns the absolute paths of all files in that root file system.
func (r *Result) Names() []string {
	var names []string
	for name := range r.files {
		if rest, ok := strings.CutPrefix(name, "sysroot/"); ok {
			names = append(names, "/"+rest)
		}
	}
	slices.Sort(names)
	return names
}

// Raw returns a fact as it is, such as dhcp: what the guest's DHCP client was told.
func (r *Result) Raw(name string) (string, bool) {
	f, ok := r.files[name]
	return f.Content, ok
}
