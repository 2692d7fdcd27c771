package examples_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/lab/examples"
)

// bootBound is how long one of these tests may take.
const bootBound = 2 * time.Minute

// boot applies a group's config and lets systemd run what came of it.
func boot(t *testing.T, site, group, metadata string) (*examples.Booted, context.Context) {
	t.Helper()
	cases, err := examples.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Site != site || c.Group != group {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), bootBound)
		t.Cleanup(cancel)
		rendered, err := c.Render(ctx)
		if err != nil {
			t.Fatal(err)
		}
		root, err := c.Apply(ctx, openDir(t), rendered)
		if err != nil {
			t.Fatal(err)
		}
		booted, err := examples.Boot(ctx, root, metadata)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { end(t, booted) })
		return booted, ctx
	}
	t.Fatalf("%s has no group %s", site, group)
	return nil, nil
}

// end ends what has not been powered off.
func end(t *testing.T, booted *examples.Booted) {
	t.Helper()
	if err := booted.Kill(); err != nil {
		t.Error(err)
	}
}

// await returns the first call that has this text.
func await(t *testing.T, ctx context.Context, booted *examples.Booted, text string) string {
	t.Helper()
	call, err := booted.Await(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// bundle is what a controller waits for.
func bundle(t *testing.T) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, file := range []struct{ name, content string }{
		{"etcd/server.key", "server key"}, {"etcd/peer.key", "peer key"}, {"pki/admin.conf", "admin"}, {"static-manifests/api.yaml", "api"},
		{"manifests/calico/daemonset.yaml", "calico"}, {"kubeconfig", "    certificate-authority-data: Y2E=\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o600, Size: int64(len(file.content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// TestControllerBootstraps gives a controller its bundle. The first attempt fails, since the API server is not ready, the second makes
// the control plane; then nothing of the bundle is left, and nothing tries again.
func TestControllerBootstraps(t *testing.T) {
	for site, program := range map[string]string{"kubernetes-fedora-coreos": "podman", "kubernetes-flatcar": "docker"} {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			booted, ctx := boot(t, site, "metal-controller", "")
			// As README.md says: beside its place, then whole at once.
			at := filepath.Join(booted.Root, "opt/bootstrap/bundle.tar")
			if err := os.WriteFile(at+".new", bundle(t), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(at+".new", at); err != nil {
				t.Fatal(err)
			}
			etcd := await(t, ctx, booted, "--name etcd")
			if !strings.HasPrefix(etcd, program+" run ") || !strings.HasSuffix(etcd, " quay.io/coreos/etcd:v3.5.13") {
				t.Errorf("etcd is started by %s", etcd)
			}
			kubelet := await(t, ctx, booted, "--name kubelet")
			for _, want := range []string{
				" --hostname-override=controller0.example.com", " --node-labels=node.kubernetes.io/controller=true ",
				" --register-with-taints=node-role.kubernetes.io/controller=:NoSchedule ", " --bootstrap-kubeconfig=/etc/kubernetes/kubeconfig ",
			} {
				if !strings.Contains(kubelet+" ", want) {
					t.Errorf("the kubelet is started without %s: %s", want, kubelet)
				}
			}
			await(t, ctx, booted, "kubectl apply --recursive --filename /opt/bootstrap/manifests")
			if site == "kubernetes-fedora-coreos" {
				await(t, ctx, booted, "kubectl patch --filename /opt/bootstrap/patches/calico-node.yaml")
			}
			bootstrapped(t, ctx, booted)
			again(t, ctx, booted)
		})
	}
}

// bootstrapped asserts what a control plane leaves behind.
func bootstrapped(t *testing.T, ctx context.Context, booted *examples.Booted) {
	t.Helper()
	booted.Systemctl(ctx, "start", "bootstrap.service") // returns when the start that is under way has ended
	for _, unit := range []string{"bootstrap.service", "etcd-member.service", "kubelet.service"} {
		if state := booted.Systemctl(ctx, "is-active", unit); state != "active" {
			t.Errorf("%s is %s\n%s", unit, state, booted.Systemctl(ctx, "status", unit))
		}
	}
	if err := booted.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/etcd/pki/peer.key", "etc/kubernetes/pki/admin.conf", "etc/kubernetes/manifests/api.yaml", "opt/bootstrap/bootstrap.done"} {
		if _, err := os.Stat(filepath.Join(booted.Root, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(booted.Root, "opt/bootstrap/bundle.tar")); err == nil {
		t.Error("the bundle with the cluster's keys is left")
	}
	if ca, err := os.ReadFile(filepath.Join(booted.Root, "etc/kubernetes/ca.crt")); err != nil || string(ca) != "ca" {
		t.Errorf("the CA is %q: %v", ca, err)
	}
}

// again boots a controller a second time: it runs etcd and the kubelet, and does not look for a bundle.
func again(t *testing.T, ctx context.Context, before *examples.Booted) {
	t.Helper()
	booted, err := examples.Boot(ctx, before.Root, "")
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, booted)
	await(t, ctx, booted, "--name etcd")
	await(t, ctx, booted, "--name kubelet")
	await(t, ctx, booted, "booted")
	if failed := booted.Systemctl(ctx, "--failed", "--no-legend"); failed != "" {
		t.Errorf("failed: %s", failed)
	}
	if state := booted.Systemctl(ctx, "is-active", "bootstrap.path"); state != "inactive" {
		t.Errorf("bootstrap.path is %s after the bootstrap", state)
	}
	if calls := strings.Join(booted.Calls.Lines(), "\n"); strings.Contains(calls, "--name bootstrap") {
		t.Errorf("it bootstraps again:\n%s", calls)
	}
}

// systems are the example sites with the variables that the systems' metadata units write, and the program that runs containers.
var systems = []struct{ site, program, aws, digitalocean string }{
	{"kubernetes-fedora-coreos", "podman", "AFTERBURN_AWS_AVAILABILITY_ZONE=z1\nAFTERBURN_AWS_INSTANCE_ID=i-7\n", "AFTERBURN_DIGITALOCEAN_IPV4_PRIVATE_0=10.1.2.3\n"},
	{"kubernetes-flatcar", "docker", "COREOS_EC2_AVAILABILITY_ZONE=z1\nCOREOS_EC2_INSTANCE_ID=i-7\n", "COREOS_DIGITALOCEAN_IPV4_PRIVATE_0=10.1.2.3\n"},
}

// TestWorkerDeletesItsNode boots a preemptible worker of AWS, which has its kubeconfig, and switches it off.
func TestWorkerDeletesItsNode(t *testing.T) {
	for _, system := range systems {
		t.Run(system.site, func(t *testing.T) {
			t.Parallel()
			booted, ctx := boot(t, system.site, "aws-workers", system.aws)
			kubelet := await(t, ctx, booted, "--name kubelet")
			const want = " --kubeconfig=/var/lib/kubelet/kubeconfig --node-labels=node.kubernetes.io/node,node.kubernetes.io/preemptible=true" +
				" --provider-id=aws:///z1/i-7"
			if !strings.HasSuffix(kubelet, want) {
				t.Errorf("the kubelet is started by %s, want %s at its end", kubelet, want)
			}
			await(t, ctx, booted, system.program+" exec kubelet ")
			booted.Systemctl(ctx, "start", "delete-node.service") // returns when the start that is under way has ended
			if err := booted.PowerOff(ctx); err != nil {
				t.Fatal(err)
			}
			await(t, ctx, booted, "kubectl --kubeconfig=/var/lib/kubelet/kubeconfig delete node node-7")
			stop := await(t, ctx, booted, system.program+" stop kubelet")
			calls := booted.Calls.Lines()
			if deleted := slices.IndexFunc(calls, func(call string) bool { return strings.HasPrefix(call, "kubectl ") }); deleted > slices.Index(calls, stop) {
				t.Errorf("the kubelet stopped before its node was deleted:\n%s", strings.Join(calls, "\n"))
			}
		})
	}
}

// TestWorkerWaitsForKubeconfig boots a droplet: nothing is wrong with it while its kubeconfig has not come, and its kubelet starts when it has.
func TestWorkerWaitsForKubeconfig(t *testing.T) {
	for _, system := range systems {
		t.Run(system.site, func(t *testing.T) {
			t.Parallel()
			booted, ctx := boot(t, system.site, "digitalocean-workers", system.digitalocean)
			await(t, ctx, booted, "booted")
			if calls := booted.Calls.Lines(); len(calls) > 1 {
				t.Errorf("it does not wait: %q", calls)
			}
			if failed := booted.Systemctl(ctx, "--failed", "--no-legend"); failed != "" {
				t.Errorf("failed: %s", failed)
			}
			at := filepath.Join(booted.Root, "etc/kubernetes/kubeconfig")
			if err := os.WriteFile(at+".new", []byte("    certificate-authority-data: Y2E=\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(at+".new", at); err != nil {
				t.Fatal(err)
			}
			if kubelet := await(t, ctx, booted, "--name kubelet"); !strings.HasSuffix(kubelet, " --hostname-override=10.1.2.3") {
				t.Errorf("the kubelet is started by %s", kubelet)
			}
		})
	}
}
