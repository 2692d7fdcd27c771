//go:build !unix

package pki

import "io/fs"

// keepOwner has nothing to do where files have no numeric owner.
func keepOwner(string, fs.FileInfo) error { return nil }
