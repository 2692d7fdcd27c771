package render_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_4/types"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/profiles"
)

// workerConfig has about the size of a Kubernetes worker's: a dozen files and units.
func workerConfig(hostname string) string {
	var b strings.Builder
	b.WriteString("variant: fcos\nversion: 1.5.0\nsystemd:\n  units:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "    - name: unit%d.service\n      enabled: true\n      contents: |\n        [Unit]\n        Description=unit %d\n", i, i)
		b.WriteString("        [Service]\n        ExecStart=/usr/bin/podman run --privileged --pid host --network host quay.io/poseidon/kubelet:v1.36.1\n")
		b.WriteString("        Restart=always\n        [Install]\n        WantedBy=multi-user.target\n")
	}
	b.WriteString("storage:\n  files:\n    - path: /etc/hostname\n      mode: 0644\n      contents:\n        inline: " + hostname + "\n")
	for i := range 8 {
		fmt.Fprintf(&b, "    - path: /etc/kubernetes/file%d.yaml\n      mode: 0644\n      contents:\n        inline: |\n", i)
		b.WriteString(strings.Repeat("          apiVersion: kubelet.config.k8s.io/v1beta1\n", 10))
	}
	return b.String()
}

// largeText has 90 KiB, compresses to a part of that and is the same for every machine.
func largeText() string {
	var b strings.Builder
	for i := 0; b.Len() < 90*1024; i++ {
		fmt.Fprintf(&b, "%d {%x} ", i, i*i*7919)
	}
	return b.String()
}

func BenchmarkConfig(b *testing.B) {
	snippet := compile(b, profiles.Ignition, "ntp.yaml", "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/chrony.conf\n      contents: {inline: server ntp}\n")
	hostname := compile(b, profiles.Ignition, "hostname.yaml", "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/hostname\n      overwrite: true\n      contents: {inline: \"{{.request.query.mac}}\"}\n")
	benchmarks := []struct {
		name        string
		composition render.Composition
	}{
		{"static", render.Composition{Base: compile(b, profiles.Ignition, "static.yaml", workerConfig("node-1"))}},
		{"templated", render.Composition{Base: compile(b, profiles.Ignition, "worker.yaml", workerConfig("{{.request.query.mac}}"))}},
		{"static with a templated snippet", render.Composition{
			Base: compile(b, profiles.Ignition, "static.yaml", workerConfig("node-1")), Snippets: []*render.Document{hostname},
		}},
		{"templated with a static snippet", render.Composition{
			Base: compile(b, profiles.Ignition, "worker.yaml", workerConfig("{{.request.query.mac}}")), Snippets: []*render.Document{snippet},
		}},
		{"templated with a large file", render.Composition{
			Base: compile(b, profiles.Ignition, "large.yaml", workerConfig("{{.request.query.mac}}")+"    - path: /etc/large\n      contents: {inline: '"+largeText()+"'}\n"),
		}},
	}
	data := render.Input{Group: &groups.Group{ID: "g"}, Labels: groups.Labels{"mac": "52:54:00:00:00:01"}}.Data()
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bb.composition.Config(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// templatedWorker returns the texts of a worker and three snippets, all of which have the machine's address in a file's contents, or in other
// places too.
func templatedWorker(mac string, everywhere bool) []string {
	worker, snippet := workerConfig(mac), "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/snippet%d%s\n      contents: {inline: %s}\n"
	dir := ""
	if everywhere {
		dir = "/" + mac
		worker += "    - path: /etc" + dir + "\n      contents: {inline: x}\n"
	}
	texts := []string{worker}
	for i := range 3 {
		texts = append(texts, fmt.Sprintf(snippet, i, dir, mac))
	}
	return texts
}

// BenchmarkTemplatedWorker renders for a new machine each time: every document reads its address, for what a file holds or for more. Beside it, in
// turns, since a machine's speed changes, run Butane alone, and what Terraform's ct provider does: translate, parse and merge, without a
// look at the result. Figures are processor time of the running thread.
func BenchmarkTemplatedWorker(b *testing.B) {
	b.Run("in contents", func(b *testing.B) { benchmarkTemplatedWorker(b, false) })
	b.Run("everywhere", func(b *testing.B) { benchmarkTemplatedWorker(b, true) })
}

func benchmarkTemplatedWorker(b *testing.B, everywhere bool) {
	var documents []*render.Document
	for i, text := range templatedWorker("{{.request.query.mac}}", everywhere) {
		documents = append(documents, compile(b, profiles.Ignition, fmt.Sprintf("d%d.yaml", i), text))
	}
	composition := render.Composition{Base: documents[0], Snippets: documents[1:]}
	ours := func(mac string, _ bool) error {
		_, err := composition.Config(b.Context(), render.Input{Group: &groups.Group{ID: "g"}, Labels: groups.Labels{"mac": mac}}.Data())
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var spent [3]time.Duration
	for i := 0; b.Loop(); i++ {
		for k, run := range []func(mac string, everywhere bool) error{ours, butaneAlone, asTerraform} {
			start := threadTime(b)
			if err := run(fmt.Sprintf("m%07d", i), everywhere); err != nil {
				b.Fatal(err)
			}
			spent[k] += threadTime(b) - start
		}
	}
	for k, name := range []string{"matchd", "butane", "terraform"} {
		b.ReportMetric(float64(spent[k].Microseconds())/float64(b.N), name+"-µs/op")
	}
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "matchd/butane")
}

func threadTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func butaneAlone(mac string, everywhere bool) error {
	for _, text := range templatedWorker(mac, everywhere) {
		if _, _, err := config.TranslateBytes([]byte(text), common.TranslateBytesOptions{Raw: true}); err != nil {
			return err
		}
	}
	return nil
}

func asTerraform(mac string, everywhere bool) error {
	var merged types.Config
	for _, text := range templatedWorker(mac, everywhere) {
		translated, _, err := config.TranslateBytes([]byte(text), common.TranslateBytesOptions{Raw: true})
		if err != nil {
			return err
		}
		parsed, _, err := v3_4.ParseCompatibleVersion(translated)
		if err != nil {
			return err
		}
		merged = v3_4.Merge(merged, parsed)
	}
	_, err := json.Marshal(merged)
	return err
}

// BenchmarkHostileAliases refuses what keeps Butane busy for 20 s.
func BenchmarkHostileAliases(b *testing.B) {
	text := "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - &f {path: /etc/a}\n" + strings.Repeat("    - *f\n", 15_000)
	for b.Loop() {
		document := compile(b, profiles.Ignition, "hostile.yaml", text)
		if err := document.Check(b.Context()); err == nil {
			b.Fatal("accepted")
		}
	}
}

// BenchmarkButane is what the translation alone costs: the yardstick for a templated document.
func BenchmarkButane(b *testing.B) {
	source := []byte(workerConfig("node-1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := config.TranslateBytes(source, common.TranslateBytesOptions{Raw: true}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKey(b *testing.B) {
	d := compile(b, profiles.Generic, "a", "{{.role}}{{.request.query.mac}}")
	in := render.Input{Group: &groups.Group{ID: "g", Metadata: map[string]any{"role": "worker"}}, Labels: groups.Labels{"mac": "52:54:00:00:00:01"}}
	for b.Loop() {
		d.Key(in.Data())
	}
}
