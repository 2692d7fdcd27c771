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
	byUUID   map[string]map[MAC]bool // sets: many boards are sold with the same UUID
}

type entry struct {
	machine Machine
	claimed netip.Addr // where somebody last asked in this machine's name; invalid: nowhere
	pinned  bool       // configured by the operator: never makes room
}

// NewRegistry returns an empty registry for at most capacity machines besides pinned ones; zero means [MaxTracked].
func NewRegistry(capacity int) *Registry {
	if capacity <= 0 {
		capacity = MaxTracked
	}
	return &Registry{
		capacity: capacity, recent: list.New(),
		byMAC: map[MAC]*list.Element{}, byAddr: map[netip.Addr]MAC{}, byUUID: map[string]map[MAC]bool{},
	}
}

// Pin adds a machine that an operator told about, with exactly these labels. It is not forgotten before it is unpinned.
func (r *Registry) Pin(m Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.mergeLocked(m)
	e.pinned, e.machine.Labels = true, m.Labels
}

// Unpin takes back what an operator told of a machine. What it told itself is still remembered, as of any other.
func (r *Registry) Unpin(mac MAC) {
	r.mu.Lock()
	defer r.mu.Unlock()
	element, known := r.byMAC[mac]
	if !known {
		return
	}
	e := element.Value.(*entry)
	e.pinned, e.machine.Labels = false, nil
	if silent := e.machine.UUID == "" && !e.machine.HasArch && !e.machine.Address.IsValid() && !e.claimed.IsValid(); silent {
		r.removeLocked(element)
	}
	r.makeRoomLocked()
}

// Observe adds what was learned to what was known: a non-empty fact replaces an older one. A machine without MAC is ignored.
func (r *Registry) Observe(m Machine) {
	if m.MAC == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mergeLocked(m)
	r.makeRoomLocked()
}

// Claim notes that somebody at the given address asked in the machine's name, for what comes from there without a name. Unlike [Registry.Observe]
// it takes neither the machine's own address from it nor an address from the machine that DHCP gave it to: an operator may ask as well, or
// another machine.
func (r *Registry) Claim(mac MAC, addr netip.Addr) {
	addr = addr.Unmap()
	if mac == "" || !addr.IsValid() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	owner, owned := r.lookupLocked(r.byAddr[addr])
	if owned && owner.Address == addr {
		return
	}
	e := r.mergeLocked(Machine{MAC: mac})
	if e.claimed != addr {
		r.leaveLocked(e.claimed, mac)
		e.claimed = addr
	}
	r.byAddr[addr] = mac
	r.makeRoomLocked()
}

// leaveLocked forgets that the address leads to the machine.
func (r *Registry) leaveLocked(addr netip.Addr, mac MAC) {
	if r.byAddr[addr] == mac {
		delete(r.byAddr, addr)
	}
}

func (r *Registry) makeRoomLocked() {
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
	if old.Address != e.machine.Address && old.Address != e.claimed {
		r.leaveLocked(old.Address, m.MAC)
	}
	if e.machine.Address.IsValid() {
		r.byAddr[e.machine.Address] = m.MAC
	}
	if old.UUID != e.machine.UUID {
		r.dropUUIDLocked(old)
		if r.byUUID[e.machine.UUID] == nil {
			r.byUUID[e.machine.UUID] = map[MAC]bool{}
		}
		r.byUUID[e.machine.UUID][m.MAC] = true
	}
	return e
}

// dropUUIDLocked forgets that the machine's UUID leads to it.
func (r *Registry) dropUUIDLocked(m Machine) {
	macs := r.byUUID[m.UUID]
	delete(macs, m.MAC)
	if len(macs) == 0 {
		delete(r.byUUID, m.UUID)
	}
}

// evictLocked forgets the unpinned machine seen longest ago; it reports false when there is none.
func (r *Registry) evictLocked() bool {
	for element := r.recent.Back(); element != nil; element = element.Prev() {
		if element.Value.(*entry).pinned {
			continue
		}
		r.removeLocked(element)
		return true
	}
	return false
}

func (r *Registry) removeLocked(element *list.Element) {
	e := r.recent.Remove(element).(*entry)
	delete(r.byMAC, e.machine.MAC)
	r.leaveLocked(e.machine.Address, e.machine.MAC)
	r.leaveLocked(e.claimed, e.machine.MAC)
	r.dropUUIDLocked(e.machine)
}

// ByMAC returns the machine with the given address.
func (r *Registry) ByMAC(mac MAC) (Machine, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lookupLocked(mac)
}

// ByAddress returns the machine that has the given IP address by DHCP or, where DHCP told of none, that was last asked for from there.
func (r *Registry) ByAddress(addr netip.Addr) (Machine, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mac, ok := r.byAddr[addr.Unmap()]
	if !ok {
		return Machine{}, false
	}
	return r.lookupLocked(mac)
}

// ByUUID returns the machine with the given SMBIOS UUID; either byte order of its first three fields is found. A UUID that several machines
// told is nobody's: boards are sold with the same one, and a machine that claims its neighbour's must not be taken for it.
func (r *Registry) ByUUID(uuid string) (Machine, bool) {
	uuid = strings.ToLower(uuid)
	r.mu.Lock()
	defer r.mu.Unlock()
	var found MAC
	for _, spelling := range [...]string{uuid, SwapUUID(uuid)} {
		for mac := range r.byUUID[spelling] {
			if found != "" && found != mac {
				return Machine{}, false
			}
			found = mac
		}
	}
	return r.lookupLocked(found)
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
