package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/matchd/matchd/lab/netns"
)

// stopGrace is how long a program has between SIGTERM and SIGKILL.
const stopGrace = 10 * time.Second

// Process is a running program. Its output goes on being readable after its end.
type Process struct {
	*Output
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	file *os.File
	once sync.Once
}

// Options say how a program is started.
type Options struct {
	// Name is what messages call the program; the default is its path.
	Name string
	// Env is added to this process's environment.
	Env []string
	// LogFile, when set, receives a copy of the output.
	LogFile string
	// Dir is the working directory.
	Dir string
	// Guard puts the program into a PID namespace behind a guard. Programs need it that
	// have children, give up privileges or go into the background: only they themselves
	// die with the lab, and not even they once they have changed their credentials.
	Guard bool
	// Private folders are empty ones of the program's own, so that it writes nothing on
	// the machine. They imply Guard.
	Private []string
}

// guard is PID 1 of its namespace: when it is killed, the kernel kills the rest.
const guard = `trap 'asked=1; [ -z "$child" ] || kill -TERM $child' TERM
for dir in $LAB_PRIVATE; do mount -t tmpfs lab "$dir"; done
"$@" & child=$!
[ -z "$asked" ] || kill -TERM $child
while :; do wait $child; status=$?; kill -0 $child 2>/dev/null || exit $status; done`

// Start starts a program in a namespace and collects what it writes.
func Start(ns *netns.Namespace, opts Options, path string, args ...string) (*Process, error) {
	p := &Process{Output: NewOutput(), name: opts.Name, done: make(chan struct{})}
	if p.name == "" {
		p.name = path
	}
	var out io.Writer = p.Output
	if opts.LogFile != "" {
		file, err := os.Create(opts.LogFile)
		if err != nil {
			return nil, err
		}
		p.file = file
		out = io.MultiWriter(p.Output, file)
	}
	p.cmd = exec.Command(path, args...)
	if opts.Guard || len(opts.Private) > 0 {
		p.cmd = exec.Command("sh", append([]string{"-c", guard, "guard", path}, args...)...)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
		opts.Env = append(opts.Env, "LAB_PRIVATE="+strings.Join(opts.Private, " "))
	}
	p.cmd.Dir = opts.Dir
	p.cmd.Env = append(os.Environ(), opts.Env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := ns.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	p.Output.Close()
	if p.file != nil {
		p.file.Close()
	}
	close(p.done)
}

// PID returns the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the program ended; only valid after Done.
func (p *Process) Err() error { return p.err }

// WaitEnd waits for the program's end and returns how it ended.
func (p *Process) WaitEnd(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", p.name, context.Cause(ctx))
	}
}

// Stop asks the program to end and kills it if it does not. It returns how the program
// ended: a program that was killed or exited with an error gives that error, one that
// ended by the SIGTERM it was sent gives none.
func (p *Process) Stop() error {
	p.once.Do(func() { p.cmd.Process.Signal(syscall.SIGTERM) })
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		p.Kill()
		return fmt.Errorf("%s did not stop within %v of SIGTERM", p.name, stopGrace)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		status, ok := exit.Sys().(syscall.WaitStatus)
		// A guard says it as shells do: 128 and the signal's number.
		if ok && (status.Signaled() && status.Signal() == syscall.SIGTERM || status.ExitStatus() == 128+int(syscall.SIGTERM)) {
			return nil
		}
	}
	return p.err
}

// Kill ends the program as a power cut would (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}
