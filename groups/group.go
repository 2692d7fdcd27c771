// Package groups decides which group a machine belongs to.
//
// A [Group] selects machines by their [Labels] and names the profile they boot. An [Index] answers for ten thousand
// groups what a scan over all of them would answer, and can explain its answer. The rules are matchbox's (first match by
// number of selector pairs, then by the greatest selector text), preceded by an optional priority and made total by the id.
package groups

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"sort"
	"strings"
)

// Limits on what one group may hold.
const (
	MaxIDLength      = 253  // bytes of an id or a profile's id
	MaxSelectorPairs = 64   // pairs of one selector
	MaxLabelLength   = 1024 // bytes of one selector key or value
	MaxSnippets      = 64   // names of snippets
)

// BootPolicy says how often a group's machines may boot from the network.
type BootPolicy string

// Boot policies. The empty policy is [BootAlways].
const (
	BootAlways  BootPolicy = "always"
	BootOnce    BootPolicy = "once"
	BootApprove BootPolicy = "approve"
)

// Labels describe one asking machine: what its query claims and what the server knows of it.
type Labels map[string]string

// LabelsFromQuery takes the first value of each key. The value of a key that equals "mac" in any case is normalised to
// lower-case colon form; one that is no MAC address is left out and returned in dropped.
func LabelsFromQuery(query url.Values) (labels Labels, dropped []string) {
	labels = make(Labels, len(query))
	for key, values := range query {
		if len(values) == 0 {
			continue
		}
		value := values[0]
		if strings.EqualFold(key, "mac") {
			mac, err := NormalizeMAC(value)
			if err != nil {
				dropped = append(dropped, key)
				continue
			}
			value = mac
		}
		labels[key] = value
	}
	sort.Strings(dropped)
	return labels, dropped
}

// NormalizeMAC returns a hardware address in lower-case colon form. It accepts what [net.ParseMAC] accepts: colons,
// hyphens, Cisco's dots and bare hexadecimal digits; 6, 8 or 20 bytes.
func NormalizeMAC(s string) (string, error) {
	mac, err := net.ParseMAC(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a MAC address", s)
	}
	return mac.String(), nil
}

// Selector is the set of label values that a machine must have. An empty selector selects every machine.
type Selector map[string]string

// Matches reports whether every pair of the selector equals the label of that name. A label that a machine does not have
// equals "" (matchbox's rule).
func (s Selector) Matches(labels Labels) bool {
	for key, want := range s {
		if labels[key] != want {
			return false
		}
	}
	return true
}

// String returns the sorted pairs as "a=1,b=2": the text by which selectors of equal length are ordered.
func (s Selector) String() string {
	pairs := make([]string, 0, len(s))
	for key, value := range s {
		pairs = append(pairs, key+"="+value)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

// Normalized returns a copy in which the value of every key that equals "mac" in any case is in lower-case colon form.
// The original stays as it was put, so that it reads back as its author wrote it.
func (s Selector) Normalized() (Selector, error) {
	normal := make(Selector, len(s))
	for key, value := range s {
		if strings.EqualFold(key, "mac") {
			mac, err := NormalizeMAC(value)
			if err != nil {
				return nil, fmt.Errorf("selector.%s: %w", key, err)
			}
			value = mac
		}
		normal[key] = value
	}
	return normal, nil
}

// Group maps the machines that its selector matches to a profile.
type Group struct {
	ID         string         `json:"id"`
	Name       string         `json:"name,omitempty"`
	Profile    string         `json:"profile"`
	Selector   Selector       `json:"selector,omitempty"`
	Metadata   map[string]any `json:"metadata,omitempty"`    // JSON values, free for templates
	Priority   int            `json:"priority,omitempty"`    // higher is asked first; default 0
	Snippets   []string       `json:"snippets,omitempty"`    // Ignition templates merged after the profile's
	BootPolicy BootPolicy     `json:"boot_policy,omitempty"` // default always
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$`)

// ValidID says in an error why id cannot name a group, a profile or a template: such names become file names and path segments.
func ValidID(id string) error {
	switch {
	case id == "":
		return errors.New("is empty")
	case len(id) > MaxIDLength:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(id), MaxIDLength)
	case !idPattern.MatchString(id):
		return fmt.Errorf("%q may hold letters, digits and _ . : @ - only, and starts with a letter, a digit or _", id)
	}
	return nil
}

// Validate returns everything that is wrong with the group, joined; each error starts with the field's name.
func (g *Group) Validate() error {
	var errs []error
	if err := ValidID(g.ID); err != nil {
		errs = append(errs, fmt.Errorf("id: %w", err))
	}
	if g.Profile == "" {
		errs = append(errs, errors.New("profile: a group needs the id of a profile"))
	} else if err := ValidID(g.Profile); err != nil {
		errs = append(errs, fmt.Errorf("profile: %w", err))
	}
	errs = append(errs, g.Selector.validate()...)
	if _, taken := g.Metadata["request"]; taken {
		errs = append(errs, errors.New(`metadata.request: this name is reserved for the request's labels in templates`))
	}
	if len(g.Snippets) > MaxSnippets {
		errs = append(errs, fmt.Errorf("snippets: %d names, at most %d are allowed", len(g.Snippets), MaxSnippets))
	}
	for i, name := range g.Snippets {
		if err := ValidID(name); err != nil {
			errs = append(errs, fmt.Errorf("snippets[%d]: %w", i, err))
		}
	}
	switch g.BootPolicy {
	case "", BootAlways:
	case BootOnce, BootApprove:
		// Accepting it and booting always would reinstall machines that somebody believes to be safe.
		errs = append(errs, fmt.Errorf("boot_policy: %s is not supported by this version, only always is", g.BootPolicy))
	default:
		errs = append(errs, fmt.Errorf("boot_policy: %q is none of always, once, approve", g.BootPolicy))
	}
	return errors.Join(errs...)
}

func (s Selector) validate() (errs []error) {
	if len(s) > MaxSelectorPairs {
		errs = append(errs, fmt.Errorf("selector: %d pairs, at most %d are allowed", len(s), MaxSelectorPairs))
	}
	keys := make([]string, 0, len(s))
	for key := range s {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if key == "" || len(key) > MaxLabelLength || len(s[key]) > MaxLabelLength {
			errs = append(errs, fmt.Errorf("selector.%.40s: a key has 1 to %d bytes, a value at most as many", key, MaxLabelLength))
		}
	}
	if _, err := s.Normalized(); err != nil {
		errs = append(errs, err)
	}
	return errs
}
