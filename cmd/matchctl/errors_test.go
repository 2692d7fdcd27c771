package main

import (
	"strings"
	"testing"

	"github.com/matchd/matchd/rpc/client"
)

func TestAdvice(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"too large", &client.Error{Code: "RESOURCE_EXHAUSTED", Message: "grpc: received message larger than max (40000000 vs. 33554432)"}, "32 MiB, and a document in it 256 KiB"},
		{"too often", &client.Error{Code: "RESOURCE_EXHAUSTED", Message: "too many calls"}, "slow down"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := (&app{}).advise(test.err); !strings.Contains(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}
