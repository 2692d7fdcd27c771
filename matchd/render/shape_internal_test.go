package render

import (
	"crypto/sha256"
	"testing"
)

// TestWriteShape compares pairs of configs: only the data of a file's contents makes no difference.
func TestWriteShape(t *testing.T) {
	shape := func(config string) [sha256.Size]byte {
		own := sha256.New()
		writeShape(own, []byte(config))
		return [sha256.Size]byte(own.Sum(nil))
	}
	const file = `{"storage":{"files":[{"path":"/a","contents":{"compression":"","source":"data:,one"},"mode":420}]}}`
	tests := []struct {
		a, b  string
		equal bool
	}{
		{file, file, true},
		{file, `{"storage":{"files":[{"path":"/a","contents":{"compression":"","source":"data:;base64,dHdv"},"mode":420}]}}`, true},
		{file, `{"storage":{"files":[{"path":"/a","contents":{"compression":"","source":"data:,one"},"mode":421}]}}`, false},
		{file, `{"storage":{"files":[{"path":"/b","contents":{"compression":"","source":"data:,one"},"mode":420}]}}`, false},
		{file, `{"storage":{"files":[{"path":"/a","contents":{"compression":"gzip","source":"data:,one"},"mode":420}]}}`, false},
		{file, `{"storage":{"files":[{"path":"/a","contents":{"compression":"","source":"http:,one"},"mode":420}]}}`, false},
		{file, `{"storage":{"files":[{"path":"/a","contents":{"compression":"","source":"data:,one","verification":{"hash":"x"}},"mode":420}]}}`, false},
		{`{"contents":{"source":"https://a"}}`, `{"contents":{"source":"https://b"}}`, false},
		{`{"contents":{"httpHeaders":[{"name":"a"}],"source":"data:,a"}}`, `{"contents":{"httpHeaders":[{"name":"a"}],"source":"data:,b"}}`, false},
		{`{"units":[{"contents":"[Unit]"}]}`, `{"units":[{"contents":"[Service]"}]}`, false},
		{`{"contents":{}},{"keyFile":{"source":"data:,a"}}`, `{"contents":{}},{"keyFile":{"source":"data:,b"}}`, false},
		{`{"contents":{"source":"data:,a`, `{"contents":{"source":"data:,b`, false}, // no JSON, and no reason to fail
	}
	for _, tc := range tests {
		if equal := shape(tc.a) == shape(tc.b); equal != tc.equal {
			t.Errorf("%s and %s: equal %v, want %v", tc.a, tc.b, equal, tc.equal)
		}
	}
}

func TestShapesAreBounded(t *testing.T) {
	var s shapes
	for i := range 3 * maxShapes {
		s.add([sha256.Size]byte{byte(i), byte(i >> 8)})
	}
	if len(s.valid) > maxShapes || !s.has([sha256.Size]byte{255, 2}) {
		t.Errorf("%d shapes are remembered", len(s.valid))
	}
}
