package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/site"
)

// question is what "render" and "explain" ask of a site: one machine's place in it.
type question struct {
	site, mac, uuid, baseURL string
	labels                   []string
}

// flags adds the question's flags to a command.
func (q *question) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&q.site, "site", ".", "the site directory")
	cmd.Flags().StringVar(&q.mac, "mac", "", "hardware address of the machine, in any notation")
	cmd.Flags().StringVar(&q.uuid, "uuid", "", "UUID of the machine")
	cmd.Flags().StringArrayVar(&q.labels, "label", nil, "label `NAME=VALUE` that the machine tells (or, as platform=aws, that the server knows); may be given again")
	cmd.Flags().StringVar(&q.baseURL, "base-url", "http://192.0.2.1:8080", "how the machine reaches the server")
}

// answer is a site with the machine that is asked about.
type answer struct {
	snapshot *catalog.Snapshot
	planner  *boot.Planner
	ask      boot.Ask
	labels   groups.Labels // all that the machine is matched by
}

// Current implements [boot.Catalog].
func (a *answer) Current() *catalog.Snapshot { return a.snapshot }

// load reads the site and puts the machine into it, as the daemon would know it.
func (q *question) load(ctx context.Context) (*answer, error) {
	query, known, err := q.parse()
	if err != nil {
		return nil, err
	}
	loaded, err := site.Read(ctx, q.site, site.ReadOptions{})
	var problems *site.Problems
	if errors.As(err, &problems) {
		return nil, fmt.Errorf("the site has problems:\n%w", err)
	}
	if err != nil {
		return nil, err
	}
	labels, _ := groups.LabelsFromQuery(query)
	machines := machine.NewRegistry(0)
	if known.MAC != "" {
		machines.Pin(known)
	}
	a := &answer{snapshot: catalog.NewSnapshot(loaded.Objects()), labels: known.Merge(labels)}
	a.ask = boot.Ask{Labels: labels, RawQuery: query.Encode(), BaseURL: strings.TrimSuffix(q.baseURL, "/")}
	// Nobody knows here whether the server has HTTPS; the plan of a profile that needs it is shown as if it had.
	a.planner = boot.NewPlanner(boot.Options{Catalog: a, Machines: machines, Pointing: &boot.Pointing{}})
	return a, nil
}

// parse separates what the machine tells in its query from what the server knows of it.
func (q *question) parse() (url.Values, machine.Machine, error) {
	query, known := url.Values{}, machine.Machine{Labels: map[string]string{}}
	for _, label := range q.labels {
		name, value, assigned := strings.Cut(label, "=")
		if !assigned || name == "" {
			return nil, known, usageError{fmt.Errorf("--label %q is not NAME=VALUE", label)}
		}
		query.Set(name, value)
		if name != "mac" && name != "uuid" && name != "serial" && slices.Contains(machine.ServerLabels(), name) {
			query.Del(name)
			known.Labels[name] = value
		}
	}
	if q.uuid != "" {
		query.Set("uuid", q.uuid)
	}
	if q.mac != "" {
		query.Set("mac", q.mac)
	}
	if given := query.Get("mac"); given != "" {
		mac, err := machine.ParseMAC(given)
		if err != nil {
			return nil, known, usageError{err}
		}
		query.Set("mac", mac.Hyphens())
		known.MAC = mac
	}
	if len(known.Labels) > 0 && known.MAC == "" {
		return nil, known, usageError{errors.New("what the server knows of a machine, such as its platform, needs --mac")}
	}
	return query, known, nil
}

// request is the question in the catalog's terms.
func (a *answer) request() catalog.Request {
	return catalog.Request{Labels: a.ask.Labels, RawQuery: a.ask.RawQuery, BaseURL: a.ask.BaseURL, Machine: a.labels}
}

// describeSelector says whom a group wants.
func describeSelector(selector groups.Selector) string {
	if len(selector) == 0 {
		return "every machine"
	}
	return strings.ReplaceAll(selector.String(), ",", ", ")
}
