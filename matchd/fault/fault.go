// Package fault classifies errors by what a caller can do about them.
//
// An error gets its [Kind] where it originates; the layers above only add context with %w. Each edge translates the
// kind once: HTTP and gRPC status, exit code, log level. An error without a kind is an internal fault.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what sort of mistake an error is, and with that whose it is.
type Kind int

// The kinds of errors. The zero value is [Internal].
const (
	// Internal is a defect or an environment that failed us: disk full, a bug. Retrying may help.
	Internal Kind = iota
	// NotFound means that the thing asked for does not exist.
	NotFound
	// Invalid means that the input can never be accepted as it is.
	Invalid
	// Conflict means that a precondition does not hold (any more): read again, decide again.
	Conflict
	// Denied means that the caller may not do this.
	Denied
	// Unavailable means that we cannot answer now, though we may later: the caller should wait and ask again.
	Unavailable
)

var kindNames = [...]string{"internal", "not found", "invalid", "conflict", "denied", "unavailable"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// New returns an error of the given kind; format and args are those of [fmt.Errorf], %w included.
func New(kind Kind, format string, args ...any) error {
	return &kinded{kind: kind, err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind and leaves its text alone. It returns nil for a nil err.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &kinded{kind: kind, err: err}
}

// KindOf returns the outermost kind in err's chain, and [Internal] where there is none.
func KindOf(err error) Kind {
	var k *kinded
	if errors.As(err, &k) {
		return k.kind
	}
	return Internal
}

// Is reports whether err is an error of the given kind. A nil err is of no kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
