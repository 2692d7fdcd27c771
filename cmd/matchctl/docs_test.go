package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/matchd/auth"
)

const manual = "../../docs/matchctl.md"

// TestManual runs the blocks marked "shell-session" of the manual, from the repository's root, against the daemon of boot.txtar on which a
// machine has booted. A command must succeed and print the lines that stand below it, in that order; "…" stands for any number of lines,
// and at the end of a line for the rest of it.
func TestManual(t *testing.T) {
	d := startDaemon(t)
	boot(t, d)
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// TestMain runs the program instead of the tests when it is called by this name.
	if err := os.Symlink(self, filepath.Join(bin, "matchctl")); err != nil {
		t.Fatal(err)
	}
	who := d.NewClient(t, auth.Identity{Name: "ann", Role: auth.Admin})
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MATCHCTL_ENDPOINT="+d.RPC, "MATCHCTL_CA="+who.CA, "MATCHCTL_CERT="+who.Cert, "MATCHCTL_KEY="+who.Key,
		"MATCHCTL_CONFIG="+filepath.Join(bin, "none.yaml"))
	commands := manualCommands(t)
	if len(commands) < 20 {
		t.Errorf("the manual has %d commands: is the pattern still right?", len(commands))
	}
	for _, command := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "sh", "-c", command.line)
		cmd.Dir, cmd.Env = "../..", env
		output, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v\n%s", command.line, err, output)
		}
		if missing := missingLine(string(output), command.want); missing != "" {
			t.Errorf("%s prints\n%s\nwithout %q where the manual has it", command.line, output, missing)
		}
	}
}

type manualCommand struct {
	line string
	want []string
}

func manualCommands(t *testing.T) (commands []manualCommand) {
	t.Helper()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch command, is := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```shell-session"
		case inside && is:
			commands = append(commands, manualCommand{line: command})
		case inside && len(commands) > 0:
			last := &commands[len(commands)-1]
			last.want = append(last.want, line)
		}
	}
	return commands
}

// missingLine returns the first wanted line that output does not have behind the line before it.
func missingLine(output string, want []string) string {
	lines := strings.Split(output, "\n")
	for _, w := range want {
		start, any := strings.CutSuffix(strings.TrimSpace(w), "…")
		if start == "" {
			continue
		}
		at := 0
		for at < len(lines) && lines[at] != w && !(any && strings.HasPrefix(lines[at], start)) {
			at++
		}
		if at == len(lines) {
			return w
		}
		lines = lines[at+1:]
	}
	return ""
}

// TestEveryCommandIsInTheManual looks for each command and each flag of the connection.
func TestEveryCommandIsInTheManual(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	root := (&app{}).rootCommand()
	var check func(*cobra.Command)
	check = func(command *cobra.Command) {
		for _, sub := range command.Commands() {
			check(sub)
		}
		if !command.HasSubCommands() && !command.Hidden && command.Name() != "help" && !strings.Contains(string(text), command.CommandPath()) {
			t.Errorf("the manual does not mention %q", command.CommandPath())
		}
		if command.Short == "" || command.Args == nil && command.Name() != "delete" && command.RunE != nil && command.HasParent() && command.Parent().Name() != "completion" {
			t.Errorf("%q lacks a summary or a rule for its arguments", command.CommandPath())
		}
	}
	check(root)
}

// TestManualNamesWhatThereIs reads the blocks marked "sh", which change a host and are not run: their commands and flags must exist.
func TestManualNamesWhatThereIs(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "matchctl" {
			continue
		}
		root := (&app{}).rootCommand()
		root.InitDefaultCompletionCmd(words[1:]...)
		command, rest, err := root.Find(words[1:])
		if err != nil || !command.HasParent() {
			t.Errorf("there is no command %q: %v", line, err)
			continue
		}
		if err := command.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}
