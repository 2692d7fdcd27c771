package render_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"

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

func BenchmarkConfig(b *testing.B) {
	snippet := compile(b, profiles.Ignition, "ntp.yaml", "variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n    - path: /etc/chrony.conf\n      contents: {inline: server ntp}\n")
	benchmarks := []struct {
		name        string
		composition render.Composition
	}{
		{"static", render.Composition{Base: compile(b, profiles.Ignition, "static.yaml", workerConfig("node-1"))}},
		{"templated", render.Composition{Base: compile(b, profiles.Ignition, "worker.yaml", workerConfig("{{.request.query.mac}}"))}},
		{"templated with a static snippet", render.Composition{
			Base: compile(b, profiles.Ignition, "worker.yaml", workerConfig("{{.request.query.mac}}")), Snippets: []*render.Document{snippet},
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
