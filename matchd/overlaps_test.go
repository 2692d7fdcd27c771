package matchd_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/matchdtest"
)

// TestOverlapsAreRefusedOnRequest has two documents set the contents of one file: that is served with a warning, or refused, and where only a
// machine's label reveals it, refused to that machine.
func TestOverlapsAreRefusedOnRequest(t *testing.T) {
	document := func(path, contents string) string {
		return "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: \"" + path + "\", contents: {inline: " + contents + "}}]}\n"
	}
	files := map[string]string{
		"groups/g.yaml": group, "profiles/p.yaml": "ignition_id: base.bu\nsnippets: [child.bu]\n",
		"ignition/base.bu": document("/etc/motd", "base"), "ignition/child.bu": document("/etc/motd", "child"),
	}
	start := func(overlaps string) *matchdtest.Daemon {
		dir := t.TempDir()
		matchdtest.WriteFiles(t, dir, files)
		options := matchdtest.Options{Dir: dir, Unready: true, Config: func(c *matchd.Config) { c.Overlaps = overlaps }}
		return matchdtest.Start(t, options)
	}
	const config = "/ignition?mac=52-54-00-00-00-01"
	lax := start(matchd.OverlapsWarn)
	awaitHealth(t, lax, 1, true)
	if status, body := lax.Get(t, config); status != http.StatusOK || !strings.Contains(body, "data:,child") {
		t.Errorf("with a warning: %d %s", status, body)
	}
	strict := start(matchd.OverlapsError)
	if h := awaitHealth(t, strict, 0, false); !strings.Contains(h.SiteProblems[0], "neither says overwrite: true") {
		t.Errorf("refused: %+v", h.SiteProblems)
	}
	files["ignition/child.bu"] = document("{{.request.query.path}}", "child")
	late := start(matchd.OverlapsError)
	awaitHealth(t, late, 1, true)
	for path, want := range map[string]int{"/etc/motd": http.StatusServiceUnavailable, "/etc/other": http.StatusOK} {
		if status, body := late.Get(t, config+"&path="+path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}
