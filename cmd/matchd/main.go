// Command matchd boots machines from the network: it answers DHCP, TFTP and HTTP, matches each machine to a profile and renders its
// configuration. See "matchd help".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Set by the linker, see the Makefile.
var (
	version = "unknown"
	built   = "" // RFC 3339
)

// Exit codes.
const (
	exitOK      = 0
	exitProblem = 1 // what was asked for failed, or what was checked has problems
	exitUsage   = 2 // the command line itself is wrong
)

// errProblem is returned by a command that has printed all that there is to say.
var errProblem = errors.New("problems were found")

// usageError marks an error in the command line.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once, should an orderly stop hang.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(matchboxArgs(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintf(stderr, "matchd: %v\nSee 'matchd help'.\n", err)
		return exitUsage
	}
	if !errors.Is(err, errProblem) {
		fmt.Fprintf(stderr, "matchd: %v\n", err)
	}
	return exitProblem
}
