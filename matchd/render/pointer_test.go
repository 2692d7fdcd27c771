package render_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_0"
	"github.com/coreos/ignition/v2/config/v3_1"
	"github.com/coreos/ignition/v2/config/v3_6"
	"github.com/google/go-cmp/cmp"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
)

const pointerGolden = `{"ignition":{"config":{"replace":{"httpHeaders":[{"name":"Authorization","value":"Bearer m1.a.b"}],` +
	`"source":"https://10.0.0.1:8443/v1/ignition"}},"security":{"tls":{"certificateAuthorities":[{"source":"data:;base64,UEVN"}]}},` +
	`"timeouts":{"httpTotal":43200},"version":"3.1.0"}}`

func TestPointer(t *testing.T) {
	pointer := render.Pointer{Source: "https://10.0.0.1:8443/v1/ignition", Token: "m1.a.b", CA: []byte("PEM")}
	config, err := pointer.Config()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pointerGolden, string(config.JSON)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again, err := pointer.Config()
	if err != nil || !bytes.Equal(config.JSON, again.JSON) || config.ETag() != again.ETag() {
		t.Error("the same pointer gave other bytes")
	}
	if config.Version != "3.1.0" {
		t.Errorf("version %s", config.Version)
	}
	pointer.CA = nil
	if config, err = pointer.Config(); err != nil || strings.Contains(string(config.JSON), "security") {
		t.Errorf("without a CA: %s, %v", config.JSON, err)
	}
}

// TestPointerIsOfTheLowestSpec: every Ignition from 3.1.0 on reads it, and none before could, for want of httpHeaders.
func TestPointerIsOfTheLowestSpec(t *testing.T) {
	parsed, report, err := v3_1.Parse([]byte(pointerGolden))
	if err != nil || len(report.Entries) > 0 || len(parsed.Ignition.Config.Replace.HTTPHeaders) != 1 {
		t.Errorf("3.1: %v, %v", report, err)
	}
	if _, report, err := v3_6.ParseCompatibleVersion([]byte(pointerGolden)); err != nil || len(report.Entries) > 0 {
		t.Errorf("3.6: %v, %v", report, err)
	}
	_, report, err = v3_0.Parse([]byte(strings.Replace(pointerGolden, "3.1.0", "3.0.0", 1)))
	if err == nil && !strings.Contains(report.String(), "unused key httpHeaders") {
		t.Errorf("3.0 knows httpHeaders: %v", report)
	}
}

func TestPointerRefuses(t *testing.T) {
	for name, pointer := range map[string]render.Pointer{
		"nothing":  {},
		"http":     {Source: "http://10.0.0.1/v1/ignition", Token: "x"},
		"no token": {Source: "https://10.0.0.1/v1/ignition"},
		"no host":  {Source: "https:///v1/ignition", Token: "x"},
	} {
		if _, err := pointer.Config(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

func BenchmarkPointer(b *testing.B) {
	pointer := render.Pointer{Source: "https://10.0.0.1:8443/v1/ignition", Token: strings.Repeat("x", 150), CA: bytes.Repeat([]byte("x"), 700)}
	for b.Loop() {
		if _, err := pointer.Config(); err != nil {
			b.Fatal(err)
		}
	}
}
