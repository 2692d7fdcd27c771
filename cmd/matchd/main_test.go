package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"matchd": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
			stop()
			os.Exit(code)
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MATCHD_CONFIG", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeaddr": freeAddr,
			"await":    await,
			"exits":    exits,
		},
	})
}

// freeAddr sets each variable to a loopback address whose port is free: freeaddr NAME...
func freeAddr(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, listener.Addr().String())
		ts.Check(listener.Close())
	}
}

// await waits until a URL answers with the status: await STATUS URL.
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await STATUS URL")
	}
	deadline := time.Now().Add(20 * time.Second)
	for last := ""; ; {
		response, err := http.Get(args[1])
		if err == nil {
			response.Body.Close()
			if last = fmt.Sprint(response.StatusCode); last == args[0] {
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s answers %q (%v), not %s", args[1], last, err, args[0])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// exits runs matchd and compares its exit code: exits CODE ARGS...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("matchd", args[1:]...)
	code := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
