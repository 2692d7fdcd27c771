// Package netns makes the lab's networks: Linux network namespaces that exist only as
// open files and threads of this process. Nothing of them has a name in the file
// system, so nothing can be left behind: when the process ends, however it ends,
// the kernel removes the namespaces with every bridge, tap and veth in them and kills
// the processes that were started in them.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrClosed is returned by every method of a closed Namespace.
var ErrClosed = errors.New("network namespace is closed")

// Namespace is one network namespace. Its methods may be called from any goroutine.
type Namespace struct {
	name string
	file *os.File

	jobs chan func()
	quit chan struct{}
	done chan struct{}
	once sync.Once
}

// New makes a namespace with its loopback up. The name is only for messages.
func New(name string) (*Namespace, error) {
	n := &Namespace{name: name, jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error, 1)
	go n.serve(ready, nil)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	if err := n.IP("link", "set", "lo", "up"); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// serve owns the thread that lives in the namespace. Processes are started from this
// thread and ask to be killed with it (Pdeathsig), so it is never given back: when
// serve returns, the runtime ends the thread. All threads but the process's first, which
// it keeps: so serve hands over to another goroutine when it finds itself there.
func (n *Namespace) serve(ready chan<- error, locked chan<- struct{}) {
	runtime.LockOSThread()
	if syscall.Gettid() == os.Getpid() {
		elsewhere := make(chan struct{})
		go n.serve(ready, elsewhere)
		<-elsewhere
		runtime.UnlockOSThread()
		return
	}
	if locked != nil {
		close(locked)
	}
	defer close(n.done)
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		ready <- err
		return
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		ready <- err
		return
	}
	n.file = file
	ready <- nil
	for {
		select {
		case job := <-n.jobs:
			job()
		case <-n.quit:
			return
		}
	}
}

// Do runs fn on the thread that lives in the namespace and returns its error. What fn
// opens, binds or starts belongs to the namespace; fn must not block for long.
func (n *Namespace) Do(fn func() error) error {
	result := make(chan error, 1)
	select {
	case n.jobs <- func() { result <- fn() }:
		return <-result
	case <-n.done:
		return ErrClosed
	}
}

// Start starts a command inside the namespace. The command gets a process group of its
// own, so that an interrupt typed at the terminal reaches only the lab, which then
// stops things in order; and it dies with the lab whatever happens.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return n.Do(cmd.Start)
}

// Run runs a command to its end inside the namespace; an error carries its output.
func (n *Namespace) Run(name string, args ...string) error {
	_, err := n.Output(name, args...)
	return err
}

// Output is Run that also returns what the command wrote.
func (n *Namespace) Output(name string, args ...string) (string, error) {
	var out strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := n.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s %s in %s: %w: %s", name, strings.Join(args, " "), n.name, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// IP runs ip(8) inside the namespace.
func (n *Namespace) IP(args ...string) error { return n.Run("ip", args...) }

// Path names the namespace for ip(8) and nsenter(1) while this process lives.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Name returns the name given to New.
func (n *Namespace) Name() string { return n.name }

// DialContext connects from inside the namespace. The address must be numeric: a name
// would be resolved by another thread, outside.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Client returns an HTTP client whose connections start inside the namespace.
func (n *Namespace) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableCompression: true}}
}

// Close ends the namespace and kills whatever was started in it and still runs.
func (n *Namespace) Close() {
	n.once.Do(func() {
		close(n.quit)
		<-n.done
		if n.file != nil {
			n.file.Close()
		}
	})
}
