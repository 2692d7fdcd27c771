package catalog_test

import (
	"fmt"
	"testing"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
)

// BenchmarkIgnition measures a machine's config that is rendered already: match, data, cache.
func BenchmarkIgnition(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("groups=%d", n), func(b *testing.B) {
			s, c := start(b)
			objects := site()
			for i := range n {
				mac := fmt.Sprintf("52:54:00:01:%02x:%02x", i>>8, i&255)
				objects.Groups = append(objects.Groups, group(fmt.Sprint("g", i), "worker", groups.Selector{"mac": mac}, map[string]any{"name": mac}))
			}
			revision, _, err := catalog.ReplaceSite(b.Context(), s, objects)
			if err != nil {
				b.Fatal(err)
			}
			snapshot, err := c.WaitFor(b.Context(), revision)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				selection, err := snapshot.Match(labels("52:54:00:01:00:05"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := snapshot.Ignition(b.Context(), selection, catalog.Request{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
