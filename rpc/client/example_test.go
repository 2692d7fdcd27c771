package client_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

const document = `variant: fcos
version: 1.5.0
storage:
  files:
    - path: /etc/hostname
      contents: {inline: "{{.name}}"}
`

// deploy puts what a worker boots in one revision, registers a machine as one, and returns when the machine would get it.
func deploy(ctx context.Context, c *client.Client, mac string) error {
	put := func(object *matchdpb.Object) *matchdpb.Change {
		return &matchdpb.Change{Change: &matchdpb.Change_Put{Put: object}}
	}
	applied, err := c.Changes.Apply(ctx, &matchdpb.ApplyRequest{Changes: []*matchdpb.Change{
		put(&matchdpb.Object{Object: &matchdpb.Object_Template{Template: &matchdpb.Template{Kind: "ignition", Name: "worker.bu", Content: []byte(document)}}}),
		put(&matchdpb.Object{Object: &matchdpb.Object_Profile{Profile: &matchdpb.Profile{
			Id: "worker", IgnitionId: "worker.bu",
			Boot: &matchdpb.NetBoot{Kernel: "/assets/vmlinuz", Initrd: []string{"/assets/initrd.img"}, Args: []string{"ignition.config.url=${matchd:config-url}"}},
		}}}),
		put(&matchdpb.Object{Object: &matchdpb.Object_Group{Group: &matchdpb.Group{
			Id: "workers", Profile: "worker", Selector: map[string]string{"role": "worker", "name": "n1"},
		}}}),
	}})
	if err != nil {
		return err // an *client.Error: every problem of every document, with line and column
	}
	_, err = c.Machines.PutMachine(ctx, &matchdpb.PutMachineRequest{Machine: &matchdpb.Machine{Id: mac, Labels: map[string]string{"role": "worker", "name": "n1"}}})
	if err != nil {
		return err
	}
	// Everything since then, for as long as one likes.
	for change, err := range c.Watch(ctx, client.WatchOptions{After: applied.GetRevision(), Kinds: []matchdpb.Kind{matchdpb.Kind_KIND_MACHINE}}) {
		if err != nil {
			return err
		}
		if change.Put.GetMachine().GetId() == mac {
			break
		}
	}
	explained, err := c.Boot.Explain(ctx, &matchdpb.ExplainRequest{Query: &matchdpb.Query{Machine: mac}})
	if err != nil {
		return err
	}
	if explained.GetGroup() != "workers" {
		return fmt.Errorf("the machine is nobody's: %s", explained.GetText())
	}
	return nil
}

func Example() {
	c, err := client.Dial(client.Options{
		Endpoint: os.Getenv("MATCHCTL_ENDPOINT"), CA: "/etc/matchd/pki/ca.crt", Cert: "/etc/matchd/pki/admin.crt", Key: "/etc/matchd/pki/admin.key",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := deploy(context.Background(), c, "52:54:00:a1:9c:ae"); err != nil {
		log.Fatal(err)
	}
}
