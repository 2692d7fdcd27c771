package site_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/matchd/matchd/matchd/site"
)

// largeSite makes a site of many groups that share 20 profiles. hosts says that every machine has a config of its own.
func largeSite(t testing.TB, groups int, hosts bool, change func(*txtar.Archive)) string {
	archive := &txtar.Archive{}
	add := func(name, format string, args ...any) {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: fmt.Appendf(nil, format, args...)})
	}
	for i := range groups {
		name := "web"
		if hosts {
			name = fmt.Sprintf("host%05d", i)
		}
		add(fmt.Sprintf("groups/g%05d.yaml", i), "profile: p%d\nselector: {mac: \"52:54:00:00:%02x:%02x\"}\nmetadata: {name: %s}\n", i%20, i>>8, i&0xff, name)
	}
	for i := range 20 {
		add(fmt.Sprintf("profiles/p%d.yaml", i), "ignition_id: worker%d.bu\nsnippets: [ntp.bu, motd.bu]\n", i)
		add(fmt.Sprintf("ignition/worker%d.bu", i), `variant: fcos
version: 1.5.0
passwd:
  users: [{name: core, ssh_authorized_keys: [ssh-ed25519 AAAA%d]}]
systemd:
  units:
    - name: kubelet.service
      enabled: true
      contents: |
        [Unit]
        Description=Kubelet
        [Service]
        ExecStart=/usr/bin/podman run quay.io/poseidon/kubelet --hostname-override={{.name}}
        [Install]
        WantedBy=multi-user.target
storage:
  files:
    - path: /etc/hostname
      mode: 0644
      contents: {inline: {{.name}}}
`, i)
	}
	add("ignition/ntp.bu", "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/chrony.conf, contents: {inline: server ntp}}]}\n")
	add("ignition/motd.bu", "variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/motd, contents: {inline: hello}}]}\n")
	if change != nil {
		change(archive)
	}
	dir := t.TempDir()
	writeFiles(t, dir, archive.Files)
	return dir
}

func TestTrialOfManyGroups(t *testing.T) {
	dir := largeSite(t, 1000, false, func(archive *txtar.Archive) {
		archive.Files[len(archive.Files)-1].Data = []byte("variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/motd, contents: {inline: \"{{.motd}}\"}}]}\n")
	})
	start := time.Now()
	_, err := site.Load(dir)
	var problems *site.Problems
	if !errors.As(err, &problems) || len(problems.Problems) != 1 || len(problems.Problems[0].Groups) != 1000 {
		t.Fatalf("got %v", err)
	}
	if !strings.HasSuffix(err.Error(), "(groups g00000, g00001 and 998 more)") {
		t.Errorf("got %v", err)
	}
	t.Logf("refused in %v", time.Since(start))
}

func TestTrialTellsProgressAndEnds(t *testing.T) {
	dir := largeSite(t, 60, true, nil)
	var last, total atomic.Int64
	if _, err := site.Read(t.Context(), dir, site.ReadOptions{Progress: func(done, of int) {
		last.Add(1)
		total.Store(int64(of))
	}}); err != nil {
		t.Fatal(err)
	}
	if last.Load() != 60 || total.Load() != 60 {
		t.Errorf("told of %d of %d configs, want 60 of 60", last.Load(), total.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := site.Read(ctx, dir, site.ReadOptions{Progress: func(int, int) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if _, err := site.Read(ctx, dir, site.ReadOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: got %v", err)
	}
}

func BenchmarkLoad10000Groups(b *testing.B) {
	for name, hosts := range map[string]bool{"20 configs": false, "a config each": true} {
		b.Run(name, func(b *testing.B) {
			dir := largeSite(b, 10_000, hosts, nil)
			for b.Loop() {
				if _, err := site.Load(dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestSecondReadingTriesWhatDiffers(t *testing.T) {
	dir := largeSite(t, 50, true, nil)
	read := site.Reader()
	if _, err := read(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, []txtar.File{{Name: "groups/g00007.yaml", Data: []byte("profile: p7\nselector: {mac: \"52:54:00:00:00:07\"}\nmetadata: {name: 'a: b'}\n")}})
	for range 2 { // remembering a refusal is no reason to forget it
		_, err := read(t.Context(), dir)
		if err == nil || !strings.HasSuffix(err.Error(), "(group g00007)") {
			t.Errorf("after the edit: %v", err)
		}
	}
}

func BenchmarkReload10000Groups(b *testing.B) {
	dir := largeSite(b, 10_000, true, nil)
	read := site.Reader()
	if _, err := read(b.Context(), dir); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := read(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
}
