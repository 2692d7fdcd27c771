package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchboxpb"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// importing is one "import matchbox".
type importing struct {
	applying
	from connection
	to   string
}

func (a *app) importCommand() *cobra.Command {
	return group("import", "take over what another server has", a.importMatchboxCommand())
}

func (a *app) importMatchboxCommand() *cobra.Command {
	i := &importing{applying: applying{app: a}}
	cmd := &cobra.Command{
		Use:   "matchbox DIR|HOST:PORT",
		Short: "take over matchbox's groups, profiles and templates",
		Long: `Takes over matchbox's groups, profiles and templates: of its data directory, or of a running matchbox by its gRPC API. They are applied
in one revision, or none; --to writes them as a site directory instead, to be read and corrected first.

matchbox's API lists groups and profiles; Ignition and generic templates are those that profiles name, and cloud templates it does not
give at all: copy them from its data directory.

matchd is stricter than matchbox: what matchbox would have sent as an empty config is a problem here, with line and column.`,
		Example: "  matchctl import matchbox /var/lib/matchbox --dry-run\n  matchctl import matchbox old:8081 --matchbox-ca ca.crt --matchbox-cert client.crt --matchbox-key client.key --to site/",
		Args:    arguments(cobra.ExactArgs(1)),
	}
	output := outputFlag(cmd, "text", "json", "yaml", "name")
	cmd.Flags().StringVar(&i.to, "to", "", "write a site directory, and call no matchd")
	cmd.Flags().StringVar(&i.from.CA, "matchbox-ca", "/etc/matchbox/ca.crt", "`FILE` with the authority that signed matchbox's certificate")
	cmd.Flags().StringVar(&i.from.Cert, "matchbox-cert", "/etc/matchbox/client.crt", "`FILE` with a certificate that matchbox takes")
	cmd.Flags().StringVar(&i.from.Key, "matchbox-key", "/etc/matchbox/client.key", "`FILE` with its key")
	cmd.Flags().BoolVar(&i.dryRun, "dry-run", false, "change nothing, say what would change")
	cmd.Flags().Int32Var(&i.compare, "compare", defaultCompare, "how many machines at most are compared in a plan")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if i.to != "" && i.dryRun {
			return usagef("--to calls no server that could be asked for a plan: leave --dry-run out")
		}
		i.output = *output
		return i.run(cmd.Context(), args[0])
	}
	return cmd
}

func (i *importing) run(ctx context.Context, source string) error {
	objects, err := i.objects(ctx, source)
	if err != nil {
		return err
	}
	if i.to != "" {
		list := make([]*matchdpb.Object, len(objects))
		for n := range objects {
			list[n] = objects[n].pb
		}
		return i.writeSite(i.to, list)
	}
	c, err := i.connect()
	if err != nil {
		return err
	}
	set := &changeset{app: i.app, put: objects}
	result, err := set.send(ctx, c, sending{dryRun: i.dryRun, compare: i.compare * flag(i.dryRun)})
	switch {
	case err != nil:
		return err
	case i.dryRun:
		return i.writePlan(result, i.output)
	}
	return i.writeResult(result, i.output)
}

func flag(set bool) int32 {
	if set {
		return 1
	}
	return 0
}

func (i *importing) objects(ctx context.Context, source string) ([]object, error) {
	if info, err := os.Stat(source); err == nil && info.IsDir() {
		return i.readData(source)
	}
	i.from.Endpoint = source
	box, err := client.DialMatchbox(client.Options{
		Endpoint: source, CA: i.from.CA, Cert: i.from.Cert, Key: i.from.Key, Timeout: cmp.Or(i.flags.timeout, defaultTimeout),
	})
	if err != nil {
		return nil, fmt.Errorf("%s is no directory; as a server: %w: matchbox's client certificate is given with --matchbox-ca, --matchbox-cert, --matchbox-key", source, err)
	}
	defer box.Close()
	i.used = i.from // for what is said of errors
	done := i.progress("reading %s", source)
	defer done()
	f := &fetching{box: box, reader: &reader{seen: map[string]string{}}}
	if err := f.all(ctx); err != nil {
		return nil, fmt.Errorf("reading matchbox: %w", err)
	}
	done()
	return f.reader.finish(i.err, source)
}

// readData reads matchbox's data directory as matchbox does, which leaves out what it cannot use.
func (i *importing) readData(dir string) ([]object, error) {
	loaded, err := site.ReadLenient(dir)
	if err != nil {
		return nil, err
	}
	r := &reader{seen: map[string]string{}}
	r.take(dir, loaded)
	for _, problem := range inDirectory(dir, loaded.LeftOut) {
		problem.What = "is left out, as matchbox does: " + problem.What
		r.warnings = append(r.warnings, problem)
	}
	return r.finish(i.err, dir)
}

// fetching reads a running matchbox.
type fetching struct {
	box    *client.Matchbox
	reader *reader
	known  map[string]bool // templates that were asked for
}

func (f *fetching) all(ctx context.Context) error {
	groups, err := f.box.Groups.GroupList(ctx, &matchboxpb.GroupListRequest{})
	if err != nil {
		return err
	}
	for _, g := range groups.GetGroups() {
		message, err := matchboxGroup(g)
		f.add("groups/"+g.GetId(), message, err)
	}
	profiles, err := f.box.Profiles.ProfileList(ctx, &matchboxpb.ProfileListRequest{})
	if err != nil {
		return err
	}
	f.known = map[string]bool{}
	for _, p := range profiles.GetProfiles() {
		if err := f.profile(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fetching) add(name string, message proto.Message, err error) {
	f.reader.add(message, origin{file: name, problem: func(field, what string) site.Problem {
		return site.Problem{File: name, What: field + ": " + what}
	}}, err)
}

// profile takes a profile with the templates that it names.
func (f *fetching) profile(ctx context.Context, p *matchboxpb.Profile) error {
	f.add("profiles/"+p.GetId(), &matchdpb.Profile{
		Id: p.GetId(), Name: p.GetName(), IgnitionId: p.GetIgnitionId(), GenericId: p.GetGenericId(), CloudId: p.GetCloudId(), Boot: matchboxBoot(p.GetBoot()),
	}, nil)
	ignition := func(name string) ([]byte, error) {
		got, err := f.box.Ignition.IgnitionGet(ctx, &matchboxpb.IgnitionGetRequest{Name: name})
		return got.GetConfig(), err
	}
	generic := func(name string) ([]byte, error) {
		got, err := f.box.Generic.GenericGet(ctx, &matchboxpb.GenericGetRequest{Name: name})
		return got.GetConfig(), err
	}
	if err := f.template("ignition", p.GetIgnitionId(), ignition); err != nil {
		return err
	}
	if err := f.template("generic", p.GetGenericId(), generic); err != nil {
		return err
	}
	if p.GetCloudId() != "" {
		f.warn("profiles/"+p.GetId(), "cloud/"+p.GetCloudId()+" cannot be had by matchbox's API: copy it from its data directory")
	}
	return nil
}

func (f *fetching) warn(name, what string) {
	f.reader.warnings = append(f.reader.warnings, site.Problem{File: name, What: what})
}

// template takes a template, once. matchbox says of a missing one as of a broken disk that there was an error.
func (f *fetching) template(kind, name string, get func(name string) ([]byte, error)) error {
	id := kind + "/" + name
	if name == "" || f.known[id] {
		return nil
	}
	f.known[id] = true
	content, err := get(name)
	switch {
	case client.IsUnreachable(err) || client.IsDenied(err):
		return err
	case err != nil:
		f.warn(id, "a profile names it, and matchbox does not have it: "+err.Error())
		return nil
	}
	f.add(id, &matchdpb.Template{Kind: kind, Name: name, Content: content}, nil)
	return nil
}

func matchboxBoot(b *matchboxpb.NetBoot) *matchdpb.NetBoot {
	if b.GetKernel() == "" && len(b.GetInitrd()) == 0 && len(b.GetArgs()) == 0 {
		return nil
	}
	return &matchdpb.NetBoot{Kernel: b.GetKernel(), Initrd: b.GetInitrd(), Args: b.GetArgs()}
}

func matchboxGroup(g *matchboxpb.Group) (proto.Message, error) {
	message := &matchdpb.Group{Id: g.GetId(), Name: g.GetName(), Profile: g.GetProfile(), Selector: g.GetSelector()}
	if len(g.GetMetadata()) == 0 {
		return message, nil
	}
	var metadata map[string]any
	if err := json.Unmarshal(g.GetMetadata(), &metadata); err != nil {
		return nil, &fieldError{"metadata", err.Error()}
	}
	var err error
	if len(metadata) > 0 {
		if message.Metadata, err = structpb.NewStruct(metadata); err != nil {
			return nil, &fieldError{"metadata", err.Error()}
		}
	}
	return message, nil
}
