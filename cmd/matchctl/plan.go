package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// actions are how a result is told, with its colour.
var actions = map[matchdpb.Action][2]string{
	matchdpb.Action_ACTION_CREATED: {"created", green}, matchdpb.Action_ACTION_CHANGED: {"changed", yellow},
	matchdpb.Action_ACTION_UNCHANGED: {"unchanged", dim}, matchdpb.Action_ACTION_DELETED: {"deleted", red},
}

// writePlan says what would change.
func (a *app) writePlan(plan *matchdpb.ApplyResponse, output string) error {
	switch output {
	case "json", "yaml":
		return a.writeOne(output, append(record{{"kind", "Plan"}}, recordOf(plan)...))
	case "name":
		a.writeNames(plan)
		return nil
	}
	a.out.painted(bold, "Would change, from revision %d (nothing has changed yet):", plan.GetRevision())
	a.writeActions(plan)
	a.writeMachines(plan)
	a.writeWarnings(plan.GetWarnings())
	return nil
}

// writeResult says what has changed.
func (a *app) writeResult(result *matchdpb.ApplyResponse, output string) error {
	switch output {
	case "json", "yaml":
		return a.writeOne(output, append(record{{"kind", "Applied"}}, recordOf(result)...))
	case "name":
		a.writeNames(result)
		return nil
	}
	a.writeActions(result)
	a.writeWarnings(result.GetWarnings())
	return nil
}

// writeNames names what differs.
func (a *app) writeNames(result *matchdpb.ApplyResponse) {
	for _, o := range result.GetObjects() {
		if o.GetAction() != matchdpb.Action_ACTION_UNCHANGED {
			a.out.line("%s", client.Name(o.GetRef()))
		}
	}
}

func (a *app) writeActions(result *matchdpb.ApplyResponse) {
	counts := map[matchdpb.Action]int{}
	for _, o := range result.GetObjects() {
		counts[o.GetAction()]++
		if o.GetAction() != matchdpb.Action_ACTION_UNCHANGED {
			a.out.line("  %s  %s", a.out.paint(actions[o.GetAction()][1], fmt.Sprintf("%-9s", actions[o.GetAction()][0])), client.Name(o.GetRef()))
		}
	}
	var parts []string
	for _, action := range []matchdpb.Action{matchdpb.Action_ACTION_CREATED, matchdpb.Action_ACTION_CHANGED, matchdpb.Action_ACTION_DELETED, matchdpb.Action_ACTION_UNCHANGED} {
		if counts[action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[action], actions[action][0]))
		}
	}
	a.out.line("%s; revision %d", strings.Join(parts, ", "), result.GetRevision())
}

// writeMachines says which machines would get something else.
func (a *app) writeMachines(plan *matchdpb.ApplyResponse) {
	if len(plan.GetMachines())+int(plan.GetMachinesOmitted()) == 0 {
		a.out.line("The script and Ignition config of no machine would change.")
		return
	}
	a.out.painted(bold, "Machines that would get something else:")
	for _, m := range plan.GetMachines() {
		text, colour := machineChange(m.GetBefore(), m.GetAfter())
		a.out.line("  %s  %s", m.GetMachine(), a.out.paint(colour, text))
	}
	if plan.GetMachinesOmitted() > 0 {
		a.out.painted(yellow, "  %s not compared: --compare takes more", count(int(plan.GetMachinesOmitted()), "machine"))
	}
}

// machineChange says in a line what changes for one machine.
func machineChange(before, after *matchdpb.MachineOutcome) (text, colour string) {
	var parts []string
	differs := func(what, x, y string) {
		if x != y {
			parts = append(parts, fmt.Sprintf("%s %s → %s", what, cmp.Or(x, "none"), cmp.Or(y, "none")))
		}
	}
	differs("group", before.GetGroup(), after.GetGroup())
	differs("profile", before.GetProfile(), after.GetProfile())
	for _, each := range [...][3]string{{"script", before.GetScript(), after.GetScript()}, {"config", before.GetConfig(), after.GetConfig()}} {
		if each[1] != each[2] {
			parts = append(parts, each[0]+" "+changedLines(each[1], each[2]))
		}
	}
	switch {
	case after.GetError() != "" && after.GetError() != before.GetError():
		return strings.Join(append(parts, "would break: "+printable(after.GetError())), ", "), red
	case before.GetError() != "" && after.GetError() == "":
		parts = append(parts, "is mended")
	}
	return strings.Join(parts, ", "), ""
}

// changedLines counts what a difference adds and takes away.
func changedLines(before, after string) string {
	added, removed := 0, 0
	for line := range bytes.Lines(diff.Diff("x", []byte(before), "y", []byte(after))) {
		switch {
		case bytes.HasPrefix(line, []byte("+++ ")), bytes.HasPrefix(line, []byte("--- ")):
		case line[0] == '+':
			added++
		case line[0] == '-':
			removed++
		}
	}
	return fmt.Sprintf("+%d −%d lines", added, removed)
}

func (a *app) writeWarnings(warnings []*matchdpb.Problem) {
	for _, w := range warnings {
		a.err.painted(yellow, "warning: %s", printableLines(client.Describe(w)))
	}
}
