package boltstore

import bolt "go.etcd.io/bbolt"

// Transactions returns the number of transactions that were written to the file.
func Transactions(s *Store) int {
	n := 0
	_ = s.db.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil })
	return n
}

// WithLayout returns options for a file of another schema, and the steps to it.
func WithLayout(schema int, steps map[int]func(*bolt.Tx) error) Options {
	return Options{layout: &layout{schema: schema, steps: steps}}
}
