package store

import (
	"unicode"
	"unicode/utf8"

	"github.com/matchd/matchd/matchd/fault"
)

// CheckKey returns an error of kind Invalid if key cannot be the key of a record: keys are 1 to [MaxKeySize] bytes of UTF-8
// without control characters, so that they can be listed, logged and typed.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fault.New(fault.Invalid, "a key is empty")
	case len(key) > MaxKeySize:
		return fault.New(fault.Invalid, "key %.40q… has %d bytes, at most %d are possible", key, len(key), MaxKeySize)
	case !utf8.ValidString(key):
		return fault.New(fault.Invalid, "key %q is not UTF-8", key)
	}
	for _, r := range key {
		if unicode.IsControl(r) {
			return fault.New(fault.Invalid, "key %q contains a control character", key)
		}
	}
	return nil
}

// CheckOps returns an error of kind Invalid if the operations could not be one commit of any store. Engines call it first.
func CheckOps(ops []Op) error {
	switch {
	case len(ops) == 0:
		return fault.New(fault.Invalid, "a commit needs at least one operation")
	case len(ops) > MaxOps:
		return fault.New(fault.Invalid, "%d operations are too many for one commit, at most %d are possible", len(ops), MaxOps)
	}
	for i := range ops {
		if err := CheckKey(ops[i].Key); err != nil {
			return err
		}
		if n := len(ops[i].Value); n > MaxValueSize {
			return fault.New(fault.Invalid, "the value of key %q has %d bytes, at most %d are possible", ops[i].Key, n, MaxValueSize)
		}
	}
	return checkUnique(ops)
}

// fewOps is the number of operations up to which comparing every pair is cheaper than a set.
const fewOps = 4

func checkUnique(ops []Op) error {
	if len(ops) <= fewOps {
		for i := range ops {
			for j := range i {
				if ops[i].Key == ops[j].Key {
					return twice(ops[i].Key)
				}
			}
		}
		return nil
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		if _, ok := seen[ops[i].Key]; ok {
			return twice(ops[i].Key)
		}
		seen[ops[i].Key] = struct{}{}
	}
	return nil
}

func twice(key string) error {
	return fault.New(fault.Invalid, "key %q occurs twice in one commit", key)
}
