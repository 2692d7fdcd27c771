package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

func (a *app) exportCommand() *cobra.Command {
	var owned bool
	cmd := &cobra.Command{
		Use:   "export [DIR]",
		Short: "write everything that the API owns, so that apply makes it again",
		Long: `Writes everything that the API owns: as a stream of YAML documents, or into an empty or new DIR as a site directory, with machines and
reservations in files of documents beside it. "apply" of either changes nothing.

--owned adds what a site directory or the daemon's configuration owns; such objects can be applied to another server only.`,
		Example: "  matchctl export > backup.yaml\n  matchctl export site/ && git -C site diff\n  matchctl export --owned --context old | matchctl apply --context new -f -",
		Args:    arguments(cobra.MaximumNArgs(1)),
	}
	cmd.Flags().BoolVar(&owned, "owned", false, "also what files on the server own")
	cmd.RunE = a.connected(func(ctx context.Context, c *client.Client, args []string) error {
		kinds := map[matchdpb.Kind]bool{}
		for kind := range kindNames {
			kinds[kind] = true
		}
		done := a.progress("reading")
		all, err := listKinds(ctx, c, kinds)
		done()
		if err != nil {
			return err
		}
		var objects []*matchdpb.Object
		for _, o := range all {
			if owned || metaOf(o).GetOwner() == "" {
				objects = append(objects, o)
			}
		}
		if len(objects) < len(all) {
			a.err.line("%s left out, which files on the server own: --owned takes them, too.", count(len(all)-len(objects), "object"))
		}
		if len(args) == 0 {
			return writeStream(a.out, documents(objects))
		}
		return a.writeSite(args[0], objects)
	})
	return cmd
}

func documents(objects []*matchdpb.Object) []record {
	list := make([]record, len(objects))
	for i, o := range objects {
		list[i] = desired(o)
	}
	return list
}

// writeSite writes objects as a site directory that can be applied.
func (a *app) writeSite(dir string, objects []*matchdpb.Object) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usagef("%s is not empty: what is in it would be mixed with what is written", dir)
	}
	rest := map[matchdpb.Kind][]record{}
	for _, o := range objects {
		ref := refOf(o)
		text := []byte(plainText(o))
		var err error
		switch ref.GetKind() {
		case matchdpb.Kind_KIND_GROUP:
			err = writeBelow(dir, "groups", ref.GetId()+".yaml", siteText(o))
		case matchdpb.Kind_KIND_PROFILE:
			err = writeBelow(dir, "profiles", ref.GetId()+".yaml", siteText(o))
		case matchdpb.Kind_KIND_TEMPLATE:
			kind, name, _ := strings.Cut(ref.GetId(), "/")
			err = writeBelow(dir, kind, name, text)
		default:
			rest[ref.GetKind()] = append(rest[ref.GetKind()], desired(o))
		}
		if err != nil {
			return err
		}
	}
	for kind, items := range rest {
		var text bytes.Buffer
		if err := writeStream(terminal{Writer: &text}, items); err != nil {
			return err
		}
		if err := writeBelow(dir, ".", nounOf(kind).plural+".yaml", text.Bytes()); err != nil {
			return err
		}
	}
	a.err.line("%s in %s", count(len(objects), "object"), dir)
	return os.MkdirAll(dir, 0o755) // also of nothing
}

// siteText is a file of a site: what it is stands in the directory's name.
func siteText(o *matchdpb.Object) []byte {
	var text bytes.Buffer
	_ = writeYAML(&text, desired(o).without("kind")) // a buffer takes it
	return text.Bytes()
}

func writeBelow(dir, sub, name string, text []byte) error {
	path := filepath.Join(dir, sub)
	if filepath.Base(name) != name {
		return fmt.Errorf("%q is no name for a file", name)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, name), text, 0o644)
}
