//go:build unix

package pki

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a file that was replaced the owner of the one before: a daemon that is not root must go on reading its key. Whoever may not do that is the owner
// of the new file, as of any.
func keepOwner(name string, before fs.FileInfo) error {
	was, ok := before.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(name, int(was.Uid), int(was.Gid))
}
