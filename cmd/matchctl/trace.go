package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// ends are the stages with which a boot is over.
var ends = []string{"booted", "failed", "to-disk"}

// tracing shows one machine's timeline.
type tracing struct {
	*app
	machine   string
	json      bool
	diagnosis string
}

func (a *app) traceCommand() *cobra.Command {
	t := &tracing{app: a}
	var follow bool
	cmd := &cobra.Command{
		Use:   "trace MAC",
		Short: "show what a machine did, and why it did not boot",
		Long: `Shows what a machine did, the oldest first, and ends with one line that says why it did or did not boot. The machine is named by its
hardware address, UUID or hostname.

--follow goes on as it happens until a boot is over (the machine booted, failed, or went to its disk) or you interrupt it. The machine
need not have been seen yet.

Exit status with --follow: 0 it booted or went to its disk, 1 it failed or you interrupted.`,
		Example: "  matchctl trace 52:54:00:a1:9c:ae\n  matchctl trace node17 --follow",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeMachine,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.Flags().BoolVarP(&follow, "follow", "F", false, "go on as it happens")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		t.machine, t.json = args[0], *output == "json"
		got, err := c.Timelines.GetTimeline(ctx, &matchdpb.GetTimelineRequest{Machine: t.machine})
		switch {
		case err == nil:
		case client.IsNotFound(err) && follow:
			a.err.line("%s has not been seen yet; waiting for it.", t.machine)
		default:
			return a.notFound(ctx, c, timelineNoun(), t.machine, err)
		}
		if follow {
			return t.follow(ctx, c, got)
		}
		for _, e := range got.GetEvents() {
			if err := t.show(e); err != nil {
				return err
			}
		}
		t.diagnosis = got.GetTimeline().GetDiagnosis()
		return t.end()
	})
	return cmd
}

// follow shows what is on the timeline and what comes. Only what comes can end it.
func (t *tracing) follow(ctx context.Context, c *client.Client, there *matchdpb.GetTimelineResponse) error {
	last := uint64(0)
	for _, e := range there.GetEvents() {
		last = max(last, e.GetSeq())
	}
	t.diagnosis = there.GetTimeline().GetDiagnosis()
	stream, err := c.Timelines.WatchEvents(ctx, &matchdpb.WatchEventsRequest{Machine: t.machine, FromStart: true})
	for err == nil {
		var got *matchdpb.WatchEventsResponse
		if got, err = stream.Recv(); err != nil {
			break
		}
		t.diagnosis = cmp.Or(got.GetDiagnosis(), t.diagnosis)
		e := got.GetEvent()
		if e == nil {
			continue
		}
		if err := t.show(e); err != nil {
			return err
		}
		if e.GetSeq() > last && slices.Contains(ends, e.GetStage()) {
			return t.over(e)
		}
	}
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := t.end(); err != nil {
		return err
	}
	return exitCode(exitError)
}

// over ends with the outcome of the boot.
func (t *tracing) over(last *matchdpb.Event) error {
	if err := t.end(); err != nil {
		return err
	}
	if last.GetStage() == "failed" {
		return exitCode(exitError)
	}
	return nil
}

func (t *tracing) show(e *matchdpb.Event) error {
	if !t.json {
		t.out.line("%s", eventLine(t.out, e))
		return nil
	}
	return t.writeLine(recordOf(e))
}

func (t *tracing) writeLine(r record) error {
	line, err := json.Marshal(r)
	if err == nil {
		t.out.line("%s", line)
	}
	return err
}

// end writes the diagnosis.
func (t *tracing) end() error {
	if t.json {
		return t.writeLine(record{{"diagnosis", t.diagnosis}})
	}
	t.out.line("")
	t.out.painted(bold, "%s", printable(cmp.Or(t.diagnosis, "nothing is known of it")))
	return nil
}
