// Package assets holds the files that machines load: kernels and RAM disks in a directory of the operator's ([Tree]), and the
// network boot programs that come with the program or from packages ([Loaders]).
//
// Names come from machines, hostile by assumption. No name reaches outside of the directory, reads anything but a regular file,
// or shows a file whose name starts with a dot. Errors are those of [io/fs]: fs.ErrNotExist for everything that cannot be had under
// a name, be it missing, hidden or special, so that an answer tells nothing about what lies outside.
package assets

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// File is an open regular file. A file of a [Tree] is an *os.File, which the kernel can send without copying.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// Info describes a file or a directory.
type Info struct {
	Name    string // last element of the path
	Size    int64  // bytes; 0 for a directory
	ModTime time.Time
	// ETag is the entity tag of RFC 9110 section 8.8.3 with its quotes, W/ in front where the validator is weak; empty for a directory.
	ETag string
	Dir  bool
}

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// digestPrefix names the algorithm in the text form; Ignition's verification.hash has "sha256-" in its place.
const digestPrefix = "sha256:"

// ParseDigest reads the text form, with or without "sha256:" or "sha256-" in front.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	text := strings.TrimPrefix(strings.TrimPrefix(s, digestPrefix), "sha256-")
	if len(text) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("%q is not a SHA-256: want %d hexadecimal digits", s, hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(text)); err != nil {
		return d, fmt.Errorf("%q is not a SHA-256: %w", s, err)
	}
	return d, nil
}

// DigestOf returns the digest of everything that r has left.
func DigestOf(r io.Reader) (Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return Digest{}, err
	}
	return sum(h), nil
}

func sum(h hash.Hash) (d Digest) {
	h.Sum(d[:0])
	return d
}

// Hex returns the 64 hexadecimal digits.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the digits with "sha256:" in front.
func (d Digest) String() string { return digestPrefix + d.Hex() }

// MarshalText makes a Digest a string in JSON and YAML.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText and accepts what [ParseDigest] does.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// maxNameLength is the longest path that is looked up, in bytes.
const maxNameLength = 1024

// Clean turns a name from the wire into a path relative to the root, without a redirect or a complaint: backslashes are slashes, a
// leading slash, doubled slashes and dot segments mean nothing (FIRMWARE: shim asks for "/efi//grubx64.efi", GRUB with a leading
// slash). The root itself is ".". A name that holds a NUL byte, a hidden element or too much is fs.ErrNotExist.
func Clean(name string) (string, error) {
	if len(name) > maxNameLength || strings.ContainsRune(name, 0) {
		return "", notFound(name)
	}
	cleaned := path.Clean("/" + strings.ReplaceAll(name, `\`, "/"))[1:]
	if cleaned == "" {
		return ".", nil
	}
	for element := range strings.SplitSeq(cleaned, "/") {
		if hidden(element) {
			return "", notFound(name)
		}
	}
	return cleaned, nil
}

func hidden(element string) bool { return strings.HasPrefix(element, ".") }

func notFound(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
