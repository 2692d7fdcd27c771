//go:build race

package rpc_test

// tornFetches is what the race detector, which makes everything five times slower, has time for.
const tornFetches = 20_000
