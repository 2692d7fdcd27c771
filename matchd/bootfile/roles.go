package bootfile

import (
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/machine"
)

// MaxRoles is the number of machines whose kernel and initrds are remembered; beyond it, an arbitrary one is forgotten and its next
// asset is recorded as asset-sent, no more.
const MaxRoles = 65536

// Roles remembers which assets are a machine's kernel and initrds, so that the timeline can say so when they are sent. It learns
// from the plans that were sent. It is safe for concurrent use.
type Roles struct {
	mu       sync.Mutex
	machines map[machine.MAC]role
}

type role struct {
	kernel         string // cleaned path below the assets directory; empty if it comes from elsewhere
	initrds        []string
	group, profile string
}

// NewRoles returns an empty memory.
func NewRoles() *Roles { return &Roles{machines: map[machine.MAC]role{}} }

// Learn takes in what a plan makes the machine fetch. The empty address is ignored.
func (r *Roles) Learn(mac machine.MAC, plan *boot.Plan) {
	if mac == "" || plan.Do != boot.Run {
		return
	}
	learned := role{kernel: assetPath(plan.Kernel)}
	for _, initrd := range plan.Initrds {
		if p := assetPath(initrd.URL); p != "" {
			learned.initrds = append(learned.initrds, p)
		}
	}
	if plan.Group != nil {
		learned.group = plan.Group.ID
	}
	if plan.Profile != nil {
		learned.profile = plan.Profile.ID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.machines[mac]; !known && len(r.machines) >= MaxRoles {
		for other := range r.machines {
			delete(r.machines, other)
			break
		}
	}
	r.machines[mac] = learned
}

// assetPath returns the path below /assets/ that a profile's location names, on whatever host; empty if it names none.
func assetPath(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	below, ok := strings.CutPrefix(path.Clean("/"+u.Path), "/assets/")
	if !ok {
		return ""
	}
	return below
}

// Event returns the event of sending an asset to a machine: kernel-sent and initrd-sent where the machine's plan says so, else asset-sent.
func (r *Roles) Event(mac machine.MAC, asset string) event.Event {
	name := path.Clean("/" + asset)[1:]
	r.mu.Lock()
	known := r.machines[mac]
	r.mu.Unlock()
	e := event.Event{MAC: mac, Stage: event.AssetSent, Message: "sent " + name, Attrs: map[string]string{event.AttrFile: name}}
	switch {
	case name != "" && known.kernel == name:
		e.Stage, e.Message = event.KernelSent, "sent the kernel "+name
	default:
		for _, initrd := range known.initrds {
			if initrd == name {
				e.Stage, e.Message = event.InitrdSent, "sent the initrd "+name
			}
		}
	}
	if e.Stage != event.AssetSent {
		e.Attrs[event.AttrGroup], e.Attrs[event.AttrProfile] = known.group, known.profile
	}
	return e
}
