package inspect

import (
	"context"
	"errors"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/render"
)

// RenderOptions say what to render besides plan and config.
type RenderOptions struct {
	Provenance bool // which documents each entry of the config came from
	Documents  bool // the documents after their templates have run
	Texts      bool // generic template, cloud-config, metadata
}

// Rendering is everything that a machine gets. What it does not get, its profile does not have, or a problem says why.
type Rendering struct {
	Selection catalog.Selection // no group: none matches
	Plan      *boot.Plan        // nil: see Problems
	Config    *render.Config    // its own, whichever way it is sent; nil: none
	Sources   []render.Source
	Documents []catalog.Rendered
	Generic   []byte
	Cloud     []byte
	Metadata  []byte
	// Problems are what keeps parts from being made, in the order of the parts: first that no group matches.
	Problems []error
}

// Render makes everything that a machine gets.
func Render(ctx context.Context, snapshot *catalog.Snapshot, planner *boot.Planner, s *Subject, o RenderOptions) *Rendering {
	r := &Rendering{}
	selection, err := snapshot.Match(s.Labels)
	r.Selection = selection
	r.problem(err)
	matched := err == nil
	plan, err := planner.Plan(ctx, s.Ask)
	if r.Plan = plan; matched {
		r.problem(err) // without a match it is the same again
	}
	if !matched {
		return r
	}
	if r.Config, err = planner.Own(ctx, s.Ask); !lacking(err) {
		r.problem(err)
	}
	request := s.Request()
	if o.Provenance && r.Config != nil {
		r.Sources, err = snapshot.Provenance(ctx, selection, request)
		r.problem(err)
	}
	if o.Documents && selection.Profile.IgnitionID != "" {
		// What keeps a document from being written keeps the config from being rendered, and is a problem already.
		r.Documents, _ = snapshot.Documents(ctx, selection, request)
	}
	if o.Texts {
		r.texts(ctx, planner, s)
	}
	return r
}

func (r *Rendering) texts(ctx context.Context, planner *boot.Planner, s *Subject) {
	for _, text := range []struct {
		to   *[]byte
		make func(context.Context, boot.Ask) ([]byte, error)
	}{{&r.Generic, planner.Generic}, {&r.Cloud, planner.Cloud}, {&r.Metadata, planner.Metadata}} {
		content, err := text.make(ctx, s.Ask)
		*text.to = content
		if !lacking(err) {
			r.problem(err)
		}
	}
}

// lacking reports whether an error only says that the profile does not have what was asked for.
func lacking(err error) bool {
	var none *catalog.NoMatch
	return fault.Is(err, fault.NotFound) && !errors.As(err, &none)
}

func (r *Rendering) problem(err error) {
	if err != nil {
		r.Problems = append(r.Problems, err)
	}
}

// Render resolves a query and makes everything that its machine gets. Errors are those of [Inspector.Resolve] and [Inspector.Snapshot].
func (i *Inspector) Render(ctx context.Context, q Query, o RenderOptions) (*Rendering, error) {
	subject, err := i.Resolve(q)
	if err != nil {
		return nil, err
	}
	snapshot, err := i.Snapshot()
	if err != nil {
		return nil, err
	}
	return Render(ctx, snapshot, i.opt.Planner, subject, o), nil
}

// Plan resolves a query and returns what its machine boots. Errors are those of [Inspector.Resolve] and of [boot.Planner.Plan].
func (i *Inspector) Plan(ctx context.Context, q Query) (*boot.Plan, error) {
	subject, err := i.Resolve(q)
	if err != nil {
		return nil, err
	}
	return i.opt.Planner.Plan(ctx, subject.Ask)
}

// Explain resolves a query and tells which group its machine belongs to. Errors are those of [Inspector.Resolve] and [Inspector.Snapshot].
func (i *Inspector) Explain(q Query) (*Explanation, error) {
	subject, err := i.Resolve(q)
	if err != nil {
		return nil, err
	}
	snapshot, err := i.Snapshot()
	if err != nil {
		return nil, err
	}
	explanation := Explain(snapshot, subject.Labels)
	return &explanation, nil
}
