//go:build !race

package rpc_test

// tornFetches is the number of fetches of [TestNoTornReads].
const tornFetches = 100_000
