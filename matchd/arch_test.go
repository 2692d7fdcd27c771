package matchd_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/matchd/matchd"

// rooms orders the packages from the inside out. A package imports packages of its own layer or of layers further in only; the named
// exceptions of ARCHITECTURE.md (leaves import nothing of ours but leaves, edges do not import each other) follow from "alone".
var rooms = []struct {
	name  string
	alone bool // packages of this layer do not import each other
	paths []string
}{
	{"leaves", false, []string{"groups", "profiles", "assets", "matchd/machine", "matchd/fault", "matchd/keyfile", "rpc/matchdpb", "rpc/matchboxpb"}},
	{"state", false, []string{"matchd/store", "matchd/store/boltstore", "matchd/store/storetest", "matchd/lease", "matchd/event", "matchd/auth", "matchd/audit", "matchd/pki", "matchd/cloud", "matchd/kube"}},
	{"core", false, []string{"matchd/render", "matchd/trial", "matchd/site", "matchd/catalog", "matchd/change", "matchd/boot", "matchd/bootfile", "matchd/inspect", "matchd/firmware", "matchd/bundle", "matchd/doctor"}},
	{"edges", true, []string{"matchd/dhcp", "matchd/tftp", "matchd/web", "matchd/ui", "rpc", "rpc/client"}},
	{"root", false, []string{"matchd"}},
	{"tests", false, []string{"matchd/matchdtest"}},
	{"commands", true, []string{"cmd/matchd", "cmd/matchctl", "rpc/internal/apidoc"}},
}

// strict leaves import nothing of ours at all.
var strictLeaves = []string{"groups", "profiles", "assets", "matchd/fault"}

// owners names the only packages (and what lies below them) that may import a dependency.
var owners = map[string][]string{
	"google.golang.org/grpc":       {"rpc"},
	"google.golang.org/genproto":   {"rpc"},
	"github.com/insomniacslk/dhcp": {"matchd/dhcp", "matchd/firmware"},
	"github.com/pin/tftp":          {"matchd/tftp"},
	"github.com/coreos/butane":     {"matchd/render"},
	"github.com/coreos/ignition":   {"matchd/render"},
	"go.etcd.io/bbolt":             {"matchd/store/boltstore"},
	"go.etcd.io/etcd":              {"matchd/store/etcdstore"},
	"k8s.io":                       {"matchd/kube"},
	"github.com/spf13/cobra":       {"cmd"},
	"github.com/ProtonMail":        {"matchd/web"},
}

// engines may be imported by the composition root and by commands that open a stopped daemon's files.
var engines = []string{"matchd/store/boltstore", "matchd/store/etcdstore"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointInward(t *testing.T) {
	for _, p := range listPackages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		fromRoom := roomOf(from)
		if fromRoom < 0 {
			t.Errorf("%s is in no room: add it to the list in this test and to ARCHITECTURE.md", from)
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, module+"/"); ours {
				checkArrow(t, from, to, fromRoom)
			} else {
				checkOwner(t, from, imported)
			}
		}
	}
}

// TestMatchctlIsLight looks at everything that the operator's command links, on every system that it is built for: it opens no file of the
// daemon and speaks no protocol of machines.
func TestMatchctlIsLight(t *testing.T) {
	heavy := []string{
		module + "/matchd", module + "/rpc", module + "/matchd/store/boltstore", module + "/matchd/store/etcdstore", module + "/matchd/dhcp",
		module + "/matchd/tftp", module + "/matchd/web", module + "/matchd/bootfile", module + "/matchd/firmware",
		"go.etcd.io", "github.com/insomniacslk/dhcp", "github.com/pin/tftp", "github.com/mdlayher", "k8s.io",
	}
	exact := heavy[:2] // what lies below them may be linked
	for _, system := range []string{"linux", "darwin", "windows"} {
		list := exec.Command("go", "list", "-deps", module+"/cmd/matchctl")
		list.Env = append(list.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		for dependency := range strings.FieldsSeq(string(out)) {
			for _, unwanted := range heavy {
				if dependency == unwanted || !slices.Contains(exact, unwanted) && strings.HasPrefix(dependency, unwanted+"/") {
					t.Errorf("matchctl links %s on %s", dependency, system)
				}
			}
		}
	}
}

func checkArrow(t *testing.T, from, to string, fromRoom int) {
	t.Helper()
	toRoom := roomOf(to)
	switch {
	case slices.Contains(strictLeaves, from):
		t.Errorf("%s imports %s: it is a leaf and imports nothing of ours", from, to)
	case toRoom > fromRoom:
		t.Errorf("%s (%s) imports %s (%s): imports point inward", from, rooms[fromRoom].name, to, rooms[toRoom].name)
	case toRoom == fromRoom && rooms[fromRoom].alone && from != to:
		t.Errorf("%s imports %s: %s do not import each other", from, to, rooms[fromRoom].name)
	case slices.Contains(engines, to) && fromRoom < roomOf("matchd"):
		t.Errorf("%s imports the engine %s: only the composition root and commands may", from, to)
	}
}

// checkOwner leaves matchdtest alone: it is a client of everything.
func checkOwner(t *testing.T, from, imported string) {
	t.Helper()
	if from == "matchd/matchdtest" {
		return
	}
	for dependency, allowed := range owners {
		if imported != dependency && !strings.HasPrefix(imported, dependency+"/") {
			continue
		}
		if !slices.ContainsFunc(allowed, func(owner string) bool { return from == owner || strings.HasPrefix(from, owner+"/") }) {
			t.Errorf("%s imports %s, which belongs to %s", from, imported, strings.Join(allowed, ", "))
		}
	}
}

func roomOf(path string) int {
	return slices.IndexFunc(rooms, func(r struct {
		name  string
		alone bool
		paths []string
	}) bool {
		return slices.Contains(r.paths, path)
	})
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
