//go:build !linux

package boltstore

// holder describes the process that has the file locked; only Linux tells.
func holder(string) string { return "another process" }
