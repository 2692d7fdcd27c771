package rpc_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestProtoIsCompatible holds the .proto files to buf's rules, and to the API that was accepted last (testdata/*.binpb, see "make accept-api"). Building buf
// takes a few minutes the first time.
func TestProtoIsCompatible(t *testing.T) {
	for _, arguments := range [][]string{
		{"lint"},
		{"breaking", "matchdpb", "--against", "testdata/matchdpb.binpb"},
		{"breaking", "matchboxpb", "--against", "testdata/matchboxpb.binpb"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", append([]string{"tool", "buf"}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Errorf("buf %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
}
