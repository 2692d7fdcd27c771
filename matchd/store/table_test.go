package store_test

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/store"
	"github.com/matchd/matchd/matchd/store/boltstore"
)

type fruit struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight,omitempty"`
}

func open(t *testing.T) store.Store {
	t.Helper()
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "test.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTable(t *testing.T) {
	table := store.NewTable[fruit](open(t), "fruit/")
	first, err := table.Put(t.Context(), "a", fruit{"apple", 150}, store.Absent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Put(t.Context(), "a", fruit{}, store.Absent()); !fault.Is(err, fault.Conflict) {
		t.Errorf("got error %v, want one of kind conflict", err)
	}
	row, err := table.Get(t.Context(), "a")
	if want := (store.Row[fruit]{ID: "a", Value: fruit{"apple", 150}, Revision: first}); err != nil || row != want {
		t.Errorf("Get = %+v, %v, want %+v", row, err, want)
	}
	if _, err := table.Delete(t.Context(), "a", store.At(first)); err != nil {
		t.Error(err)
	}
	if _, err := table.Get(t.Context(), "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got error %v, want one of kind not found", err)
	}
	if id, ok := table.ID("fruit/x/y"); id != "x/y" || !ok {
		t.Errorf("ID = %q, %v", id, ok)
	}
	if _, ok := table.ID("vegetable/x"); ok {
		t.Error("a foreign key belongs to the table")
	}
}

func TestTableListsAroundProblems(t *testing.T) {
	s := open(t)
	table := store.NewTable[fruit](s, "fruit/")
	_, err := s.Apply(t.Context(),
		store.Op{Key: "fruit/apple", Value: []byte(`{"name":"apple","colour":"a field of a newer version"}`)},
		store.Op{Key: "fruit/broken", Value: []byte(`{"name":`)},
		store.Op{Key: "fruit/null", Value: []byte(` null `)},
		store.Op{Key: "fruit/pear", Value: []byte(`{"name":"pear"}`)},
		store.Op{Key: "fruit/typed", Value: []byte(`{"name":"x","weight":"heavy"}`)},
		store.Op{Key: "vegetable/leek", Value: []byte(`{"name":"leek"}`)},
	)
	if err != nil {
		t.Fatal(err)
	}
	listing, err := table.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Row[fruit]{{ID: "apple", Value: fruit{Name: "apple"}, Revision: 1}, {ID: "pear", Value: fruit{Name: "pear"}, Revision: 1}}
	if diff := cmp.Diff(want, listing.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	var keys []string
	for _, p := range listing.Problems {
		keys = append(keys, p.Key)
		if !fault.Is(p, fault.Invalid) || !strings.Contains(p.Error(), p.Key) {
			t.Errorf("problem %v is of kind %v", p, fault.KindOf(p))
		}
	}
	if got := strings.Join(keys, " "); got != "fruit/broken fruit/null fruit/typed" || listing.Revision != 1 {
		t.Errorf("problems with %q at %d", got, listing.Revision)
	}
	var problem *store.Problem
	if _, err := table.Get(t.Context(), "broken"); !errors.As(err, &problem) {
		t.Errorf("got error %v, want a problem", err)
	}
	if _, err := table.Decode(store.Record{Key: "vegetable/leek"}); !errors.As(err, &problem) {
		t.Errorf("got error %v, want a problem", err)
	}
}

func TestTableRefuses(t *testing.T) {
	table := store.NewTable[fruit](open(t), "fruit/")
	if _, err := table.Put(t.Context(), "", fruit{}, store.Any()); !fault.Is(err, fault.Invalid) {
		t.Errorf("without id: got error %v, want one of kind invalid", err)
	}
	if _, err := table.Put(t.Context(), "a", fruit{Weight: math.NaN()}, store.Any()); !fault.Is(err, fault.Invalid) {
		t.Errorf("not a number: got error %v, want one of kind invalid", err)
	}
}
