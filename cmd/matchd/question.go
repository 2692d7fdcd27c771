package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/inspect"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/matchd/render"
	"github.com/matchd/matchd/matchd/site"
)

// question is what "render" and "explain" ask of a site: one machine's place in it.
type question struct {
	config, site, mac, uuid, baseURL string
	labels                           []string
}

// flags adds the question's flags to a command.
func (q *question) flags(cmd *cobra.Command) {
	configFlag(cmd, &q.config)
	cmd.Flags().StringVar(&q.site, "site", "", "the site directory (default that of the configuration, or the current directory)")
	cmd.Flags().StringVar(&q.mac, "mac", "", "hardware address of the machine, in any notation")
	cmd.Flags().StringVar(&q.uuid, "uuid", "", "UUID of the machine")
	cmd.Flags().StringArrayVar(&q.labels, "label", nil, "label `NAME=VALUE` that the machine tells (or, as platform=aws, that the server knows); may be given again")
	cmd.Flags().StringVar(&q.baseURL, "base-url", "http://192.0.2.1:8080", "how the machine reaches the server")
}

// configFlag adds a flag for the daemon's configuration to a command that works without one. The daemon's own file is not read unasked, so that
// a site under version control gives the same answers everywhere.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration file whose machines, overlaps, … apply (default none; variable MATCHD_CONFIG)")
}

// readConfig returns the configuration of a command with [configFlag], the defaults if there is none.
func readConfig(file string) (matchd.Config, error) {
	if file = cmp.Or(file, os.Getenv("MATCHD_CONFIG")); file == "" {
		return matchd.DefaultConfig(), nil
	}
	return matchd.LoadConfig(matchd.Sources{File: file, Env: os.LookupEnv})
}

// readOptions is how a configuration wants a site to be read.
func readOptions(cfg *matchd.Config) site.ReadOptions {
	return site.ReadOptions{RefuseOverlaps: cfg.Overlaps == matchd.OverlapsError}
}

// answer is a site with the machine that is asked about.
type answer struct {
	snapshot *catalog.Snapshot
	planner  *boot.Planner
	subject  *inspect.Subject
}

// Current implements [boot.Catalog].
func (a *answer) Current() *catalog.Snapshot { return a.snapshot }

// load reads the site and puts the machine into it, as the daemon would know it.
func (q *question) load(ctx context.Context) (*answer, error) {
	query, known, err := q.parse()
	if err != nil {
		return nil, err
	}
	cfg, err := readConfig(q.config)
	if err != nil {
		return nil, err
	}
	loaded, err := site.Read(ctx, cmp.Or(q.site, cfg.Site, "."), readOptions(&cfg))
	var problems *site.Problems
	if errors.As(err, &problems) {
		return nil, fmt.Errorf("the site has problems:\n%w", err)
	}
	if err != nil {
		return nil, err
	}
	labels, _ := groups.LabelsFromQuery(query)
	machines := machine.NewRegistry(0)
	overrides := cfg.Overrides(machines)
	if known.MAC != "" {
		configured, _ := machines.ByMAC(known.MAC)
		for name, value := range configured.Labels {
			if _, given := known.Labels[name]; !given {
				known.Labels[name] = value
			}
		}
		machines.Pin(known)
	}
	snapshot := catalog.NewSnapshot(loaded.Objects(), catalog.Options{RefuseOverlaps: cfg.Overlaps == matchd.OverlapsError})
	a := &answer{snapshot: snapshot, subject: &inspect.Subject{
		Machine: known, Labels: known.Merge(labels),
		Ask: boot.Ask{Labels: labels, RawQuery: query.Encode(), BaseURL: strings.TrimSuffix(q.baseURL, "/")},
	}}
	// Nobody knows here whether the server has HTTPS; the plan of a profile that needs it is shown as if it had.
	a.planner = boot.NewPlanner(boot.Options{
		Catalog: a, Machines: machines, Unmatched: cfg.Unmatched, Exit: cfg.ExitMethod, Overrides: overrides, Pointing: &boot.Pointing{},
	})
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

// refuseJSON tells programs why a question has no answer, as [validateCommand] does, and returns the error to exit with. A wrong command line is not
// told them: who writes it reads standard error.
func refuseJSON(w io.Writer, err error) error {
	if usage := (usageError{}); errors.As(err, &usage) {
		return err
	}
	refusal := validation{Problems: []site.Problem{}, Warnings: []site.Problem{}}
	var problems *site.Problems
	var report *render.Report
	switch {
	case errors.As(err, &problems):
		refusal.Problems, refusal.Omitted = problems.Problems, problems.Omitted
		refusal.Warnings = append(refusal.Warnings, problems.Warnings...)
	case errors.As(err, &report):
		refusal.Problems, refusal.Omitted = siteProblems(report.Problems), report.Omitted
	default:
		refusal.Reason = err.Error()
	}
	if err := writeJSON(w, refusal); err != nil {
		return err
	}
	return errProblem
}

// siteProblems gives the problems of documents the form in which those of a whole site are told.
func siteProblems(list []render.Problem) []site.Problem {
	told := make([]site.Problem, 0, len(list))
	for _, p := range list {
		told = append(told, site.Problem{File: p.Name, Line: p.Line, Column: p.Column, What: p.What, Source: p.Source})
	}
	return told
}

// describeSelector says whom a group wants.
func describeSelector(selector groups.Selector) string {
	if len(selector) == 0 {
		return "every machine"
	}
	return strings.ReplaceAll(selector.String(), ",", ", ")
}
