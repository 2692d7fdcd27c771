package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// console is one block that a reader may type: commands behind "$ ", and what they print below.
type console struct {
	file string
	line int
	text []string
}

// TestDocs runs the blocks marked "console" in README and docs from the repository's root, with this test binary as matchd. A command
// must succeed, and print the lines that stand below it, in that order; "…" stands for any number of lines.
func TestDocs(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// TestMain runs the program instead of the tests when it is called by this name.
	if err := os.Symlink(self, filepath.Join(bin, "matchd")); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range documents(t) {
		for _, block := range fencedBlocks(t, file, "console") {
			found++
			block.run(t, bin)
		}
	}
	if found == 0 {
		t.Error("no document has a console block: is the pattern still right?")
	}
}

// documents are the files that a reader takes commands from.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../examples/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(append(files, examples...), "../../README.md")
}

// fencedBlocks returns the blocks of one kind.
func fencedBlocks(t *testing.T, file, kind string) (blocks []console) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "```"+kind:
			inside = true
			blocks = append(blocks, console{file: strings.TrimPrefix(file, "../../"), line: i + 1})
		case trimmed == "```":
			inside = false
		case inside:
			last := &blocks[len(blocks)-1]
			last.text = append(last.text, line)
		}
	}
	return blocks
}

func (c *console) run(t *testing.T, bin string) {
	t.Helper()
	for i := 0; i < len(c.text); i++ {
		command, isCommand := strings.CutPrefix(strings.TrimSpace(c.text[i]), "$ ")
		if !isCommand {
			continue
		}
		end := i + 1
		for end < len(c.text) && !strings.HasPrefix(strings.TrimSpace(c.text[end]), "$ ") {
			end++
		}
		output, err := shell(t, bin, command)
		if err != nil {
			t.Errorf("%s:%d: %s: %v\n%s", c.file, c.line+1+i, command, err, output)
		}
		if missing := inOrder(output, c.text[i+1:end]); missing != "" {
			t.Errorf("%s:%d: %s prints\n%s\nwithout %q where the document has it", c.file, c.line+1+i, command, output, missing)
		}
	}
}

// TestShellBlocks reads the blocks marked "sh", which change the host and are not run: their syntax must be a shell's, and the commands,
// flags and make targets in them must exist.
func TestShellBlocks(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range documents(t) {
		for _, block := range fencedBlocks(t, file, "sh") {
			text := strings.Join(block.text, "\n")
			if output, err := exec.CommandContext(t.Context(), "sh", "-n", "-c", text).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", block.file, block.line, err, output)
			}
			for i, line := range strings.Split(strings.ReplaceAll(text, "\\\n", "   "), "\n") {
				line, _, _ = strings.Cut(line, " # ")
				words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
				if len(words) > 1 && words[0] == "matchd" {
					checkCommandLine(t, fmt.Sprintf("%s:%d", block.file, block.line+1+i), words[1:])
				}
				if len(words) > 1 && words[0] == "make" {
					checkTargets(t, fmt.Sprintf("%s:%d", block.file, block.line+1+i), words[1:], string(makefile))
				}
			}
		}
	}
}

// TestEveryCommandIsDocumented looks for each command in the documents.
func TestEveryCommandIsDocumented(t *testing.T) {
	var all strings.Builder
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	var check func(*cobra.Command)
	check = func(command *cobra.Command) {
		if command.HasSubCommands() {
			for _, sub := range command.Commands() {
				check(sub)
			}
			return
		}
		if !command.Hidden && command.Name() != "help" && !strings.Contains(all.String(), command.CommandPath()) {
			t.Errorf("no document mentions %q", command.CommandPath())
		}
	}
	check(rootCommand())
}

// checkCommandLine finds the command and reads its flags, without running it.
func checkCommandLine(t *testing.T, where string, args []string) {
	t.Helper()
	command, rest, err := rootCommand().Find(args)
	if err != nil || command.Name() == "matchd" {
		t.Errorf("%s: there is no command %q: %v", where, args, err)
		return
	}
	if err := command.ParseFlags(rest); err != nil {
		t.Errorf("%s: %s: %v", where, command.CommandPath(), err)
	}
}

func checkTargets(t *testing.T, where string, words []string, makefile string) {
	t.Helper()
	for _, target := range words {
		if !strings.Contains(target, "=") && !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("%s: the Makefile has no target %q", where, target)
		}
	}
}

// shell runs a command as a reader would, who has matchd installed and stands in the repository.
func shell(t *testing.T, bin, command string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// inOrder returns the first wanted line that output does not have behind the line before it.
func inOrder(output string, want []string) (missing string) {
	lines := strings.Split(output, "\n")
	for _, w := range want {
		w = strings.TrimSpace(w)
		if w == "" || w == "…" {
			continue
		}
		at := 0
		for at < len(lines) && strings.TrimSpace(lines[at]) != w {
			at++
		}
		if at == len(lines) {
			return w
		}
		lines = lines[at+1:]
	}
	return ""
}
