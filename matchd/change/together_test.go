package change_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/matchd/matchd/matchd/audit"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/change"
	"github.com/matchd/matchd/matchd/fault"
)

// TestTogether has many change the same and different things at once: nothing is lost, no precondition is broken, and no group is ever left without its profile.
func TestTogether(t *testing.T) {
	h := newHouse(t, nil)
	h.must(site()...)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 25 {
				var err error
				switch w % 4 {
				case 0:
					_, err = h.Apply(t.Context(), change.Change{Ops: []change.Op{put(group("01", "web", fmt.Sprint(w, i)))}})
				case 1:
					_, err = h.Apply(t.Context(), change.Change{Ops: []change.Op{put(profile(fmt.Sprint("p", i), "host.bu")), put(group("10", fmt.Sprint("p", i), "x"))}})
				case 2:
					_, err = h.Apply(t.Context(), change.Change{Ops: []change.Op{remove(catalog.Profile, fmt.Sprint("p", i))}})
					if fault.Is(err, fault.Invalid) {
						err = nil // in use
					}
				default:
					_, err = h.Apply(t.Context(), change.Change{Ops: []change.Op{put(group(fmt.Sprint(20+w), fmt.Sprint("p", i), "x"))}})
					if fault.Is(err, fault.Invalid) {
						err = nil // there is no such profile
					}
				}
				if err != nil {
					t.Errorf("%d: %v", w, err)
				}
				snapshot := h.catalog.Current()
				for _, item := range snapshot.List(catalog.Group) {
					if snapshot.Profiles[item.Group.Profile] == nil {
						t.Errorf("revision %d: group %s has no profile %s", snapshot.Revision, item.Group.ID, item.Group.Profile)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestSameObject has many change one object at once, none of whom minds what was there: each of them is served.
func TestSameObject(t *testing.T) {
	const writers, each = 24, 5
	h := newHouse(t, nil)
	h.must(site()...)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := h.Apply(t.Context(), change.Change{Ops: []change.Op{put(group("01", "web", fmt.Sprint(w, i)))}}); err != nil {
					t.Errorf("%d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	if got := h.catalog.Current().Revision; got != 1+writers*each {
		t.Errorf("revision %d after %d changes", got, writers*each)
	}
}

// TestLog finds who changed what in one line of the log, and nothing of a dry run or of what changes nothing.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	h := newHouse(t, func(opt *change.Options) { opt.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	ctx := audit.NewContext(t.Context(), audit.Call{Identity: "ann", Role: "operator", Peer: "192.0.2.1:7", Method: "/matchd.v1.Changes/Apply"})
	var many []change.Op
	for i := range audit.MaxObjects + 5 {
		many = append(many, put(group(fmt.Sprint(10+i), "web", "x")))
	}
	for _, c := range []change.Change{{Ops: site(), DryRun: true}, {Ops: site()}, {Ops: site()}, {Ops: many}} {
		if _, err := h.Apply(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines:\n%s", len(lines), log.String())
	}
	const want = `msg="objects changed" revision=1 identity=ann role=operator peer=192.0.2.1:7 method=/matchd.v1.Changes/Apply ` +
		`objects="[template/ignition/host.bu profile/web profile/db group/01 group/02 group/03]" more=0`
	if !strings.HasSuffix(lines[0], want) {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
	if !strings.HasSuffix(lines[1], "group/29]\" more=5") {
		t.Errorf("of many: %s", lines[1])
	}
}
