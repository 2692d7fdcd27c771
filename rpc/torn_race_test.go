//go:build race

package rpc_test

// tornReads is what the race detector gets through in a while; "make unit" reads 100,000 times without it.
const tornReads = 10_000
