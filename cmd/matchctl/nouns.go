package main

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/trial"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// noun is a sort of thing that can be asked for.
type noun struct {
	name, plural string
	short        string
	document     string        // kind of the document that output has for it
	kind         matchdpb.Kind // of objects, which can be applied and deleted; unspecified for what only the server makes
	head         []string      // of a table
	wide         []string      // more of it, with -o wide
	labelled     bool          // the server filters by labels; else -l means fields

	row  func(m proto.Message, now time.Time) []string // cells for head and wide
	tint func(m proto.Message) string                  // colour of a row; may be nil
	id   func(m proto.Message) string
	list func(ctx context.Context, c *client.Client, q query) iter.Seq2[proto.Message, error]
	get  func(ctx context.Context, c *client.Client, id string) (proto.Message, error) // nil: there are no single ones

	// describe adds to the fields what else there is to know; may be nil.
	describe func(ctx context.Context, d *description, m proto.Message) error
}

// things returns what several are called in a sentence.
func (n *noun) things() string {
	if n.plural == n.name {
		return n.name + " records"
	}
	return n.plural
}

// query narrows a listing.
type query struct {
	labels map[string]string // for nouns that are labelled
	ids    []string          // for nouns that have no single ones: machines, directories
	all    bool              // also what is over
	since  time.Time         // only what is later; zero: everything
}

// nouns are all that there are, in the order of help.
func nouns() []*noun {
	return []*noun{machineNoun(), groupNoun(), profileNoun(), templateNoun(), reservationNoun(), leaseNoun(), timelineNoun(), eventNoun(), assetNoun(), auditNoun()}
}

// findNoun reads a noun as people write it.
func findNoun(word string) (*noun, error) {
	var names []string
	for _, n := range nouns() {
		if word == n.name || word == n.plural || word == n.short {
			return n, nil
		}
		names = append(names, n.plural)
	}
	return nil, usagef("there is no noun %q%s", word, trial.DidYouMean(word, names, "; there are "+strings.Join(names, ", ")))
}

// nounOf returns the noun of a kind of objects.
func nounOf(kind matchdpb.Kind) *noun {
	all := nouns()
	return all[slices.IndexFunc(all, func(n *noun) bool { return n.kind == kind })]
}

// target is a noun with ids; none: all of them.
type target struct {
	noun *noun
	ids  []string
}

// parseTargets reads "groups", "group a b" or "group/a profile/b".
func parseTargets(args []string) ([]target, error) {
	if !strings.Contains(args[0], "/") {
		n, err := findNoun(args[0])
		return []target{{n, args[1:]}}, err
	}
	var targets []target
	for _, arg := range args {
		word, id, found := strings.Cut(arg, "/")
		if !found || id == "" {
			return nil, usagef("%q is not NOUN/ID: give either one noun with ids behind, or NOUN/ID only", arg)
		}
		n, err := findNoun(word)
		if err != nil {
			return nil, err
		}
		if last := len(targets) - 1; last >= 0 && targets[last].noun.name == n.name {
			targets[last].ids = append(targets[last].ids, id)
			continue
		}
		targets = append(targets, target{n, []string{id}})
	}
	return targets, nil
}

// messages makes a listing one of messages.
func messages[T proto.Message](listing iter.Seq2[T, error]) iter.Seq2[proto.Message, error] {
	return func(yield func(proto.Message, error) bool) {
		for item, err := range listing {
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// row makes a function of one sort of messages one of all.
func row[T proto.Message](cells func(m T, now time.Time) []string) func(proto.Message, time.Time) []string {
	return func(m proto.Message, now time.Time) []string { return cells(m.(T), now) }
}

func id[T proto.Message](of func(m T) string) func(proto.Message) string {
	return func(m proto.Message) string { return of(m.(T)) }
}

// lister adapts a listing that takes no query.
func lister[T proto.Message](all func(c *client.Client, ctx context.Context) iter.Seq2[T, error]) func(context.Context, *client.Client, query) iter.Seq2[proto.Message, error] {
	return func(ctx context.Context, c *client.Client, _ query) iter.Seq2[proto.Message, error] {
		return messages(all(c, ctx))
	}
}

// ids lists the ids of a noun, for suggestions.
func (n *noun) ids(ctx context.Context, c *client.Client) []string {
	var found []string
	for m, err := range n.list(ctx, c, query{}) {
		if err != nil || len(found) == maxSuggested {
			break
		}
		found = append(found, n.id(m))
	}
	return found
}

// maxSuggested is how many ids are looked at for suggestions and completion.
const maxSuggested = 5000

// owned says who owns an object, for tables.
func owned(meta *matchdpb.Meta) string {
	switch {
	case meta.GetOwner() != "":
		return meta.GetOwner()
	case meta.GetUpdatedBy() != "":
		return "api: " + meta.GetUpdatedBy()
	}
	return "api"
}
