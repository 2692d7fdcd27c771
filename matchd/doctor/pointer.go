package doctor

import (
	"slices"
	"strings"

	"github.com/matchd/matchd/profiles"
)

// PointerID is the id of [CheckPointers]' finding.
const PointerID = "site.pointer"

// CheckPointers reports the profiles that need the machines' HTTPS, for a daemon that has it switched off; nothing if there are none.
func CheckPointers(all []profiles.Profile) []Finding {
	var ids []string
	for _, p := range all {
		if p.Config == profiles.ConfigPointer {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	return []Finding{{
		ID: PointerID, Severity: Error, Subject: "machine_https",
		What: "is off, and these profiles have config: pointer, whose machines wait for ever: " + strings.Join(capped(ids), ", "),
		Next: `set machine_https: ":8443", or give the profiles another config mode`,
	}}
}
