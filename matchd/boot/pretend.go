package boot

import "github.com/matchd/matchd/matchd/machine"

// With returns a planner that answers as p would if it knew exactly these machines: to play a boot that nobody shall remember. Nothing that it is asked
// has an effect on p.
func (p *Planner) With(machines *machine.Registry) *Planner {
	opt := p.opt
	opt.Machines = machines
	return &Planner{opt: opt}
}
