package machine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Limits on what an operator may say of one machine.
const (
	MaxLabels      = 64   // labels of one machine
	MaxLabelLength = 1024 // bytes of a label's name or value
	MaxName        = 1024 // bytes of its name for people
	MinBlksize     = 512  // bytes; RFC 2348 begins at 8, but a client that asks for no block size is sent 512 whatever is set
	MaxBlksize     = 65464
)

// Settings is what an operator says of one machine. A machine needs none to boot.
type Settings struct {
	MAC         MAC               `json:"mac"`
	Name        string            `json:"name,omitempty"`         // for people
	Labels      map[string]string `json:"labels,omitempty"`       // outrank what a query claims
	Loader      string            `json:"loader,omitempty"`       // ipxe, shim, grub, or the name of a loader file
	ExitMethod  string            `json:"exit_method,omitempty"`  // how it is sent to its disk, one of [ExitMethods]; empty: as any other
	TFTPBlksize int               `json:"tftp_blksize,omitempty"` // bytes; 0: the interface's MTU decides
}

// ExitMethods returns the ways to send a machine to its disk.
func ExitMethods() []string { return []string{"exit1", "exit0", "sanboot", "http404", "grub-find"} }

// Validate returns everything that is wrong with the settings, joined; each error starts with the field's name.
func (s *Settings) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if parsed, err := ParseMAC(s.MAC.String()); err != nil {
		bad("id: %w", err)
	} else if parsed != s.MAC {
		bad("id: %q is to be written %q", s.MAC, parsed)
	}
	if len(s.Name) > MaxName || hasControl(s.Name) {
		bad("name: a name has at most %d bytes and no control characters", MaxName)
	}
	if len(s.Labels) > MaxLabels {
		bad("labels: %d labels, at most %d are allowed", len(s.Labels), MaxLabels)
	}
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		value := s.Labels[label]
		switch {
		case label == "" || len(label) > MaxLabelLength || len(value) > MaxLabelLength || hasControl(label) || hasControl(value):
			bad("labels.%.40q: a label's name has 1 to %d bytes, its value at most as many, and neither holds a control character", label, MaxLabelLength)
		case strings.EqualFold(label, "mac"):
			bad("labels.%s: the machine's id is its MAC address", label)
		}
	}
	if strings.ContainsAny(s.Loader, `/\`) || strings.HasPrefix(s.Loader, ".") || len(s.Loader) > MaxName || hasControl(s.Loader) {
		bad("loader: %.80q is none of ipxe, shim, grub, nor the name of a loader file", s.Loader)
	}
	if s.ExitMethod != "" && !slices.Contains(ExitMethods(), s.ExitMethod) {
		bad("exit_method: %.80q is none of %s", s.ExitMethod, strings.Join(ExitMethods(), ", "))
	}
	if s.TFTPBlksize != 0 && (s.TFTPBlksize < MinBlksize || s.TFTPBlksize > MaxBlksize) {
		bad("tftp_blksize: %d is not between %d and %d", s.TFTPBlksize, MinBlksize, MaxBlksize)
	}
	return errors.Join(errs...)
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
