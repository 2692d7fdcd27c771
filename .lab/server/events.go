package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Event is one step of a machine's boot, as the admin listener tells it.
type Event struct {
	Seq        uint64            `json:"seq"`
	Time       time.Time         `json:"time"`
	MAC        string            `json:"mac"`
	Stage      string            `json:"stage"`
	Level      string            `json:"level"`
	Peer       string            `json:"peer"`
	Message    string            `json:"message"`
	Bytes      int64             `json:"bytes"`
	Total      int64             `json:"total"`
	DurationMS int64             `json:"duration_ms"`
	Error      string            `json:"error"`
	Attrs      map[string]string `json:"attrs"`
}

// Timeline is everything that matchd knows of one machine's boots.
type Timeline struct {
	MAC       string `json:"mac"`
	UUID      string `json:"uuid"`
	Hostname  string `json:"hostname"`
	Address   string `json:"address"`
	Group     string `json:"group"`
	Profile   string `json:"profile"`
	Diagnosis struct {
		Text string `json:"text"`
	} `json:"diagnosis"`
	Events []Event `json:"events"`
}

// Stages returns the stages of the timeline in order, runs of the same one folded.
func (t *Timeline) Stages() []string {
	var stages []string
	for _, e := range t.Events {
		if len(stages) == 0 || stages[len(stages)-1] != e.Stage {
			stages = append(stages, e.Stage)
		}
	}
	return stages
}

// Has says whether a stage occurs in the timeline.
func (t *Timeline) Has(stage string) bool {
	for _, e := range t.Events {
		if e.Stage == stage {
			return true
		}
	}
	return false
}

// String writes one line for every event, times counted from the first.
func (t *Timeline) String() string {
	var b strings.Builder
	for _, e := range t.Events {
		fmt.Fprintf(&b, "%s\n", e.Line(t.Events[0].Time))
	}
	if t.Diagnosis.Text != "" {
		fmt.Fprintf(&b, "diagnosis: %s\n", t.Diagnosis.Text)
	}
	return b.String()
}

// Line writes the event as one line, its time counted from began.
func (e Event) Line(began time.Time) string {
	line := fmt.Sprintf("%7.2f s  %-14s %s", e.Time.Sub(began).Seconds(), e.Stage, e.Message)
	if e.Bytes > 0 {
		line += " (" + size(e.Bytes) + ")"
	}
	if e.Error != "" {
		line += ": " + e.Error
	}
	return line
}

func size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// follow keeps the stream of new events open until the server ends.
func (s *Server) follow(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		s.stream(ctx)
		select {
		case <-s.Process.Done():
			return
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) stream(ctx context.Context) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, adminURL+"/v1/events?follow=1", nil)
	if err != nil {
		return
	}
	response, err := s.client.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Stage != "" {
			s.add(e)
		}
	}
}

func (s *Server) add(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Next returns the events from index on, waiting for at least one. It is for those who
// show events as they come.
func (s *Server) Next(ctx context.Context, from int) ([]Event, error) {
	for {
		s.mu.Lock()
		events, changed := s.events[min(from, len(s.events)):], s.changed
		s.mu.Unlock()
		if len(events) > 0 {
			return events, nil
		}
		select {
		case <-changed:
		case <-s.Process.Done():
			return nil, fmt.Errorf("matchd ended: %v", s.Process.Err())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// WaitStage waits for the first event of a machine at one of the given stages.
func (s *Server) WaitStage(ctx context.Context, mac string, stages ...string) (Event, error) {
	for seen := 0; ; {
		events, err := s.Next(ctx, seen)
		if err != nil {
			return Event{}, fmt.Errorf("waiting for %s of %s: %w", strings.Join(stages, " or "), mac, err)
		}
		seen += len(events)
		for _, e := range events {
			for _, stage := range stages {
				if e.Stage == stage && strings.EqualFold(e.MAC, mac) {
					return e, nil
				}
			}
		}
	}
}
