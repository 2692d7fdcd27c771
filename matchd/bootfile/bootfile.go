// Package bootfile is the name space out of which machines fetch their boot files: by TFTP from its root, by UEFI HTTP Boot under
// the same names. One place answers for both wires.
//
//	m/52-54-00-12-34-56/snponly.efi    a network boot program, asked for by the machine with that address
//	m/52-54-00-12-34-56/autoexec.ipxe  that machine's first iPXE script
//	m/52-54-00-12-34-56/grub.cfg       that machine's GRUB config; also …/grub/grub.cfg and grub/grub.cfg-01-52-54-00-12-34-56
//	m/52-54-00-12-34-56/config.img     that machine's config as an initrd
//	m/52-54-00-12-34-56/assets/…       a file of the assets directory
//	snponly.efi, autoexec.ipxe, assets/…   the same for a machine that the peer's address tells, or nobody
//	grub/grub.cfg                      a trampoline to the machine's own
//
// DHCP hands out names that start with m/ and the machine's address, so that every later fetch says whose it is: shim, for one, takes its
// second stage from the directory it came from. Names are tolerant of slashes and backslashes, and of case where they are ours.
package bootfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/matchd/matchd/assets"
	"github.com/matchd/matchd/groups"
	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/machine"
)

// Loaders finds network boot programs by their flat names. The error is fs.ErrNotExist for a name that nothing has.
type Loaders interface {
	Open(name string) (assets.File, assets.Info, error)
}

// Planner writes what machines boot. Errors are of a [fault.Kind]: NotFound where the machine shall get nothing.
type Planner interface {
	// BootScript returns the first iPXE script, for the given machine or, with the empty address, for any.
	BootScript(ctx context.Context, ask boot.Ask, mac machine.MAC) ([]byte, error)
	// Plan returns what the asking machine boots.
	Plan(ctx context.Context, ask boot.Ask) (*boot.Plan, error)
	// ConfigImage returns the asking machine's config as an initrd.
	ConfigImage(ctx context.Context, ask boot.Ask) (*boot.ConfigImage, error)
}

// Request asks for one file.
type Request struct {
	Name    string         // as the wire had it
	Peer    netip.AddrPort // who asks
	BaseURL string         // how that machine reaches our HTTP, for URLs in scripts; without a slash at the end
	Fold    bool           // let case not matter among assets either: TFTP clients upper-case names
}

// File is an open file and what to write into the timeline once it was sent. The receiver closes Body.
type File struct {
	Body    assets.File
	Name    string // last element, for people and content types
	Size    int64  // bytes
	ETag    string // as in [assets.Info]; empty for a script, which is made anew each time
	ModTime time.Time
	Type    string      // content type
	Event   event.Event // machine, stage, message and attributes; the edge adds peer, bytes, duration and error
}

// Content types of what is sent. EDK2 goes by these (HttpBootDxe: application/efi), with the name's end as its second choice.
const (
	TypeEFI    = "application/efi"
	TypeScript = "text/plain; charset=utf-8"
	TypeBinary = "application/octet-stream"
)

// Space opens files by name. Its fields are set once, before use.
type Space struct {
	Loaders  Loaders
	Planner  Planner
	Assets   *assets.Tree // nil: there are none
	Machines *machine.Registry
	Roles    *Roles
}

// Open opens what the name stands for. The caller closes the file's Body. The error is [fault.NotFound] for a name that stands for
// nothing and Internal or Unavailable where we failed. A GRUB config never fails so: GRUB has no way to ask again by itself, so it
// gets a script that says what is wrong and does.
func (s *Space) Open(ctx context.Context, r Request) (*File, error) {
	name, err := assets.Clean(r.Name)
	if err != nil {
		return nil, fault.Wrap(fault.NotFound, err)
	}
	t := s.resolve(name, r.Peer.Addr())
	file, err := s.open(ctx, r, t)
	if errors.Is(err, fs.ErrNotExist) {
		err = fault.Wrap(fault.NotFound, err)
	}
	if err != nil {
		return nil, err
	}
	if t.named {
		s.Machines.Claim(t.mac, r.Peer.Addr())
	}
	file.Event.MAC = t.mac
	if known, ok := s.Machines.ByMAC(t.mac); ok {
		file.Event.UUID = known.UUID
	}
	return file, nil
}

// target is a name taken apart.
type target struct {
	mac   machine.MAC // whose file; empty if nothing tells
	named bool        // the name says whose; otherwise the peer's address did
	rest  string
}

func (s *Space) resolve(name string, peer netip.Addr) target {
	if after, ok := cutFold(name, "m/"); ok {
		element, rest, _ := strings.Cut(after, "/")
		if mac, err := machine.ParseMAC(element); err == nil {
			return target{mac: mac, named: true, rest: rest}
		}
	}
	// GRUB tries a config for its interface first (grub-core/net/net.c, grub_net_search_config_file).
	if after, ok := cutFold(name, "grub/grub.cfg-01-"); ok {
		if mac, err := machine.ParseMAC(after); err == nil {
			return target{mac: mac, named: true, rest: "grub.cfg"}
		}
	}
	known, _ := s.Machines.ByAddress(peer)
	return target{mac: known.MAC, rest: name}
}

// Whose returns the machine that a name speaks for, or that the peer's address tells; empty if neither does. It is for requests that
// are refused before anything is opened.
func (s *Space) Whose(name string, peer netip.Addr) machine.MAC {
	cleaned, err := assets.Clean(name)
	if err != nil {
		cleaned = ""
	}
	return s.resolve(cleaned, peer).mac
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func (s *Space) open(ctx context.Context, r Request, t target) (*File, error) {
	ask := boot.Ask{Labels: groups.Labels{}, BaseURL: r.BaseURL, Peer: r.Peer}
	if t.named {
		ask.Labels["mac"] = t.mac.String()
		ask.RawQuery = "mac=" + t.mac.Hyphens()
	}
	switch lower := strings.ToLower(t.rest); {
	case lower == "autoexec.ipxe" || lower == "boot.ipxe":
		return s.script(ctx, ask, t)
	case lower == "grub.cfg" || lower == "grub/grub.cfg":
		return s.grub(ctx, ask, t)
	case lower == boot.ConfigImageName && t.named:
		return s.configImage(ctx, ask)
	case strings.HasPrefix(lower, assetsPrefix):
		return s.asset(t.rest[len(assetsPrefix):], t.mac, r.Fold)
	}
	return s.loader(t.rest)
}

const assetsPrefix = "assets/"

func (s *Space) loader(name string) (*File, error) {
	body, info, err := s.Loaders.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening loader: %w", err)
	}
	kind := TypeBinary
	if strings.HasSuffix(strings.ToLower(name), ".efi") {
		kind = TypeEFI
	}
	return &File{
		Body: body, Name: info.Name, Size: info.Size, ETag: info.ETag, ModTime: info.ModTime, Type: kind,
		Event: event.Event{
			Stage: event.LoaderSent, Message: "sent the network boot program " + info.Name,
			Attrs: map[string]string{event.AttrFile: info.Name},
		},
	}, nil
}

// asset opens a file of the assets directory. A directory is not a file here: nobody lists one by TFTP.
func (s *Space) asset(name string, mac machine.MAC, fold bool) (*File, error) {
	if s.Assets == nil {
		return nil, fault.New(fault.NotFound, "there is no assets directory")
	}
	open := s.Assets.Open
	if fold {
		open = s.Assets.OpenFold
	}
	body, info, err := open(name)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, fault.New(fault.NotFound, "%s is a directory", name)
	}
	return &File{
		Body: body, Name: info.Name, Size: info.Size, ETag: info.ETag, ModTime: info.ModTime, Type: TypeBinary,
		Event: s.Roles.Event(mac, name),
	}, nil
}

func (s *Space) script(ctx context.Context, ask boot.Ask, t target) (*File, error) {
	var mac machine.MAC
	if t.named {
		mac = t.mac
	}
	text, err := s.Planner.BootScript(ctx, ask, mac)
	if err != nil {
		return nil, fmt.Errorf("writing boot script: %w", err)
	}
	return newText("autoexec.ipxe", text, event.Event{Stage: event.ScriptSent, Message: "sent the first iPXE script, which asks for the plan"}), nil
}

func (s *Space) grub(ctx context.Context, ask boot.Ask, t target) (*File, error) {
	if !t.named {
		// The peer's address could be of another machine by now; GRUB knows its own interface.
		return newText("grub.cfg", []byte(boot.Trampoline), event.Event{Stage: event.ScriptSent, Message: "sent the GRUB config that leads to the machine's own"}), nil
	}
	plan, err := s.Planner.Plan(ctx, ask)
	if err != nil {
		return s.grubFailure(ask, t, err)
	}
	s.Roles.Learn(t.mac, plan)
	return newText("grub.cfg", plan.GRUB(), PlanEvent(plan, "a GRUB config")), nil
}

func (s *Space) configImage(ctx context.Context, ask boot.Ask) (*File, error) {
	image, err := s.Planner.ConfigImage(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("making config image: %w", err)
	}
	file := newText(boot.ConfigImageName, image.Image, image.Event())
	file.Type, file.ETag = TypeBinary, image.Config.ETag()
	return file, nil
}

// grubFailure answers for a plan that could not be made: no match that shall get nothing is not found, everything else is a config
// that asks again.
func (s *Space) grubFailure(ask boot.Ask, t target, err error) (*File, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, err
	}
	hold := &boot.Plan{Do: boot.Hold, BaseURL: ask.BaseURL, Labels: ask.Labels, Reason: "this machine's plan is not ready"}
	return newText("grub.cfg", hold.GRUB(), event.Event{
		Stage: event.Error, Level: event.Alarm, Message: "no plan could be made; GRUB was told to ask again", Error: err.Error(),
	}), nil
}

// PlanEvent returns the event of a plan that was sent as the named kind of script.
func PlanEvent(plan *boot.Plan, kind string) event.Event {
	e := event.Event{Stage: event.ScriptSent, Message: "sent " + kind + ": " + plan.Reason, Attrs: map[string]string{}}
	switch plan.Do {
	case boot.Disk:
		e.Stage = event.ToDisk
	case boot.Hold:
		e.Stage = event.Held
	}
	if plan.Group != nil {
		e.Attrs[event.AttrGroup] = plan.Group.ID
	}
	if plan.Profile != nil {
		e.Attrs[event.AttrProfile] = plan.Profile.ID
	}
	return e
}

// text is a [File]'s body in memory.
type text struct{ *bytes.Reader }

func (text) Close() error { return nil }

func newText(name string, content []byte, e event.Event) *File {
	if e.Attrs == nil {
		e.Attrs = map[string]string{}
	}
	e.Attrs[event.AttrFile] = name
	return &File{Body: text{bytes.NewReader(content)}, Name: name, Size: int64(len(content)), Type: TypeScript, Event: e}
}
