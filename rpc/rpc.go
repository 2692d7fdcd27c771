// Package rpc is the gRPC API: it translates between the wire and the domain, and lets in only whom a certificate names.
package rpc

//go:generate go tool buf generate
//go:generate go run ./internal/apidoc -o ../docs/api.md
