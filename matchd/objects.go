package matchd

import (
	"github.com/matchd/matchd/matchd/catalog"
	"github.com/matchd/matchd/matchd/lease"
	"github.com/matchd/matchd/matchd/machine"
)

// fixedObjects returns the objects that the configuration has rather than the store: they can be seen through the API, and changed in the file only.
func (c *Config) fixedObjects() []catalog.Item {
	meta := catalog.Meta{Owner: c.File}
	if meta.Owner == "" {
		meta.Owner = "the daemon's configuration"
	}
	var items []catalog.Item
	for _, m := range c.Machines {
		mac, err := machine.ParseMAC(m.MAC)
		if err != nil {
			continue // Validate refused it
		}
		settings := &machine.Settings{MAC: mac, Labels: m.Labels, Loader: m.Loader, ExitMethod: string(m.ExitMethod), TFTPBlksize: m.TFTPBlksize}
		items = append(items, catalog.Item{Object: catalog.Object{Machine: settings}, Meta: meta})
	}
	for i := range c.DHCP.Subnets {
		for j := range c.DHCP.Subnets[i].Reservations {
			reservation, _, err := c.DHCP.Subnets[i].Reservations[j].translate()
			if err == nil {
				items = append(items, catalog.Item{Object: catalog.Object{Reservation: &reservation}, Meta: meta})
			}
		}
	}
	return items
}

// followObjects makes what the API says of machines and reservations true before it is served: labels in the registry, addresses in the pool. Those of the
// configuration are there from the start.
func (s *Server) followObjects(snapshot *catalog.Snapshot, changed []catalog.Ref) {
	reservations := false
	for _, ref := range changed {
		switch ref.Kind {
		case catalog.Machine:
			s.followMachine(snapshot, ref)
		case catalog.Reservation:
			reservations = true
		}
	}
	if !reservations || s.pool == nil {
		return
	}
	var list []lease.Reservation
	for _, item := range snapshot.List(catalog.Reservation) {
		if item.Owner == "" {
			list = append(list, *item.Reservation)
		}
	}
	for _, err := range s.pool.Reserve(list) {
		s.log.Error("a reservation of the API is not kept", "error", err)
	}
}

func (s *Server) followMachine(snapshot *catalog.Snapshot, ref catalog.Ref) {
	item, there := snapshot.Get(ref)
	switch {
	case !there:
		s.machines.Unpin(machine.MAC(ref.ID))
	case item.Owner == "":
		s.machines.Pin(machine.Machine{MAC: item.Machine.MAC, Labels: item.Machine.Labels})
	}
}

// seenMachines returns the machines of all timelines, with what is known of them.
func (s *Server) seenMachines() []machine.Machine {
	summaries := s.events.Machines()
	seen := make([]machine.Machine, 0, len(summaries))
	for i := range summaries {
		m, known := s.machines.ByMAC(summaries[i].MAC)
		if !known {
			m = machine.Machine{MAC: summaries[i].MAC, UUID: summaries[i].UUID, Hostname: summaries[i].Hostname}
		}
		seen = append(seen, m)
	}
	return seen
}

// blksize returns the TFTP block size that is set for a machine, in bytes; 0: none is.
func (s *Server) blksize(mac machine.MAC) int {
	if settings := s.catalog.Latest().Settings(mac); settings != nil {
		return settings.TFTPBlksize
	}
	return 0
}
