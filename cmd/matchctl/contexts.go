package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	return group("config", "say which servers there are, and which one is meant",
		a.getContextsCommand(), a.currentContextCommand(), a.useContextCommand(), a.setContextCommand(), a.deleteContextCommand())
}

func (a *app) getContextsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get-contexts", Short: "list the contexts; * is the current one",
		Args: arguments(cobra.NoArgs),
	}
	output := outputFlag(cmd, "table", "json", "yaml", "name")
	cmd.RunE = func(*cobra.Command, []string) error {
		config, _, err := a.loadConfig()
		if err != nil {
			return err
		}
		return a.writeContexts(config, *output)
	}
	return cmd
}

func (a *app) writeContexts(config *configuration, output string) error {
	if output == "name" {
		for _, name := range config.names() {
			a.out.line("%s", name)
		}
		return nil
	}
	t := &table{head: []string{"CURRENT", "NAME", "ENDPOINT", "CERT"}}
	items := []record{}
	for _, c := range config.Contexts {
		mark := ""
		if c.Name == config.Current {
			mark = "*"
		}
		t.add("", []string{mark, c.Name, c.Endpoint, c.Cert})
		items = append(items, record{{"name", c.Name}, {"current", c.Name == config.Current}, {"endpoint", c.Endpoint}, {"ca", c.CA}, {"cert", c.Cert},
			{"key", c.Key}, {"server_name", c.ServerName}})
	}
	if output == "table" {
		t.write(a.out)
		return nil
	}
	return a.writeOne(output, record{{"contexts", items}})
}

func (a *app) currentContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "current-context", Short: "print the name of the current context",
		Args: arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			config, file, err := a.loadConfig()
			if err != nil {
				return err
			}
			if config.Current == "" {
				return fmt.Errorf("%s names no current context: matchctl config use-context NAME", file)
			}
			a.out.line("%s", config.Current)
			return nil
		},
	}
}

func (a *app) useContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use-context NAME", Short: "make a context the current one",
		Args: arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.editConfig(args[0], func(config *configuration) { config.Current = args[0] }); err != nil {
				return err
			}
			a.out.line("The current context is %s now.", args[0])
			return nil
		},
	}
}

func (a *app) setContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set-context NAME", Short: "make or change a context",
		Long: `Makes a context or changes what is given of one: --endpoint, --ca, --cert, --key, --server-name. The first one becomes the current one.
Files are named by their absolute paths; a context file that is edited by hand may name them relative to itself.`,
		Example: "  matchctl config set-context lab --endpoint matchd.lab:8081 --ca ca.crt --cert ann.crt --key ann.key",
		Args:    arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			config, file, err := a.loadConfig()
			if err != nil {
				return err
			}
			made, err := config.set(args[0], a.flags.given)
			if err != nil {
				return err
			}
			if err := config.save(file); err != nil {
				return err
			}
			what := "changed"
			if made {
				what = "made"
			}
			a.out.line("Context %s %s in %s.", args[0], what, file)
			return nil
		},
	}
}

// set changes or makes a context of what is given.
func (c *configuration) set(name string, given connection) (made bool, err error) {
	for _, file := range []*string{&given.CA, &given.Cert, &given.Key} {
		if *file == "" {
			continue
		}
		if *file, err = filepath.Abs(*file); err != nil {
			return false, err
		}
	}
	if made = c.find(name) == nil; made {
		c.Contexts = append(c.Contexts, connection{Name: name})
	}
	found := c.find(name)
	for _, field := range [...]struct {
		to   *string
		from string
	}{{&found.Endpoint, given.Endpoint}, {&found.CA, given.CA}, {&found.Cert, given.Cert}, {&found.Key, given.Key}, {&found.ServerName, given.ServerName}} {
		if field.from != "" {
			*field.to = field.from
		}
	}
	if c.Current == "" {
		c.Current = name
	}
	return made, nil
}

func (a *app) deleteContextCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete-context NAME", Short: "forget a context; its certificates stay",
		Args: arguments(cobra.ExactArgs(1)), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			err := a.editConfig(args[0], func(config *configuration) {
				config.Contexts = slices.DeleteFunc(config.Contexts, func(c connection) bool { return c.Name == args[0] })
				if config.Current == args[0] {
					config.Current = ""
				}
			})
			if err != nil {
				return err
			}
			a.out.line("Context %s is gone.", args[0])
			return nil
		},
	}
}

// editConfig changes something about a context that is there, and saves the configuration.
func (a *app) editConfig(context string, edit func(*configuration)) error {
	config, file, err := a.loadConfig()
	if err != nil {
		return err
	}
	if _, err := config.choose(context); err != nil {
		return err
	}
	edit(config)
	return config.save(file)
}
