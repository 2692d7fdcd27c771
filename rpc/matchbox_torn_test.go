package rpc_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// The torn-read test: so many readers fetch while so many writers put. matchbox gives 7 to 14 wrong answers of a hundred.
const (
	tornReaders = 6
	tornWriters = 2
)

// TestNoTornReads puts objects again, unchanged or with a change that is not to be seen, while machines fetch their scripts.
func TestNoTornReads(t *testing.T) {
	d := matchboxDaemon(t, nil)
	tf := newTerraform(t, d)
	profiles, groups := cluster(tornWriters)
	for i := range profiles {
		if err := errorsOf(tf.createProfile(t.Context(), profiles[i]), tf.createGroup(t.Context(), groups[i])); err != nil {
			t.Fatal(err)
		}
	}
	want := make([]string, tornWriters)
	for i := range want {
		want[i] = fmt.Sprintf("#!ipxe\nkernel /assets/vmlinuz initrd=main n=node%d\ninitrd --name main http://m/initrd.img\nboot\n", i)
	}
	var stop atomic.Bool
	var puts atomic.Int64
	var writers, readers sync.WaitGroup
	for i := range tornWriters {
		writers.Go(func() {
			for round := 0; !stop.Load(); round++ {
				// Every other time the group's metadata changes, which makes a new file and a new revision.
				groups[i].metadata = map[string]string{"number": "core", "round": fmt.Sprint(round / 2)}
				if err := errorsOf(tf.createProfile(t.Context(), profiles[i]), tf.createGroup(t.Context(), groups[i])); err != nil {
					t.Error(err)
					return
				}
				puts.Add(1)
			}
		})
	}
	var left, wrong atomic.Int64
	left.Store(tornFetches)
	for reader := range tornReaders {
		readers.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			machine := reader % tornWriters
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.Boot+"/ipxe?mac="+macOf(machine), nil)
			if err != nil {
				t.Error(err)
				return
			}
			for left.Add(-1) >= 0 {
				response, err := transport.RoundTrip(request)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK || string(body) != want[machine] {
					if wrong.Add(1) == 1 {
						t.Errorf("%d %q, %v", response.StatusCode, body, err)
					}
				}
			}
		})
	}
	readers.Wait()
	stop.Store(true)
	writers.Wait()
	t.Logf("%d wrong answers of %d, during %d puts of profile, config, generic config and group", wrong.Load(), tornFetches, puts.Load())
	if wrong.Load() > 0 || puts.Load() == 0 {
		t.Errorf("%d wrong answers, %d puts", wrong.Load(), puts.Load())
	}
}
