package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/profiles"
)

// assetsPath is where the assets directory appears over HTTP.
const assetsPath = "/assets/"

// maxListed bounds how many findings of one kind about a site are spelt out.
const maxListed = 20

// checkLoaders reports architectures whose machines would be refused for want of a network boot program.
func checkLoaders(_ context.Context, o *Options) []Finding {
	if len(o.Loaders) == 0 {
		return nil
	}
	var have, lack []string
	for _, l := range o.Loaders {
		if len(l.Names) == 0 {
			lack = append(lack, l.Arch)
		} else {
			have = append(have, fmt.Sprintf("%s %s", l.Arch, l.Names[0]))
		}
	}
	const next = "build with `make build`, which embeds them, or put them into loaders_dir; `matchd version --loaders` lists what is there"
	if len(have) == 0 {
		return []Finding{{
			ID: "loader.none", Severity: Error, Subject: "network boot programs",
			What: "there is none for any architecture: only machines with iPXE in their firmware can boot", Next: next,
		}}
	}
	findings := []Finding{{ID: "loader.found", Severity: OK, Subject: "network boot programs", What: strings.Join(have, ", ")}}
	if len(lack) > 0 {
		findings = append(findings, Finding{
			ID: "loader.missing", Severity: Warn, Subject: strings.Join(lack, ", "),
			What: "there is no network boot program, such machines are refused", Next: next,
		})
	}
	return findings
}

// checkSite looks for machines that would get nothing, and for boot files that are not there.
func checkSite(_ context.Context, o *Options) []Finding {
	site := o.Site
	switch {
	case site == nil:
		return nil
	case site.Err != nil:
		return []Finding{{
			ID: "site.broken", Severity: Error, Subject: site.subject(), What: site.Err.Error(),
			Next: "correct it; `matchd validate " + site.Dir + "` lists every problem. Until then the last accepted revision is served, if there is one",
		}}
	case len(site.Groups) == 0:
		return []Finding{{
			ID: "site.empty", Severity: Warn, Subject: site.subject(), What: "has no groups, so no machine is given a kernel",
			Next: "write groups/default.yaml with `profile: NAME` and profiles/NAME.yaml; examples/ has whole sites",
		}}
	}
	findings := []Finding{{
		ID: "site.loaded", Severity: OK, Subject: site.subject(),
		What: fmt.Sprintf("%d groups, %d profiles", len(site.Groups), len(site.Profiles)),
	}}
	for _, p := range capped(site.Problems) {
		findings = append(findings, Finding{ID: "site.problem", Severity: Warn, Subject: site.subject(), What: p, Next: "correct the record"})
	}
	findings = append(findings, site.checkDefault())
	findings = append(findings, site.checkProfiles()...)
	return append(findings, site.checkAssets()...)
}

func (s *Site) subject() string {
	if s.Dir == "" {
		return "site"
	}
	return "site " + s.Dir
}

func capped(list []string) []string {
	if len(list) <= maxListed {
		return list
	}
	more := fmt.Sprintf("and %d more of this kind", len(list)-maxListed)
	return append(slices.Clone(list[:maxListed]), more)
}

// checkDefault tells what becomes of machines that no selector names.
func (s *Site) checkDefault() Finding {
	for _, g := range s.Groups {
		if len(g.Selector) == 0 {
			return Finding{ID: "site.default", Severity: OK, Subject: s.subject(), What: fmt.Sprintf("group %s takes every machine that no other wants", g.ID)}
		}
	}
	fate := map[string]string{"": "are sent to their disk", "local": "are sent to their disk", "ignore": "get no answer", "hold": "wait"}[s.Unmatched]
	return Finding{
		ID: "site.default", Severity: Info, Subject: s.subject(),
		What: "no group matches every machine: those that no selector names " + fate,
		Next: "add a group without selector if unknown machines are to boot from here",
	}
}

// checkProfiles looks for groups whose profile is missing, and for those whose profile has nothing to boot.
func (s *Site) checkProfiles() []Finding {
	known := make(map[string]*profiles.Profile, len(s.Profiles))
	for i := range s.Profiles {
		known[s.Profiles[i].ID] = &s.Profiles[i]
	}
	var missing, empty []string
	for _, g := range s.Groups {
		switch p := known[g.Profile]; {
		case p == nil:
			missing = append(missing, fmt.Sprintf("group %s wants profile %s, which does not exist", g.ID, g.Profile))
		case p.Boot.Kernel == "" && asksFirst(&g):
			empty = append(empty, fmt.Sprintf("group %s: profile %s has no kernel, its machines are sent to their disk", g.ID, p.ID))
		}
	}
	var findings []Finding
	for _, text := range capped(missing) {
		findings = append(findings, Finding{ID: "site.profile", Severity: Error, Subject: s.subject(), What: text, Next: "write the profile or correct the group"})
	}
	for _, text := range capped(empty) {
		findings = append(findings, Finding{
			ID: "site.kernel", Severity: Info, Subject: s.subject(), What: text,
			Next: "set boot.kernel if they are to boot from here",
		})
	}
	return findings
}

// asksFirst reports whether a network boot program's query can match g: such a query has facts of the hardware only, so a selector
// on any other label is for a later request of the booted system.
func asksFirst(g *groups.Group) bool {
	firmware := []string{"mac", "uuid", "serial", "asset", "manufacturer", "product", "arch", "buildarch", "platform", "firmware", "cpu_arch", "hostname", "domain"}
	for key := range g.Selector {
		if !slices.Contains(firmware, strings.ToLower(key)) {
			return false
		}
	}
	return true
}

// checkAssets looks for kernels, initrds and other files under /assets/ that profiles name and the disk does not have.
func (s *Site) checkAssets() []Finding {
	var absent []string
	seen := make(map[string]bool)
	for i := range s.Profiles {
		for _, name := range assetNames(&s.Profiles[i].Boot) {
			line := fmt.Sprintf("profile %s boots %s%s, which is not there", s.Profiles[i].ID, assetsPath, name)
			if seen[line] || s.hasAsset(name) {
				continue
			}
			seen[line] = true
			absent = append(absent, line)
		}
	}
	var findings []Finding
	for _, text := range capped(absent) {
		findings = append(findings, Finding{ID: "site.asset", Severity: Error, Subject: s.subject(), What: text, Next: "download it into the assets directory, or correct the profile"})
	}
	return findings
}

func (s *Site) hasAsset(name string) bool {
	if s.Assets == nil {
		return false
	}
	_, err := fs.Stat(s.Assets, name)
	return !errors.Is(err, fs.ErrNotExist)
}

// assetNames returns the files below the assets directory that a profile's boot names. Names with a variable in them are left out:
// which file they mean is known when a machine asks.
func assetNames(b *profiles.Boot) []string {
	words := []string{b.Kernel}
	for _, initrd := range b.Initrd {
		words = append(words, strings.Fields(initrd)...)
	}
	for _, arg := range b.Args {
		if _, value, found := strings.Cut(arg, "="); found {
			words = append(words, value)
		}
	}
	var names []string
	for _, w := range words {
		u, err := url.Parse(w)
		if err != nil || strings.Contains(w, "${") {
			continue
		}
		// Whose server an absolute URL means cannot be told for certain, so only those that are ours by their path alone count.
		if name, ours := strings.CutPrefix(path.Clean(u.Path), assetsPath); ours && u.Host == "" {
			names = append(names, name)
		}
	}
	return names
}
