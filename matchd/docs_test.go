package matchd_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/profiles"
)

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestConfigurationDocumentsEveryKey compares the table of docs/configuration.md with the settings that there are.
func TestConfigurationDocumentsEveryKey(t *testing.T) {
	var want []string
	for _, key := range matchd.Keys() {
		shown := " "
		if key.Default() != "" {
			shown = " `" + key.Default() + "` "
		}
		want = append(want, fmt.Sprintf("| `%s` | `--%s` | `%s` |%s|", key.Path, key.Flag(), key.Env(), shown))
	}
	got := regexp.MustCompile("(?m)^\\| `[a-z_.]+` \\| `--.*$").FindAllString(readText(t, "../docs/configuration.md"), -1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/configuration.md (-settings +documented):\n%s", diff)
	}
}

// TestNestedKeysAreDocumented looks for every field of the settings that are lists, in the document and in the example.
func TestNestedKeysAreDocumented(t *testing.T) {
	types := []any{
		matchd.MachineConfig{}, matchd.InterfaceConfig{}, matchd.SubnetConfig{}, matchd.OptionsConfig{}, matchd.RouteConfig{},
		matchd.CustomOption{}, matchd.ReservationConfig{},
	}
	documents := []string{"../docs/configuration.md", "../examples/matchd.yaml"}
	for _, value := range types {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(value)) {
			key := strings.Split(field.Tag.Get("yaml"), ",")[0]
			word := regexp.MustCompile(`\b` + regexp.QuoteMeta(key) + `\b`)
			for _, document := range documents {
				if !word.MatchString(readText(t, document)) {
					t.Errorf("%s does not mention %q of %T", document, key, value)
				}
			}
		}
	}
}

// TestSiteDocumentsEveryField looks for every field of groups and profiles in docs/site.md.
func TestSiteDocumentsEveryField(t *testing.T) {
	text := readText(t, "../docs/site.md")
	for _, value := range []any{groups.Group{}, profiles.Profile{}, profiles.Boot{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(value)) {
			key := strings.Split(field.Tag.Get("json"), ",")[0]
			if !regexp.MustCompile(`(?m)^ *(- )?` + regexp.QuoteMeta(key) + `:`).MatchString(text) {
				t.Errorf("docs/site.md has no line for %q of %T", key, value)
			}
		}
	}
}

// TestExampleConfiguration loads the example as it is, which must be the defaults, and with everything in it switched on.
func TestExampleConfiguration(t *testing.T) {
	const name = "../examples/matchd.yaml"
	got, err := matchd.LoadConfig(matchd.Sources{File: name})
	if err != nil {
		t.Fatal(err)
	}
	want := matchd.DefaultConfig()
	want.Site, want.File = "/srv/matchd", name
	if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
		t.Errorf("the example differs from the defaults (-defaults +example):\n%s", diff)
	}
	text := readText(t, name)
	for _, key := range matchd.Keys() {
		last := key.Path[strings.LastIndex(key.Path, ".")+1:]
		if !regexp.MustCompile(`(?m)^ *` + last + `:`).MatchString(text) {
			t.Errorf("the example has no line for %s", key.Path)
		}
	}
	full := filepath.Join(t.TempDir(), "matchd.yaml")
	if err := os.WriteFile(full, []byte(switchOn(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := matchd.LoadConfig(matchd.Sources{File: full})
	if err != nil {
		t.Fatalf("with everything switched on: %v", err)
	}
	if len(cfg.Machines) != 1 || len(cfg.DHCP.Interfaces) != 2 || len(cfg.DHCP.Subnets) != 1 || len(cfg.DHCP.Subnets[0].Reservations) != 3 || len(cfg.Loaders) != 1 {
		t.Errorf("not everything was switched on: %+v", cfg)
	}
}

// switchOn removes the mark of settings that are commented out, and the empty value that such a setting replaces.
func switchOn(text string) string {
	off := regexp.MustCompile(`(?m)^( *)#([^ #\n]|  )`)
	on := off.ReplaceAllString(text, "$1$2")
	empty := regexp.MustCompile(`(?m)^ *(loaders|machines|interfaces|subnets): (\{\}|\[\])\n`)
	return empty.ReplaceAllString(on, "")
}

// TestLinks follows every link from one document of the repository to another file of it.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Texts of rpc/internal/apidoc become docs/api.md, and that is where their links lead from.
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != ".." || entry.Name() == "apidoc") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		for _, match := range link.FindAllStringSubmatch(readText(t, path), -1) {
			if target := match[1]; !strings.Contains(target, "://") {
				if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
					t.Errorf("%s links to %s: %v", path, target, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
