package boltstore

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// holder describes the process that has the file locked, as far as /proc tells.
func holder(path string) string {
	const unknown = "another process"
	info, err := os.Stat(path)
	if err != nil {
		return unknown
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return unknown
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%d", stat.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 3: FLOCK  ADVISORY  WRITE 1234 fd:01:131076 0 EOF. The device is left out: btrfs and overlays report another one there.
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && strings.HasSuffix(fields[5], suffix) {
			return describe(fields[4])
		}
	}
	return unknown
}

func describe(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
