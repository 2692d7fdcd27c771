package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/matchd/matchd/matchd/site"
	"github.com/matchd/matchd/matchd/trial"
)

// connection says which server to call, and as who.
type connection struct {
	Name       string `yaml:"name"`
	Endpoint   string `yaml:"endpoint,omitempty"`
	CA         string `yaml:"ca,omitempty"`
	Cert       string `yaml:"cert,omitempty"`
	Key        string `yaml:"key,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
}

// configuration is the client's configuration file.
type configuration struct {
	Current  string       `yaml:"current-context,omitempty"`
	Contexts []connection `yaml:"contexts,omitempty"`
}

// configFile returns the name of the configuration file.
func (a *app) configFile() (string, error) {
	if a.flags.config != "" {
		return a.flags.config, nil
	}
	if name := a.getenv("MATCHCTL_CONFIG"); name != "" {
		return name, nil
	}
	dir := a.getenv("XDG_CONFIG_HOME")
	if dir == "" && runtime.GOOS == "windows" {
		dir = a.getenv("AppData")
	}
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usagef("finding the configuration file: %w: name it with --config", err)
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "matchctl", "config.yaml"), nil
}

// loadConfig reads the configuration file; one that is not there is empty.
func (a *app) loadConfig() (*configuration, string, error) {
	name, err := a.configFile()
	if err != nil {
		return nil, "", err
	}
	config := &configuration{}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return config, name, nil
	}
	if err != nil {
		return nil, "", usagef("reading the configuration: %w", err)
	}
	if err := site.Decode(name, text, config); err != nil {
		return nil, "", usageError{err}
	}
	for i := range config.Contexts {
		if config.Contexts[i].Name == "" {
			return nil, "", usagef("%s: contexts[%d] has no name", name, i)
		}
	}
	return config, name, nil
}

// save writes the configuration file, for its owner alone.
func (c *configuration) save(name string) error {
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return writeFile(name, text)
}

// writeFile replaces a file as a whole.
func writeFile(name string, text []byte) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), os.Remove(temporary))
	}
	return nil
}

func (c *configuration) find(name string) *connection {
	i := slices.IndexFunc(c.Contexts, func(each connection) bool { return each.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Contexts[i]
}

// choose returns the context that is asked for; the zero value if none is.
func (c *configuration) choose(name string) (connection, error) {
	if name == "" {
		return connection{}, nil
	}
	if found := c.find(name); found != nil {
		return *found, nil
	}
	names := c.names()
	if len(names) == 0 {
		return connection{}, usagef("there is no context %q, since there is none at all: matchctl config set-context %s --endpoint HOST:PORT --ca FILE --cert FILE --key FILE", name, name)
	}
	return connection{}, usagef("there is no context %q%s", name, trial.DidYouMean(name, names, "; there are "+strings.Join(names, ", ")))
}

func (c *configuration) names() []string {
	names := make([]string, len(c.Contexts))
	for i := range c.Contexts {
		names[i] = c.Contexts[i].Name
	}
	return names
}
