package boot

import (
	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/machine"
)

// fixedCatalog is a snapshot that never changes.
type fixedCatalog struct{ snapshot *catalog.Snapshot }

func (f fixedCatalog) Current() *catalog.Snapshot { return f.snapshot }

// On returns a planner that answers as p would from the given snapshot, knowing exactly these machines: to see what a change would do. Nothing that it is
// asked has an effect on p.
func (p *Planner) On(snapshot *catalog.Snapshot, machines *machine.Registry) *Planner {
	opt := p.opt
	opt.Catalog, opt.Machines, opt.Loops, opt.Replaced = fixedCatalog{snapshot}, machines, nil, nil
	return &Planner{opt: opt}
}

// Labels returns the labels that the asking machine is matched by: those of its question with what the server knows laid over them.
func (p *Planner) Labels(ask Ask) groups.Labels { return p.labels(ask) }

// override returns what an operator set for a machine: what is served says it or, before there is anything, the configuration.
func (p *Planner) override(mac machine.MAC) Override {
	if snapshot := p.opt.Catalog.Current(); snapshot != nil {
		if settings := snapshot.Settings(mac); settings != nil {
			return Override{Loader: settings.Loader, ExitMethod: ExitMethod(settings.ExitMethod)}
		}
	}
	return p.opt.Overrides[mac]
}
