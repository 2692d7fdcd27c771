package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/matchdpb"
)

// completeTargets completes a noun, and then the ids that the server has of it.
func (a *app) completeTargets(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.Contains(args[0], "/") {
		n, err := findNoun(args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeIDs(cmd.Context(), n, "", start)
	}
	if word, _, slash := strings.Cut(start, "/"); slash {
		n, err := findNoun(word)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeIDs(cmd.Context(), n, word+"/", start)
	}
	var names []string
	for _, n := range nouns() {
		names = append(names, n.plural)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeMachine completes machines by their hardware addresses: those that were seen, and those that somebody said something of.
func (a *app) completeMachine(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	seen, directive := a.completeIDs(cmd.Context(), timelineNoun(), "", start)
	told, _ := a.completeIDs(cmd.Context(), machineNoun(), "", start)
	all := append(seen, told...)
	slices.Sort(all)
	return slices.Compact(all), directive
}

// completeIDs asks the server; without an answer in good time there is nothing to complete.
func (a *app) completeIDs(ctx context.Context, n *noun, prefix, start string) ([]string, cobra.ShellCompDirective) {
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	var known []string
	if n.kind == matchdpb.Kind_KIND_TEMPLATE {
		for t, err := range templateNames(ctx, c) {
			if err != nil {
				break
			}
			known = append(known, templateID(t))
		}
	} else {
		known = n.ids(ctx, c)
	}
	var fitting []string
	for _, id := range known {
		if strings.HasPrefix(prefix+id, start) {
			fitting = append(fitting, prefix+id)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, _, err := a.loadConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return config.names(), cobra.ShellCompDirectiveNoFileComp
}
