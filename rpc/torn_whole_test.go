//go:build !race

package rpc_test

// tornReads is the number of reads of [TestTornReads]. matchbox gave 7 to 14 % wrong answers.
const tornReads = 100_000
