package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("x", maxCell+5)
	tab := &table{head: []string{"ID", "ä", "LAST"}}
	tab.add("", []string{"a", "ö", long})
	tab.add(red, []string{long, "", ""})
	tab.write(terminal{Writer: &out})
	cut := strings.Repeat("x", maxCell-1) + "…"
	pad := strings.Repeat(" ", maxCell-1)
	want := "ID" + pad[1:] + "  ä  LAST\na" + pad + "  ö  " + long + "\n" + cut + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	tab.add("", []string{"later", "ü", "z"})
	tab.write(terminal{Writer: &out})
	if want := "later" + pad[4:] + "  ü  z\n"; out.String() != want {
		t.Errorf("a later row: got %q, want %q", out.String(), want)
	}
}

func TestDistances(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 3 * time.Hour: "3h", 72 * time.Hour: "3d", -5 * time.Minute: "in 5m",
	} {
		if got := ago(now, timestamppb.New(now.Add(-d))); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	if got := ago(now, nil); got != "" {
		t.Errorf("no time: got %q", got)
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 40: "5.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// TestMachinesCannotDriveTerminals shows what machines tell without its escape sequences.
func TestMachinesCannotDriveTerminals(t *testing.T) {
	if got := printable("a\x1b[31mb\r\x07c\td"); strings.ContainsAny(got, "\x1b\r\x07") || !strings.HasSuffix(got, "c\td") {
		t.Errorf("got %q", got)
	}
}
