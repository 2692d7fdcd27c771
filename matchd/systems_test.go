package matchd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/profiles"
)

// node is a Kubernetes node of an example as its golden file shows it.
type node struct {
	group    *groups.Group
	platform string
	size     int // bytes of the config
	parts    map[string]string
}

// eachNode runs a test with every node of the two Kubernetes examples.
func eachNode(t *testing.T, run func(*testing.T, node)) {
	t.Helper()
	for _, site := range []string{"kubernetes-fedora-coreos", "kubernetes-flatcar"} {
		example := loadExample(t, filepath.Join("../examples", site))
		for _, group := range example.groups {
			if group.Profile == "install" {
				continue
			}
			n := node{group: group, platform: group.Selector["platform"], parts: map[string]string{}}
			ask, _ := example.asker(group)
			config, err := example.planner.Ignition(t.Context(), ask)
			if err != nil {
				t.Fatal(err)
			}
			n.size = len(config.JSON)
			for _, part := range takeApart(t, config.JSON) {
				n.parts[part.Name] = string(part.Data)
			}
			t.Run(site+"/"+group.ID, func(t *testing.T) { run(t, n) })
		}
	}
}

// TestSystemsCoverEveryPlatform looks for a group of each role on each platform.
func TestSystemsCoverEveryPlatform(t *testing.T) {
	for _, site := range []string{"kubernetes-fedora-coreos", "kubernetes-flatcar"} {
		have := map[string]bool{}
		for _, group := range loadExample(t, filepath.Join("../examples", site)).groups {
			have[group.Profile+" on "+group.Selector["platform"]] = true
		}
		for _, platform := range profiles.Platforms() {
			for _, role := range []string{"controller", "worker"} {
				if want := role + " on " + platform; !have[want] {
					t.Errorf("%s has no %s", site, want)
				}
			}
		}
	}
}

// TestSystemsFitUserData compares the size of configs for clouds with what these take, and with what docs/systems.md says.
func TestSystemsFitUserData(t *testing.T) {
	limits := map[string]int{"aws": 16 << 10, "azure": 64 << 10, "gcp": 256 << 10, "digitalocean": 64 << 10}
	documented := regexp.MustCompile(`All of these configs are below (\d+)\.`).FindStringSubmatch(readText(t, "../docs/systems.md"))
	if documented == nil {
		t.Fatal("docs/systems.md does not say how large the configs are")
	}
	var kib int
	fmt.Sscan(documented[1], &kib)
	eachNode(t, func(t *testing.T, n node) {
		if limit, isCloud := limits[n.platform]; isCloud && n.size > limit {
			t.Errorf("%d bytes, and %s takes %d", n.size, n.platform, limit)
		}
		if n.size > kib<<10 {
			t.Errorf("%d bytes, more than docs/systems.md says", n.size)
		}
	})
}

// TestSystemsKeepSecretsOut: a bootstrap token is only where instances come without an operator.
func TestSystemsKeepSecretsOut(t *testing.T) {
	eachNode(t, func(t *testing.T, n node) {
		want := n.group.Profile == "worker" && slices.Contains([]string{"aws", "azure", "gcp"}, n.platform)
		if _, got := n.parts["files/etc/kubernetes/kubeconfig"]; got != want {
			t.Errorf("kubeconfig in the config: %v, want %v", got, want)
		}
	})
}

// TestSystemsLeaveTimeToClouds: the systems choose their platform's clock as long as their own files are as they came.
func TestSystemsLeaveTimeToClouds(t *testing.T) {
	clock := regexp.MustCompile(`chrony|timesyncd|ntp`)
	eachNode(t, func(t *testing.T, n node) {
		var written []string
		for name := range n.parts {
			if clock.MatchString(name) {
				written = append(written, name)
			}
		}
		if got, want := len(written) > 0, n.platform == profiles.Metal; got != want {
			t.Errorf("the config writes %q", written)
		}
	})
}

// TestSystemsKubelet holds the kubelet's units to what docs/systems.md promises.
func TestSystemsKubelet(t *testing.T) {
	assignment := regexp.MustCompile(`(?m)^Environment="?(KUBELET_[A-Z]+(?:_ARGS)?)=`)
	eachNode(t, func(t *testing.T, n node) {
		setBy := map[string]string{}
		for name, text := range n.parts {
			for _, gone := range []string{"--lock-file", "--exit-on-lock-contention"} {
				if strings.Contains(text, gone) {
					t.Errorf("%s has %s", name, gone)
				}
			}
			if !strings.HasPrefix(name, "units/kubelet.service.d/") {
				continue
			}
			for _, match := range assignment.FindAllStringSubmatch(text, -1) {
				if other := setBy[match[1]]; other != "" {
					t.Errorf("%s and %s both set %s: one of them is lost", name, other, match[1])
				}
				setBy[match[1]] = name
			}
		}
		kubelet := n.parts["units/kubelet.service"]
		for _, want := range []string{
			"Environment=KUBELET_IMAGE=quay.io/poseidon/kubelet:v", "${KUBELET_IMAGE} \\\n", "--bootstrap-kubeconfig=/etc/kubernetes/kubeconfig",
			"--kubeconfig=/var/lib/kubelet/kubeconfig", "$KUBELET_ROLE_ARGS $KUBELET_PLATFORM_ARGS $KUBELET_EXTRA_ARGS\n",
		} {
			if !strings.Contains(kubelet, want) {
				t.Errorf("kubelet.service has no %q", want)
			}
		}
		if setBy["KUBELET_ROLE_ARGS"] == "" {
			t.Error("nobody says the role")
		}
		if !strings.Contains(n.parts["files/etc/kubernetes/kubelet.yaml"], "rotateCertificates: true") {
			t.Error("the kubelet does not renew its certificate")
		}
	})
}

// TestFetch runs each example's fetch script with a curl that only makes empty files: what profiles boot and installers ask for must
// be there afterwards.
func TestFetch(t *testing.T) {
	scripts, err := filepath.Glob("../examples/*/fetch")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("found no scripts: %v", err)
	}
	for _, script := range scripts {
		dir := filepath.Dir(script)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			fetched := fakeFetch(t, script)
			example := loadExample(t, dir)
			for _, group := range example.groups {
				ask, _ := example.asker(group)
				plan, err := example.planner.Plan(t.Context(), ask)
				if err != nil {
					t.Fatal(err)
				}
				if plan.Do != boot.Run {
					continue
				}
				for _, asset := range regexp.MustCompile(`/assets/[^ \n"]+`).FindAllString(string(plan.IPXE()), -1) {
					if _, err := os.Stat(filepath.Join(fetched, asset)); err != nil {
						t.Errorf("group %s boots %s, which fetch does not bring", group.ID, asset)
					}
				}
			}
			if strings.Contains(dir, "flatcar") {
				for _, name := range []string{"flatcar_production_image.bin.bz2", "flatcar_production_image.bin.bz2.sig"} {
					if _, err := os.Stat(filepath.Join(fetched, "assets/flatcar/current", name)); err != nil {
						t.Errorf("flatcar-install -V current asks for %s: %v", name, err)
					}
				}
			}
		})
	}
}

// fakeFetch runs a copy of the script in a directory of its own, which it returns.
func fakeFetch(t *testing.T, script string) string {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	text := readText(t, script)
	for _, variable := range []string{"VERSION=", "STREAM=|CHANNEL="} {
		if n := len(regexp.MustCompile(`(?m)^(`+variable+`)`).FindAllString(text, -1)); n != 1 {
			t.Errorf("%s sets %s %d times, want once", script, variable, n)
		}
	}
	curl := "#!/bin/sh\nwhile [ \"$1\" != --output ]; do shift; done\n>\"$2\"\ncase $3 in https://*) ;; *) exit 1 ;; esac\n"
	for name, content := range map[string]string{filepath.Join(dir, "fetch"): text, filepath.Join(bin, "curl"): curl} {
		if err := os.WriteFile(name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time over what the first left
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "fetch"))
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	}
	return dir
}
