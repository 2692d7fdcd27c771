package machine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"slices"
	"testing"
)

func TestParseResult(t *testing.T) {
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for name, content := range map[string]string{"./state": "booted\n", "./sysroot/etc/role": "db"} {
		archive.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Size: int64(len(content)), Typeflag: tar.TypeReg})
		archive.Write([]byte(content))
	}
	archive.Close()
	zipped.Close()
	text := base64.StdEncoding.EncodeToString(packed.Bytes())
	lines := []string{"noise", resultBegin, text[:40], text[40:], resultEnd, "noise"}

	r, err := parseResult(lines)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Fact("state"); got != "booted" {
		t.Errorf("state is %q", got)
	}
	if file, ok := r.Root("/etc/role"); !ok || file.Content != "db" || file.Mode.Perm() != 0o640 {
		t.Errorf("got %+v, %v", file, ok)
	}
	if got := r.Names(); !slices.Equal(got, []string{"/etc/role"}) {
		t.Errorf("got names %q", got)
	}
	for what, broken := range map[string][]string{
		"no markers": lines[:1], "no end": lines[:4], "garbage": {resultBegin, "!", resultEnd}, "cut": {resultBegin, text[:40], resultEnd},
	} {
		if _, err := parseResult(broken); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestParseFirmware(t *testing.T) {
	for _, f := range Firmwares {
		if got, err := ParseFirmware(string(f)); got != f || err != nil {
			t.Errorf("%s: got %q, %v", f, got, err)
		}
	}
	if _, err := ParseFirmware("bois"); err == nil {
		t.Error("bois passes for a firmware")
	}
}
