package render

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"go.yaml.in/yaml/v3"
)

// packedByBoth translates a Butane text as we do and as Butane does alone.
func packedByBoth(t *testing.T, p *packer, text string) (ours, theirs string) {
	t.Helper()
	plain, _, err := config.TranslateBytes([]byte(text), common.TranslateBytesOptions{Raw: true, TranslateOptions: common.TranslateOptions{NoResourceAutoCompression: true}})
	if err != nil {
		t.Fatal(err)
	}
	auto, _, err := config.TranslateBytes([]byte(text), common.TranslateBytesOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	return string(p.pack(plain)), string(auto)
}

// TestPackEqualsButane compares contents of many lengths and kinds, each asked for twice.
func TestPackEqualsButane(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var p packer
	for _, alphabet := range []string{"a", "ab \n", "{}[]\"'\\<>&%+= é\t", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"} {
		runes := []rune(alphabet)
		for _, length := range []int{0, 1, 5, 20, 30, 35, 36, 37, 38, 39, 40, 41, 42, 45, 50, 60, 100, 1000, 20_000} {
			var b strings.Builder
			for range length {
				b.WriteRune(runes[random.IntN(len(runes))])
			}
			text := document(t, b.String(), "second")
			for range 2 {
				if ours, theirs := packedByBoth(t, &p, text); ours != theirs {
					t.Errorf("%d of %q:\ngot  %s\nwant %s", length, alphabet, ours, theirs)
				}
			}
		}
	}
}

// document returns a Butane config of files with these contents, whatever they hold, and one that comes from elsewhere.
func document(t *testing.T, contents ...string) string {
	t.Helper()
	files := []any{map[string]any{"path": "/etc/own", "contents": map[string]any{"source": "data:," + strings.Repeat("own", 100)}}}
	for i, each := range contents {
		files = append(files, map[string]any{"path": fmt.Sprintf("/etc/%d", i), "contents": map[string]any{"inline": each}})
	}
	out, err := yaml.Marshal(map[string]any{"variant": "fcos", "version": "1.5.0", "storage": map[string]any{"files": files}})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func FuzzPack(f *testing.F) {
	f.Add("hello", strings.Repeat("[Unit]\nDescription=x\n", 20))
	f.Add(`"compression":"","source":"data:,x"`, `\"compression\":\"\"`)
	var p packer
	f.Fuzz(func(t *testing.T, a, b string) {
		text := document(t, a, b)
		if ours, theirs := packedByBoth(t, &p, text); ours != theirs {
			t.Errorf("%q:\ngot  %s\nwant %s", text, ours, theirs)
		}
	})
}

func TestPackLeavesOtherTextAlone(t *testing.T) {
	var p packer
	for _, text := range []string{"", "{}", `{"compression":"","source":"`, `{"compression":"","source":"https://example.com/a-long-name-that-is-not-data-at-all-and-goes-on"}`, `"compression":"","source":"data:,%zz` + strings.Repeat("a", 100) + `"`} {
		if got := p.pack([]byte(text)); !bytes.Equal(got, []byte(text)) {
			t.Errorf("got %q of %q", got, text)
		}
	}
}

// TestPackerIsBounded has many machines ask at the same time for what is their own, and for what is the same for all.
func TestPackerIsBounded(t *testing.T) {
	var p packer
	same := []byte("data:," + strings.Repeat("same", 100))
	want := p.url(same)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 500 {
				p.url(fmt.Appendf(nil, "data:,%s", strings.Repeat(fmt.Sprint(i, "x", k), 50)))
				if got := p.url(same); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	wg.Wait()
	checkBounds(t, &p)
	if !p.knows(same) {
		t.Error("what every machine asks for is forgotten")
	}
}

// knows tells whether a data URL need not be compressed again.
func (p *packer) knows(plain []byte) bool { return p.known[sha256.Sum256(plain)] != nil }

func checkBounds(t *testing.T, p *packer) {
	t.Helper()
	total := 0
	for _, each := range p.known {
		total += len(each.url)
	}
	if len(p.known) > maxPacked || total > maxPackedBytes || total != p.bytes {
		t.Fatalf("%d URLs of %d bytes are remembered, counted as %d", len(p.known), total, p.bytes)
	}
}

// letters returns a data URL of random letters, which compression makes a fifth shorter.
func letters(random *rand.Rand, size int) []byte {
	out := []byte("data:,")
	for range size {
		out = append(out, byte('a'+random.IntN(26)))
	}
	return out
}

// TestPackerKeepsLargeContents has a large file and a small one that are the same for every machine, among others of all sizes that are not.
func TestPackerKeepsLargeContents(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var p packer
	large, small := letters(random, 90*1024), letters(random, 1024)
	for range 60 {
		p.url(large)
		p.url(small)
		p.url(letters(random, random.IntN(40*1024)))
		checkBounds(t, &p)
		if !p.knows(large) || !p.knows(small) {
			t.Fatalf("forgotten: the large file %v, the small one %v", !p.knows(large), !p.knows(small))
		}
	}
	huge := letters(random, 2*maxPackedBytes) // no document holds as much
	p.url(huge)
	checkBounds(t, &p)
	if p.knows(huge) || !p.knows(large) || !p.knows(small) {
		t.Error("what there is no room for takes the place of the rest")
	}
}
