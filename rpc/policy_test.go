package rpc_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/rpc"
)

// TestEveryMethodHasARule looks at every method of every service that is linked in, offered or not.
func TestEveryMethodHasARule(t *testing.T) {
	rules := rpc.Policy()
	methods := map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				methods[fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())] = true
			}
		}
		return true
	})
	for method := range methods {
		if _, known := rules[method]; !known && (strings.HasPrefix(method, "/matchd.") || strings.HasPrefix(method, "/rpcpb.")) {
			t.Errorf("%s has no rule: decide in policy.go who may call it", method)
		}
	}
	for method := range rules {
		if !methods[method] {
			t.Errorf("the rule of %s is of no method", method)
		}
	}
}

// TestWritesAreWrites looks at the names: what puts, deletes or applies is not for those who only read.
func TestWritesAreWrites(t *testing.T) {
	for method, rule := range rpc.Policy() {
		_, name, _ := strings.Cut(method[1:], "/")
		writes := strings.HasPrefix(name, "Put") || strings.HasPrefix(name, "Delete") || strings.HasSuffix(name, "Put") || strings.HasSuffix(name, "Delete") || name == "Apply"
		if writes != (rule[0] == string(auth.Write)) {
			t.Errorf("%s is taken to %s", method, rule[0])
		}
	}
}

// TestPolicyIsDocumented compares the policy with the table of docs/security.md.
func TestPolicyIsDocumented(t *testing.T) {
	document, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := rpc.Policy()
	var table strings.Builder
	for _, method := range slices.Sorted(maps.Keys(rules)) {
		row := "| `" + method[1:] + "` |"
		for _, role := range auth.Roles() {
			mark := ""
			if role.May(auth.Action(rules[method][0])) {
				mark = "yes"
			}
			row += " " + mark + " |"
		}
		scope := "refused"
		if rules[method][1] != "" {
			scope = "yes"
		}
		fmt.Fprintf(&table, "%s %s |\n", row, scope)
	}
	if !strings.Contains(string(document), table.String()) {
		t.Errorf("the table of docs/security.md should be\n%s", table.String())
	}
}
