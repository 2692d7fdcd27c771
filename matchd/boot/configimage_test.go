package boot

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/profiles"
)

// unpack lists an archive as "mode name: content".
func unpack(t *testing.T, image []byte) string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for archive := cpio.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return list.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%06o %s: %s\n", uint32(header.Mode), header.Name, content)
	}
}

func TestConfigImage(t *testing.T) {
	tests := []struct{ os, want string }{
		{"", "100600 config.ign: {}\n"},
		{profiles.FedoraCoreOS, "100600 config.ign: {}\n"},
		{profiles.Flatcar, "040755 usr: \n040755 usr/share: \n040755 usr/share/oem: \n100600 usr/share/oem/config.ign: {}\n"},
	}
	for _, tt := range tests {
		image, err := configImage(tt.os, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := unpack(t, image); got != tt.want {
			t.Errorf("%q:\n%s\nwant\n%s", tt.os, got, tt.want)
		}
		again, err := configImage(tt.os, []byte("{}"))
		if err != nil || !bytes.Equal(image, again) {
			t.Errorf("%q: the bytes differ from one time to the next (%v)", tt.os, err)
		}
		if !bytes.HasPrefix(image, []byte{0x1f, 0x8b}) {
			t.Errorf("%q: it begins with %x: after an initrd of odd length, a kernel that UEFI started would pass over it", tt.os, image[:2])
		}
	}
}

func TestConfigImageOfAMachine(t *testing.T) {
	p := newPlanner(loaded(t), nil)
	got, err := p.ConfigImage(t.Context(), askAs("mac", worker.String()))
	if err != nil || !strings.Contains(unpack(t, got.Image), string(got.Config.JSON)) {
		t.Errorf("%v, %v", got, err)
	}
	if want := fmt.Sprintf(`"%x"`, sha256.Sum256(got.Image)); got.ETag() != want || want == got.Config.ETag() {
		t.Errorf("ETag %s, want %s, which is not the config's", got.ETag(), want)
	}
	if _, err := p.ConfigImage(t.Context(), askAs("mac", stranger.String())); !fault.Is(err, fault.NotFound) {
		t.Errorf("without a match: %v", err)
	}
}
