package render

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
)

// transpiled returns what becomes of a text with what m and p have seen before, and what Butane makes of it.
func transpiled(t *testing.T, source string, m *moulds, p *packer) (ours, theirs string, problems error) {
	t.Helper()
	r := &reporter{name: "ignition/a.bu", text: &text{out: []byte(source), source: source}}
	root := decodeYAML(r)
	if root != nil && r.err() == nil {
		ours = string(transpile(r, root, m, p))
	}
	auto, entries, err := config.TranslateBytes([]byte(source), common.TranslateBytesOptions{Raw: true})
	if err == nil && len(entries.Entries) == 0 {
		theirs = string(auto)
	}
	return ours, theirs, r.err()
}

// values are put into the holes one after the other, the first two so that a mould is made.
var values = []string{
	"one", "two", "", "a b\nc\n", "<&>'\"\\x", strings.Repeat("ä", 30), strings.Repeat("compressible ", 50), "matchd.hole.0.", "#matchd.hole.1.\n", "data:,x",
}

// TestMouldsEqualButane translates, for every variant, texts that differ in their files and units only.
func TestMouldsEqualButane(t *testing.T) {
	variants := []string{
		"fcos 1.0.0", "fcos 1.1.0", "fcos 1.2.0", "fcos 1.3.0", "fcos 1.4.0", "fcos 1.5.0", "fcos 1.6.0", "fcos 1.7.0", "flatcar 1.0.0", "flatcar 1.1.0",
		"r4e 1.0.0", "r4e 1.1.0", "fiot 1.0.0",
	}
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			name, version, _ := strings.Cut(variant, " ")
			var m moulds
			var p packer
			for _, value := range values {
				text := fmt.Sprintf(`variant: %s
version: %s
storage:
  files:
    - path: /etc/hostname
      contents: {inline: %q}
    - path: /etc/same
      mode: 0644
      contents: {inline: same}
systemd:
  units:
    - name: a.service
      enabled: true
      contents: %q
    - name: b.service
      dropins:
        - name: 10.conf
          contents: %q
`, name, version, value, "[Service]\nExecStart=/a\nEnvironment="+strings.ReplaceAll(value, "\n", "")+"\n[Install]\nWantedBy=multi-user.target\n", "[Service]\nEnvironment=B="+fmt.Sprint(len(value)))
				ours, theirs, problems := transpiled(t, text, &m, &p)
				if ours != theirs || ours == "" {
					t.Errorf("%q (%v):\ngot  %s\nwant %s", value, problems, ours, theirs)
				}
			}
			if len(m.made) != 1 || (m.made[0].pieces == nil) != (variant == "fcos 1.0.0") {
				t.Errorf("%d moulds were made", len(m.made))
			}
		})
	}
}

// TestMouldsAreNotForced has texts that differ in more than a mould allows for.
func TestMouldsAreNotForced(t *testing.T) {
	const header = "variant: fcos\nversion: 1.5.0\n"
	unit := func(contents string) string {
		return header + fmt.Sprintf("systemd: {units: [{name: a.service, enabled: true, contents: %q}]}\n", contents)
	}
	const good = "[Service]\nExecStart=/a\n[Install]\nWantedBy=a.target\n"
	file := func(entry string) string { return header + "storage: {files: [{" + entry + "}]}\n" }
	for name, texts := range map[string][]string{
		"no [Install]":    {unit(good), unit(good + "\n"), unit("[Service]\nExecStart=/a\n"), unit(good)},
		"no unit":         {unit(good), unit(good + "\n"), unit("[Service]\nExecStart"), unit("")},
		"another path":    {file("path: /a, contents: {inline: a}"), file("path: /a, contents: {inline: b}"), file("path: a, contents: {inline: b}"), file("path: /b, contents: {inline: b}")},
		"another mode":    {file("path: /a, mode: 0644, contents: {inline: a}"), file("path: /a, mode: 0644, contents: {inline: b}"), file("path: /a, mode: 644, contents: {inline: b}")},
		"no text":         {file("path: /a, contents: {inline: a}"), file("path: /a, contents: {inline: b}"), file("path: /a, contents: {inline: 1.50}"), file("path: /a, contents: {inline: [a]}"), file("path: /a, contents: {inline: ~}"), file("path: /a, contents: {inline: !!binary YQ==}")},
		"another key":     {file("path: /a, contents: {inline: a}"), file("path: /a, contents: {inline: b}"), file("path: /a, contents: {source: \"data:,b\"}"), file("path: /a, append: [{inline: b}]")},
		"an alias":        {file("path: /a, contents: &a {inline: a}"), file("path: /a, contents: &a {inline: b}"), file("path: /a, contents: &a {inline: c}}, {path: /b, contents: *a")},
		"a local file":    {file("path: /a, contents: {inline: a}"), file("path: /a, contents: {inline: b}"), file("path: /a, contents: {local: b}")},
		"own compression": {file("path: /a, contents: {inline: a, compression: gzip}"), file("path: /a, contents: {inline: b, compression: gzip}"), file("path: /a, contents: {inline: c, compression: gzip}")},
		"twice the sentinel": {
			file("path: /a, contents: {inline: a}}, {path: /b, contents: {source: \"data:,matchd.hole.0.\"}"),
			file("path: /a, contents: {inline: b}}, {path: /b, contents: {source: \"data:,matchd.hole.0.\"}"),
			file("path: /a, contents: {inline: c}}, {path: /b, contents: {source: \"data:,matchd.hole.0.\"}"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var m moulds
			var p packer
			for round := range 2 {
				for _, text := range texts {
					if ours, theirs, problems := transpiled(t, text, &m, &p); ours != theirs {
						t.Errorf("round %d, %s (%v):\ngot  %s\nwant %s", round, text, problems, ours, theirs)
					}
				}
			}
			if len(m.made) > maxMoulds || len(m.seen) > maxMoulds {
				t.Errorf("%d moulds, %d shapes", len(m.made), len(m.seen))
			}
		})
	}
}

// FuzzMould puts any values into a file and a unit for which there is a mould.
func FuzzMould(f *testing.F) {
	for _, value := range values {
		f.Add(value, "[Service]\nExecStart="+value)
	}
	f.Add("a", "[Install]\nWantedBy=a\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		var m moulds
		var p packer
		text := func(contents, unit string) string {
			return document(t, contents) + "systemd:\n  units:\n    - name: a.service\n      enabled: true\n      contents: " + fmt.Sprintf("%q", unit) + "\n"
		}
		const unit = "[Service]\nExecStart=/a\n[Install]\nWantedBy=a\n"
		for _, each := range []string{text("x", unit), text("y", unit+"\n"), text(a, unit+b), text(a, b), text(b, unit)} {
			ours, theirs, problems := transpiled(t, each, &m, &p)
			if problems == nil && ours != theirs || theirs != "" && ours == "" && problems == nil {
				t.Errorf("%q (%v):\ngot  %s\nwant %s", each, problems, ours, theirs)
			}
		}
	})
}

// shaped returns a text of one of many shapes.
func shaped(number int, value string) string {
	return fmt.Sprintf("variant: fcos\nversion: 1.5.0\nstorage: {files: [{path: /etc/%d, contents: {inline: %q}}]}\n", number, value)
}

// TestMouldsOfManyShapes has more shapes than are remembered: one that is used stays, and one that had to go is not made anew at once.
func TestMouldsOfManyShapes(t *testing.T) {
	var m moulds
	var p packer
	render := func(number int, value string) {
		t.Helper()
		if ours, theirs, problems := transpiled(t, shaped(number, value), &m, &p); ours != theirs || ours == "" {
			t.Fatalf("shape %d, %s (%v):\ngot  %s\nwant %s", number, value, problems, ours, theirs)
		}
		made := map[[sha256.Size]byte]bool{}
		for _, each := range m.made {
			made[each.shape] = true
		}
		if len(made) != len(m.made) || len(made) > maxMoulds || len(m.seen) > maxMoulds || slices.ContainsFunc(m.seen, func(seen [sha256.Size]byte) bool { return made[seen] }) {
			t.Fatalf("%d moulds of %d shapes, %d shapes seen, or one in both", len(m.made), len(made), len(m.seen))
		}
	}
	const shapes = 12
	for number := range shapes {
		render(number, "one")
		render(number, "two")
		render(0, fmt.Sprint("used ", number))
	}
	latest := func() string { return string(bytes.Join(m.made[len(m.made)-1].pieces, nil)) }
	if len(m.made) != maxMoulds || len(m.seen) != 0 || !strings.Contains(latest(), `"/etc/0"`) {
		t.Errorf("%d moulds, %d shapes seen, the last one used is %s", len(m.made), len(m.seen), latest())
	}
	render(1, "three")
	if !strings.Contains(latest(), `"/etc/0"`) || len(m.seen) != 1 {
		t.Errorf("a shape that was forgotten has a mould at once: %s", latest())
	}
	render(1, "four")
	if !strings.Contains(latest(), `"/etc/1"`) || len(m.seen) != 0 {
		t.Errorf("a shape that came again has no mould: the latest is %s", latest())
	}
}

// TestMouldIsMadeOnce has machines of one shape ask at the same time.
func TestMouldIsMadeOnce(t *testing.T) {
	var m moulds
	var p packer
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 5 {
				if ours, theirs, problems := transpiled(t, shaped(0, fmt.Sprint(i, k)), &m, &p); ours != theirs {
					t.Errorf("machine %d (%v):\ngot  %s\nwant %s", i, problems, ours, theirs)
				}
			}
		})
	}
	wg.Wait()
	if len(m.made) != 1 || len(m.seen) != 0 {
		t.Errorf("%d moulds, %d shapes seen, want one and none", len(m.made), len(m.seen))
	}
}
