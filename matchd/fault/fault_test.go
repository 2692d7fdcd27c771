package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/matchd/matchd/matchd/fault"
)

func TestKindOf(t *testing.T) {
	notFound := fault.New(fault.NotFound, "group %q", "web")
	tests := []struct {
		name string
		err  error
		want fault.Kind
	}{
		{"nil", nil, fault.Internal},
		{"plain", io.EOF, fault.Internal},
		{"origin", notFound, fault.NotFound},
		{"with context", fmt.Errorf("reading: %w", notFound), fault.NotFound},
		{"outermost wins", fault.New(fault.Unavailable, "rendering: %w", notFound), fault.Unavailable},
		{"wrapped foreign", fault.Wrap(fault.Invalid, io.EOF), fault.Invalid},
		{"joined", errors.Join(io.EOF, notFound), fault.NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.KindOf(tt.err); got != tt.want {
				t.Errorf("KindOf(%v) = %v, want %v", tt.err, got, tt.want)
			}
		})
	}
}

func TestWrapKeepsTextAndChain(t *testing.T) {
	if fault.Wrap(fault.Denied, nil) != nil {
		t.Error("Wrap(nil) is not nil")
	}
	err := fault.Wrap(fault.Denied, io.EOF)
	if err.Error() != io.EOF.Error() || !errors.Is(err, io.EOF) {
		t.Errorf("Wrap changed the error: %v", err)
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("a nil error has a kind")
	}
}

func TestKindString(t *testing.T) {
	if got := fault.Unavailable.String(); got != "unavailable" {
		t.Errorf("got %q", got)
	}
	if got := fault.Kind(42).String(); got != "kind 42" {
		t.Errorf("got %q", got)
	}
}
