package assets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValidatorTurnsStrong(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	young, old, older := validator(stat, now), validator(stat, now.Add(racyWindow+time.Second)), validator(stat, now.Add(time.Hour))
	if strings.TrimPrefix(young, "W/") != old || young == old || old != older {
		t.Errorf("tags are %s, %s and %s; want a weak one and then the same as a strong one", young, old, older)
	}
}
