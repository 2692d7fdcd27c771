package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/matchd/matchd/lab/process"
)

// udpBound waits until somebody on the segment has port 67.
func (b *bed) udpBound(name string) func(context.Context, *process.Process) error {
	return func(ctx context.Context, p *process.Process) error {
		for {
			table, err := b.segment.Output("ss", "-Hlun", "sport", "=", ":67")
			if err != nil {
				return err
			}
			if strings.TrimSpace(table) != "" {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.Done():
				return fmt.Errorf("%s ended", name)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}
