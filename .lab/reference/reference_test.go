package reference_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/matchd/matchd/lab/cache"
	"github.com/matchd/matchd/lab/machine"
	"github.com/matchd/matchd/lab/netns"
	"github.com/matchd/matchd/lab/reference"
)

const config = `{"ignition":{"version":"3.4.0"},"passwd":{"users":[{"name":"core","groups":["sudo"]}]},
"storage":{"files":[{"path":"/etc/lab/role","mode":420,"contents":{"source":"data:,reference"}}]}}`

// TestReference boots every kind of machine without matchd: what fails here is the lab's
// own fault, or Debian's, and no boot against matchd can work.
func TestReference(t *testing.T) {
	if err := cache.Check(); err != nil {
		t.Fatal(err)
	}
	slots := make(chan struct{}, 2)
	for _, f := range machine.Firmwares {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			boot(t, f)
		})
	}
}

func boot(t *testing.T, f machine.Firmware) {
	ctx, cancel := context.WithTimeout(t.Context(), machine.Bound)
	defer cancel()
	seg, err := netns.NewSegment(t.Name(), netip.MustParsePrefix("10.77.0.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	if err := seg.Router(); err != nil {
		t.Fatal(err)
	}
	server, err := reference.Start(ctx, seg, f, t.ArtifactDir(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	m, err := machine.PowerOn(seg, machine.Spec{
		Firmware: f, MAC: "52:54:00:77:00:01", UUID: "11223344-5566-7788-99aa-bbccddeeff00", Serial: "LAB1", Dir: t.ArtifactDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Kill()
	result, err := m.Result(ctx)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, m.Tail(40, "  serial: "), server.Log())
	}
	t.Logf("%s: %s after %v, firmware %s, secure boot %q", f, <-server.Reports, m.Age(), result.Fact("firmware"), result.Fact("secureboot"))
	if role, _ := result.Root("/etc/lab/role"); role.Content != "reference" || result.Fact("state") != "booted" {
		t.Errorf("Ignition wrote %q, state %s\n%s", role.Content, result.Fact("state"), m.Tail(40, "  serial: "))
	}
}
