package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// maxUpdateTries is how often a change of one machine is made anew because somebody else was quicker.
const maxUpdateTries = 5

func (a *app) machineCommand() *cobra.Command {
	return group("machine", "say something of one machine: labels, name, how it boots", a.labelCommand(), a.setMachineCommand(), a.deleteMachineCommand())
}

func (a *app) labelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "label MAC NAME=VALUE... NAME-...",
		Short: "give a machine labels, which groups select by; NAME- takes one away",
		Long: `Gives a machine labels, by which groups may select it, and which win over what its requests claim. NAME- takes one away. Other labels
stay as they are. The machine need not be known before.`,
		Example: "  matchctl machine label 52:54:00:a1:9c:ae rack=r7 role=worker\n  matchctl machine label 52:54:00:a1:9c:ae role-",
		Args:    arguments(cobra.MinimumNArgs(2)), ValidArgsFunction: a.completeMachine,
		RunE: a.connected(func(ctx context.Context, c *client.Client, args []string) error {
			set, removed, err := labelChanges(args[1:])
			if err != nil {
				return err
			}
			return a.updateMachine(ctx, c, args[0], func(m *matchdpb.Machine) {
				if m.Labels == nil {
					m.Labels = map[string]string{}
				}
				for name, value := range set {
					m.Labels[name] = value
				}
				for _, name := range removed {
					delete(m.Labels, name)
				}
			})
		}),
	}
}

// labelChanges reads NAME=VALUE and NAME-.
func labelChanges(args []string) (set map[string]string, removed []string, err error) {
	var given []string
	for _, arg := range args {
		if name, minus := strings.CutSuffix(arg, "-"); minus && name != "" && !strings.Contains(arg, "=") {
			removed = append(removed, name)
			continue
		}
		given = append(given, arg)
	}
	set = map[string]string{}
	for _, arg := range given {
		name, value, assigned := strings.Cut(arg, "=")
		if !assigned || name == "" {
			return nil, nil, usagef("%q is neither NAME=VALUE nor NAME-", arg)
		}
		set[name] = value
	}
	return set, removed, nil
}

func (a *app) setMachineCommand() *cobra.Command {
	var name, loader, exitMethod string
	var blksize int32
	cmd := &cobra.Command{
		Use:   "set MAC",
		Short: "set a machine's name, loader, way to its disk, or TFTP block size",
		Long: `Sets what is given of a machine; the rest stays. An empty value goes back to the default. The machine need not be known before.

  --loader       ipxe, shim or grub, or the name of a loader file
  --exit-method  how it is sent to its disk: exit1, exit0, sanboot, http404 or grub-find`,
		Example: "  matchctl machine set 52:54:00:a1:9c:ae --name node17 --loader shim\n  matchctl machine set 52:54:00:a1:9c:ae --exit-method sanboot",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeMachine,
	}
	cmd.Flags().StringVar(&name, "name", "", "name, for people")
	cmd.Flags().StringVar(&loader, "loader", "", "network boot program")
	cmd.Flags().StringVar(&exitMethod, "exit-method", "", "how it is sent to its disk")
	cmd.Flags().Int32Var(&blksize, "tftp-blksize", 0, "TFTP block size in bytes, 512 to 65464; 0: what it asks for")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		given := cmd.Flags().Changed
		if !given("name") && !given("loader") && !given("exit-method") && !given("tftp-blksize") {
			return usagef("set what? --name, --loader, --exit-method or --tftp-blksize")
		}
		return a.updateMachine(ctx, c, args[0], func(m *matchdpb.Machine) {
			if given("name") {
				m.Name = name
			}
			if given("loader") {
				m.Loader = loader
			}
			if given("exit-method") {
				m.ExitMethod = exitMethod
			}
			if given("tftp-blksize") {
				m.TftpBlksize = blksize
			}
		})
	})
	return cmd
}

func (a *app) deleteMachineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete MAC...", Short: "take back all that was said of machines",
		Long: "Takes back all that was said of machines. Their timelines stay, and they boot what their requests make them match.",
		Args: arguments(cobra.MinimumNArgs(1)), ValidArgsFunction: a.completeMachine,
		RunE: a.connected(func(ctx context.Context, c *client.Client, args []string) error {
			d := &deleting{app: a, output: "text"}
			return d.run(ctx, c, append([]string{"machine"}, args...))
		}),
	}
}

// updateMachine changes a machine's object, or makes it, without undoing what somebody else writes at the same time.
func (a *app) updateMachine(ctx context.Context, c *client.Client, id string, change func(*matchdpb.Machine)) error {
	mac, err := machine.ParseMAC(id)
	if err != nil {
		return usageError{err}
	}
	for try := 1; ; try++ {
		m := &matchdpb.Machine{Id: mac.String()}
		revision := int64(0)
		got, err := c.Machines.GetMachine(ctx, &matchdpb.GetMachineRequest{Id: mac.String()})
		switch {
		case err == nil:
			m, revision = got.GetMachine(), got.GetMachine().GetMeta().GetRevision()
		case !client.IsNotFound(err):
			return err
		}
		change(m)
		result, err := c.Machines.PutMachine(ctx, &matchdpb.PutMachineRequest{Machine: m, Revision: &revision})
		if err == nil {
			a.writeWarnings(result.GetWarnings())
			show := &show{app: a, output: "table", tables: map[string]*table{}}
			show.table(machineNoun(), []proto.Message{result.GetMachine()})
			return nil
		}
		if !client.IsConflict(err) || m.GetMeta().GetOwner() != "" || try == maxUpdateTries {
			return err
		}
	}
}
