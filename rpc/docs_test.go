package rpc_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matchd/matchd/matchd/matchdtest"
)

// TestDocumentedExamples runs every command of docs/api.md, from the first to the last, with the grpcurl of .lab/grpcurl. Any that fails
// fails the test, and some must say what the text around them promises.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```sh\n")[1:]
	if len(blocks) < 15 {
		t.Fatalf("%d examples only", len(blocks))
	}
	d := matchdtest.Start(t, matchdtest.Options{API: true, Files: map[string]string{"assets/vmlinuz": "kernel", "assets/initrd.img": "initrd"}})
	bin := t.TempDir()
	if err := os.Symlink(grpcurl(t), filepath.Join(bin, "grpcurl")); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, block := range blocks {
		commands, _, _ := strings.Cut(block, "```")
		script.WriteString(commands)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-x", "-c", script.String())
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PKI="+d.PKI, "SERVER="+d.RPC)
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`"identity": "admin"`, "rpc PutGroup", `"name": "worker.bu"`, "ACTION_CREATED", `"group": "workers"`, `"ignitionVersion":`, `"kind": "file"`, `"wouldBoot": true`,
		`"path": "vmlinuz"`, `"method": "/matchd.v1.Changes/Apply"`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("nothing says %s in\n%s", want, out)
		}
	}
}

// grpcurl returns the program, which the Go command builds where it is not built yet.
func grpcurl(t *testing.T) string {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "tool", "-n", "grpcurl")
	build.Dir = "../.lab/grpcurl"
	build.Stderr = os.Stderr
	path, err := build.Output()
	if err != nil {
		t.Fatalf("building grpcurl: %v", err)
	}
	return strings.TrimSpace(string(path))
}
