package examples_test

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/server"
)

// liveWorker is the hardware address of the examples' worker that runs from memory.
const liveWorker = "52:54:00:c3:40:1b"

// standIn replaces the systems' live images by the lab's guest, and nothing else of an example.
var standIn = strings.NewReplacer(
	"/assets/fedora-coreos/current/live-kernel", "/assets/x86_64/vmlinuz",
	"/assets/fedora-coreos/current/live-initramfs.img", "/assets/x86_64/initrd",
	"/assets/flatcar/current/flatcar_production_pxe.vmlinuz", "/assets/x86_64/vmlinuz",
	"/assets/flatcar/current/flatcar_production_pxe_image.cpio.gz", "/assets/x86_64/initrd",
)

// readSite reads an example's files.
func readSite(t *testing.T, name string) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir := filepath.Join(cache.Root(), "examples", name)
	for _, kind := range []string{"groups", "profiles", "ignition"} {
		names, err := filepath.Glob(filepath.Join(dir, kind, "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s has no %s: %v", name, kind, err)
		}
		for _, file := range names {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			files[kind+"/"+filepath.Base(file)] = standIn.Replace(string(content))
		}
	}
	return files
}

// TestLiveWorkerBoots serves each Kubernetes example, boots its worker that runs from memory, and fetches a config as installers do.
func TestLiveWorkerBoots(t *testing.T) {
	for _, site := range []string{"kubernetes-fedora-coreos", "kubernetes-flatcar"} {
		t.Run(site, func(t *testing.T) { bootLiveWorker(t, site) })
	}
}

func bootLiveWorker(t *testing.T, site string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*machine.Bound)
	defer cancel()
	seg, err := netns.NewSegment(t.Name(), netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	if err := seg.Router(); err != nil {
		t.Fatal(err)
	}
	dir := t.ArtifactDir()
	matchd, err := server.Start(ctx, seg.Namespace, server.Options{Dir: dir, Site: readSite(t, site), Config: server.Subnet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := matchd.Stop(); err != nil {
			t.Error(err)
		}
	}()
	guest, err := machine.PowerOn(seg, machine.Spec{Firmware: machine.BIOS, MAC: liveWorker, Dir: filepath.Join(dir, "machine")})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Kill()
	result, err := guest.Result(ctx)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, guest.Tail(40, "  serial: "), matchd.Tail(40, "  matchd: "))
	}
	if state := result.Fact("state"); state != "booted" {
		t.Errorf("the machine says %q: %s", state, result.Fact("error"))
	}
	for name, want := range map[string]string{
		"/etc/hostname": "worker1.example.com",
		"/etc/systemd/system/kubelet.service.d/20-metal.conf": "--hostname-override=worker1.example.com",
		"/etc/systemd/system/matchd-report.service":           "http://10.77.0.1:8080/v1/report?mac=" + liveWorker,
	} {
		if got, _ := result.Root(name); !strings.Contains(got.Content, want) {
			t.Errorf("Ignition wrote %q to %s, want %s in it", got.Content, name, want)
		}
	}
	installed(t, ctx, seg)
}

// installed asks for the config of a machine's installed system: coreos-installer without os=installed, Flatcar's installer with it. Both
// sites answer both.
func installed(t *testing.T, ctx context.Context, seg *netns.Segment) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.77.0.1:8080/ignition?mac=52:54:00:a1:9c:ae&os=installed", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := seg.Namespace.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	config, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(config), "etcd-member.service") {
		t.Errorf("the controller's config: %s, %v: %.300s", resp.Status, err, config)
	}
}
