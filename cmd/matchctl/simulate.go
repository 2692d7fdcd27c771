package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// simulating shows a boot that is played.
type simulating struct {
	*app
	json, verbose bool
}

func (s *simulating) run(ctx context.Context, c *client.Client, request *matchdpb.SimulateRequest) error {
	stream, err := c.Boot.Simulate(ctx, request)
	if err != nil {
		return err
	}
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the boot ended without an outcome")
		}
		if err != nil {
			return err
		}
		if err := s.show(got); err != nil {
			return err
		}
		switch outcome := got.GetOutcome(); {
		case outcome == nil:
		case outcome.GetWouldBoot():
			return nil
		default:
			return exitCode(exitError)
		}
	}
}

func (s *simulating) show(got *matchdpb.SimulateResponse) error {
	if s.json {
		line, err := json.Marshal(recordOf(got))
		if err == nil {
			s.out.line("%s", line)
		}
		return err
	}
	if outcome := got.GetOutcome(); outcome != nil {
		colour := red
		if outcome.GetWouldBoot() {
			colour = green
		}
		s.out.painted(colour, "%s", printable(outcome.GetText()))
		return nil
	}
	step := got.GetStep()
	text := fmt.Sprintf("%8s  %-9s %s", time.Duration(got.GetElapsedMs())*time.Millisecond, step.GetActor(), printable(step.GetMessage()))
	if step.GetBytes() > 0 {
		text += "  (" + size(step.GetBytes()) + ")"
	}
	s.out.line("%s", text)
	if s.verbose && step.GetContent() != "" {
		s.out.indented(indentedJSON([]byte(step.GetContent())))
	}
	return nil
}

// indentedJSON lays JSON out for people; anything else stays as it is.
func indentedJSON(text []byte) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, text, "", "  ") != nil {
		return string(text)
	}
	return pretty.String() + "\n"
}
