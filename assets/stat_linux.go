package assets

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

const openFlags = syscall.O_NONBLOCK | syscall.O_NOCTTY

// validator makes an entity tag of what the kernel keeps of a file; see [Tree] for why it is strong.
func validator(stat fs.FileInfo, now time.Time) string {
	sys, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf(`W/"%x-%x"`, stat.Size(), stat.ModTime().UnixNano())
	}
	changed := time.Unix(sys.Ctim.Unix())
	weak := ""
	if age := now.Sub(changed); age < racyWindow {
		weak = "W/"
	}
	return fmt.Sprintf(`%s"%x-%x-%x-%x"`, weak, sys.Ino, stat.Size(), stat.ModTime().UnixNano(), changed.UnixNano())
}

// exhausted reports whether err is ours to mend rather than the name's fault.
func exhausted(err error) bool {
	for _, code := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.ESTALE} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
