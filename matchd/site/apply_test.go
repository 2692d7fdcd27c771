package site_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

func TestApplyIsOneRevision(t *testing.T) {
	dir := siteOf(t, `
-- groups/a.yaml --
profile: p
-- groups/b.yaml --
profile: p
selector: {os: b}
-- profiles/p.yaml --
ignition_id: p.yaml
-- ignition/p.yaml --
variant: fcos
version: 1.5.0
passwd: {users: [{name: core}]}
`)
	records, err := boltstore.Open(filepath.Join(t.TempDir(), "config.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	apply := func(wantRevision uint64, wantChanged int) {
		t.Helper()
		loaded, err := site.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		revision, changed, err := loaded.Apply(t.Context(), records)
		if err != nil || uint64(revision) != wantRevision || changed != wantChanged {
			t.Errorf("Apply = %d, %d, %v; want %d, %d", revision, changed, err, wantRevision, wantChanged)
		}
	}
	apply(1, 4)
	apply(1, 0)
	if err := os.Remove(filepath.Join(dir, "groups/b.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "groups/a.yaml"), []byte("profile: p\nname: A\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	apply(2, 2)
	record, err := records.Get(t.Context(), "group/a")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(record.Value), `{"id":"a","name":"A","profile":"p","site_file":"groups/a.yaml"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
