// The lab: real firmware in QEMU against matchd, in network namespaces.
// The Go tool leaves folders with a dot out of the main module's ./...
module github.com/matchd/matchd/lab

go 1.26.0
