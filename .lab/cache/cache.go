// Package cache knows where .lab/setup put things.
package cache

import (
	"fmt"
	"os"
	"path/filepath"
)

// Root returns the checkout that the working directory is in.
func Root() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, ".lab", "setup")); err == nil {
			return top
		}
		if top == filepath.Dir(top) {
			return dir // Check will say what is missing
		}
	}
}

// Path returns a path below the lab's cache, .cache/lab in the checkout.
func Path(elem ...string) string {
	return filepath.Join(append([]string{Root(), ".cache", "lab"}, elem...)...)
}

// Check says what to run when the lab is not set up. It never skips anything.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the lab needs root: it makes network namespaces")
	}
	for _, need := range []string{
		"assets/x86_64/vmlinuz", "assets/x86_64/initrd", "assets/arm64/vmlinuz", "assets/arm64/initrd",
		"loaders/shimx64.efi", "loaders/grubx64.efi", "loaders/grubaa64.efi", "disk/bios.img", "disk/uefi.img",
	} {
		if _, err := os.Stat(Path(need)); err != nil {
			return fmt.Errorf("the lab is not set up (%w): run .lab/setup", err)
		}
	}
	return nil
}
