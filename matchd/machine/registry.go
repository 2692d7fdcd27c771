package machine

import (
	"container/list"
	"net/netip"
	"strings"
	"sync"
)

// MaxTracked is the number of machines that a [Registry] remembers; the one seen longest ago makes room for a new one.
const MaxTracked = 65536

// Registry remembers what was learned of each machine, so that a later question by TFTP or HTTP, which tells less, is still that
// machine's. It is safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	capacity int
	recent   *list.List // of *entry, most recently seen first
	byMAC    map[MAC]*list.Element
	byAddr   map[netip.Addr]MAC
	byUUID   map[string]MAC
}

type entry struct {
	machine Machine
	pinned  bool // configured by the operator: never makes room
}

// NewRegistry returns an empty registry for at most capacity machines besides pinned ones; zero means [MaxTracked].
func NewRegistry(capacity int) *Registry {
	if capacity <= 0 {
		capacity = MaxTracked
	}
	return &Registry{
		capacity: capacity, recent: list.New(),
		byMAC: map[MAC]*list.Element{}, byAddr: map[netip.Addr]MAC{}, byUUID: map[string]MAC{},
	}
}

// Pin adds a machine that an operator configured. It is never forgotten.
func (r *Registry) Pin(m Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mergeLocked(m).pinned = true
}

// Observe adds what was learned to what was known: a non-empty fact replaces an older one. A machine without MAC is ignored.
func (r *Registry) Observe(m Machine) {
	if m.MAC == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mergeLocked(m)
	for r.recent.Len() > r.capacity && r.evictLocked() {
	}
}

func (r *Registry) mergeLocked(m Machine) *entry {
	element, known := r.byMAC[m.MAC]
	if !known {
		element = r.recent.PushFront(&entry{machine: Machine{MAC: m.MAC}})
		r.byMAC[m.MAC] = element
	}
	r.recent.MoveToFront(element)
	e := element.Value.(*entry)
	old := e.machine
	e.machine.learn(m)
	if old.Address != e.machine.Address && r.byAddr[old.Address] == m.MAC {
		delete(r.byAddr, old.Address)
	}
	if e.machine.Address.IsValid() {
		r.byAddr[e.machine.Address] = m.MAC
	}
	if old.UUID != e.machine.UUID && r.byUUID[old.UUID] == m.MAC {
		delete(r.byUUID, old.UUID)
	}
	if e.machine.UUID != "" {
		r.byUUID[e.machine.UUID] = m.MAC
	}
	return e
}

// evictLocked forgets the unpinned machine seen longest ago; it reports false when there is none.
func (r *Registry) evictLocked() bool {
	for element := r.recent.Back(); element != nil; element = element.Prev() {
		e := element.Value.(*entry)
		if e.pinned {
			continue
		}
		r.recent.Remove(element)
		delete(r.byMAC, e.machine.MAC)
		if r.byAddr[e.machine.Address] == e.machine.MAC {
			delete(r.byAddr, e.machine.Address)
		}
		if r.byUUID[e.machine.UUID] == e.machine.MAC {
			delete(r.byUUID, e.machine.UUID)
		}
		return true
	}
	return false
}

// ByMAC returns the machine with the given address.
func (r *Registry) ByMAC(mac MAC) (Machine, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lookupLocked(mac)
}

// ByAddress returns the machine that was last seen with the given IP address.
func (r *Registry) ByAddress(addr netip.Addr) (Machine, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mac, ok := r.byAddr[addr.Unmap()]
	if !ok {
		return Machine{}, false
	}
	return r.lookupLocked(mac)
}

// ByUUID returns the machine with the given SMBIOS UUID; either byte order of its first three fields is found.
func (r *Registry) ByUUID(uuid string) (Machine, bool) {
	uuid = strings.ToLower(uuid)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range [...]string{uuid, SwapUUID(uuid)} {
		if mac, ok := r.byUUID[u]; ok {
			return r.lookupLocked(mac)
		}
	}
	return Machine{}, false
}

func (r *Registry) lookupLocked(mac MAC) (Machine, bool) {
	element, ok := r.byMAC[mac]
	if !ok {
		return Machine{}, false
	}
	return element.Value.(*entry).machine, true
}

// Len returns the number of machines remembered.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recent.Len()
}

// learn takes every fact that is known of the same machine. Labels are replaced as a whole and never changed in place, since copies share them.
func (m *Machine) learn(news Machine) {
	for _, fact := range [...]struct{ to, from *string }{
		{&m.UUID, &news.UUID}, {&m.Serial, &news.Serial}, {&m.Manufacturer, &news.Manufacturer},
		{&m.Product, &news.Product}, {&m.Asset, &news.Asset}, {&m.Hostname, &news.Hostname},
	} {
		if *fact.from != "" {
			*fact.to = *fact.from
		}
	}
	if news.Address.IsValid() && !news.Address.IsUnspecified() {
		m.Address = news.Address.Unmap()
	}
	if news.HasArch {
		m.Arch, m.HasArch = news.Arch, true
	}
	if news.Labels != nil {
		m.Labels = news.Labels
	}
}
