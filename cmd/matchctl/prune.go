package main

import (
	"context"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// scope is what --prune may delete. There is no scope unless one is given.
type scope struct {
	prune, all bool
	selector   []string
	labels     map[string]string // of selector
}

func (s *scope) check() (err error) {
	switch {
	case !s.prune && (s.all || len(s.selector) > 0):
		return usagef("-l and --all are the scope of --prune, which is not given")
	case s.prune && s.all == (len(s.selector) > 0):
		return usagef("--prune needs a scope: either -l NAME=VALUE or --all")
	}
	s.labels, err = parseLabels("-l", s.selector)
	return err
}

// find returns what is in the scope and not among the objects, in an order to be read.
func (s *scope) find(ctx context.Context, c *client.Client, objects []object) ([]*matchdpb.Ref, error) {
	kept := map[string]bool{}
	kinds := map[matchdpb.Kind]bool{}
	for i := range objects {
		ref := refOf(objects[i].pb)
		kept[client.Name(ref)], kinds[ref.GetKind()] = true, true
	}
	if !s.all {
		kinds = map[matchdpb.Kind]bool{matchdpb.Kind_KIND_GROUP: true, matchdpb.Kind_KIND_MACHINE: true, matchdpb.Kind_KIND_PROFILE: true, matchdpb.Kind_KIND_TEMPLATE: true}
	}
	there, err := listKinds(ctx, c, kinds)
	if err != nil {
		return nil, err
	}
	var gone []*matchdpb.Ref
	if s.all {
		gone = missing(there, kept, func(*matchdpb.Object) bool { return true })
	} else {
		gone = s.labelled(there, kept, objects)
	}
	return gone, nil
}

// listKinds lists all objects of some kinds, in the order of nouns.
func listKinds(ctx context.Context, c *client.Client, kinds map[matchdpb.Kind]bool) ([]*matchdpb.Object, error) {
	var all []*matchdpb.Object
	for _, n := range nouns() {
		if n.kind == 0 || !kinds[n.kind] {
			continue
		}
		for m, err := range n.list(ctx, c, query{}) {
			if err != nil {
				return nil, err
			}
			all = append(all, wrap(m))
		}
	}
	return all, nil
}

// missing returns what the API owns, nobody keeps, and is meant.
func missing(there []*matchdpb.Object, kept map[string]bool, meant func(*matchdpb.Object) bool) []*matchdpb.Ref {
	var gone []*matchdpb.Ref
	for _, o := range there {
		if ref := refOf(o); metaOf(o).GetOwner() == "" && !kept[client.Name(ref)] && meant(o) {
			gone = append(gone, ref)
		}
	}
	return gone
}

// labelled returns groups and machines with the labels, and of the profiles and templates that these groups lead to those that nothing
// leads to once they are gone. What nobody led to in the first place is left alone: nobody knows whose it is.
func (s *scope) labelled(there []*matchdpb.Object, kept map[string]bool, objects []object) []*matchdpb.Ref {
	gone := missing(there, kept, func(o *matchdpb.Object) bool {
		m := inner(o)
		switch m.(type) {
		case *matchdpb.Group, *matchdpb.Machine:
			matches, _ := hasAll(nil, m, s.labels) // no error for these
			return matches
		}
		return false
	})
	goes := map[string]bool{}
	for _, ref := range gone {
		goes[client.Name(ref)] = true
	}
	// What is replaced by a file is looked at as the file has it.
	var stay []*matchdpb.Object
	for i := range objects {
		stay = append(stay, objects[i].pb)
	}
	for _, o := range there {
		if name := client.Name(refOf(o)); !goes[name] && !kept[name] {
			stay = append(stay, o)
		}
	}
	before, after := reach(there, goes), reach(stay, nil)
	return append(gone, missing(there, kept, func(o *matchdpb.Object) bool {
		name := client.Name(refOf(o))
		return before[name] && !after[name]
	})...)
}

// reach returns the profiles and templates that groups lead to: all groups, or those named.
func reach(objects []*matchdpb.Object, only map[string]bool) map[string]bool {
	reached := map[string]bool{}
	profiles := map[string]*matchdpb.Profile{}
	for _, o := range objects {
		if p := o.GetProfile(); p != nil {
			profiles[p.GetId()] = p
		}
	}
	for _, o := range objects {
		g := o.GetGroup()
		if g == nil || only != nil && !only["group/"+g.GetId()] {
			continue
		}
		reached["profile/"+g.GetProfile()] = true
		ids := templatesOf(profiles[g.GetProfile()])
		for _, name := range g.GetSnippets() {
			ids = append(ids, "ignition/"+name)
		}
		for _, id := range ids {
			reached["template/"+id] = true
		}
	}
	return reached
}
