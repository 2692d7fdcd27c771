package doctor_test

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/doctor"
	"github.com/matchd/matchd/profiles"
)

func TestCheckPointers(t *testing.T) {
	if got := doctor.CheckPointers([]profiles.Profile{{ID: "a"}, {ID: "b", Config: profiles.ConfigInitrd}}); got != nil {
		t.Errorf("got %+v, want nothing", got)
	}
	got := doctor.CheckPointers([]profiles.Profile{{ID: "b", Config: profiles.ConfigPointer}, {ID: "c"}, {ID: "a", Config: profiles.ConfigPointer}})
	if len(got) != 1 || got[0].ID != doctor.PointerID || got[0].Severity != doctor.Error || !strings.HasSuffix(got[0].What, ": a, b") || got[0].Next == "" {
		t.Errorf("got %+v", got)
	}
}
