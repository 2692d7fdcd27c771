// Command matchctl asks and tells a matchd over its API: objects, machines' timelines, what a machine gets and why. It opens no file of
// the daemon and needs no rights on its host. See "matchctl help".
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Set by the linker, see the Makefile.
var (
	version = "unknown"
	built   = "" // RFC 3339
)

// Exit codes.
const (
	exitOK          = 0
	exitError       = 1 // what was asked for failed, or what was checked has problems
	exitUsage       = 2 // the command line or the client's configuration is wrong
	exitNotFound    = 3 // there is no such thing
	exitDenied      = 4 // the server refuses this client, or this call of it
	exitUnreachable = 5 // no server answered
	exitDifferent   = 6 // "diff" found a difference
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once, should an orderly stop hang.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a program reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	a := &app{in: std.in, out: terminalOf(std.out), err: terminalOf(std.err), getenv: os.Getenv, now: time.Now}
	defer a.close()
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	return a.report(ctx, root.ExecuteContext(ctx))
}
