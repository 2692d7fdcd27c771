package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/lease"
)

// Attributes of events that only this package writes.
const (
	// AttrInterface is the interface that a packet arrived at, AttrRelay the relay that it came by.
	AttrInterface = "interface"
	AttrRelay     = "relay"

	attrArch     = "arch"
	attrFirmware = "firmware_client"
	attrLoader   = "loader"
	attrNIC      = "nic"
	attrVersion  = "ipxe_version"
)

// linesPerSecond bounds the log of each kind of trouble: a whole rack may meet it at once, and anybody can make up packets. Timeline and
// metrics have everything.
const linesPerSecond = 50

// limiter lets some lines through in each second.
type limiter struct {
	mu     sync.Mutex
	second int64
	lines  int
}

func (l *limiter) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second, l.lines = second, 0
	}
	l.lines++
	return l.lines <= linesPerSecond
}

func (x *exchange) record(e event.Event) {
	e.MAC, e.UUID = x.q.Boot.Machine.MAC, x.q.Boot.Machine.UUID
	if e.Peer == "" && x.via.Source.Addr().IsValid() {
		e.Peer = x.via.Source.Addr().String()
	}
	x.recorder.Record(e)
}

// seen starts the timeline of a boot.
func (x *exchange) seen(ctx context.Context) {
	x.observe(x.q.Client)
	attrs := map[string]string{attrFirmware: x.q.client(), AttrInterface: x.via.Link.Name}
	if arch := x.q.archText(); arch != "" {
		attrs[attrArch] = arch
	}
	if x.q.Relay.IsValid() {
		attrs[AttrRelay] = x.q.Relay.String()
	}
	ipxe := readFeatures(x.q.Packet.Options[175])
	for key, value := range map[string]string{attrNIC: ipxe.nic(), attrVersion: ipxe.version()} {
		if value != "" {
			attrs[key] = value
		}
	}
	e := event.Event{Stage: event.Seen, Message: "asks to boot as " + x.q.client(), Attrs: attrs}
	if arch := attrs[attrArch]; arch != "" {
		e.Message += ", architecture " + arch
	}
	if len(x.q.Odd) > 0 {
		e.Level, e.Error = event.Warn, strings.Join(x.q.Odd, "; ")
		x.log.LogAttrs(ctx, slog.LevelWarn, "odd dhcp packet", slog.String("mac", x.q.Boot.Machine.MAC.String()),
			slog.String("what", e.Error))
	}
	x.record(e)
}

// client names the asking program for people.
func (q *Query) client() string {
	switch {
	case q.Boot.IPXE && q.Boot.Capable:
		return "iPXE"
	case q.Boot.IPXE:
		return "iPXE without HTTP or Linux support"
	case q.Boot.HTTPBoot:
		return "UEFI HTTP Boot"
	case q.fromUBoot():
		return "U-Boot"
	}
	return "PXE firmware"
}

func (q *Query) archText() string {
	names := make([]string, len(q.Boot.Arches))
	for i, arch := range q.Boot.Arches {
		names[i] = arch.String()
	}
	return strings.Join(names, ", ")
}

// unfit returns why a decision cannot be put into a packet for this client; empty if it can.
func (x *exchange) unfit(d *boot.Decision) string {
	if d.Action != boot.Load && d.Action != boot.Script {
		return ""
	}
	file := bootFile(x.q, d, x.scope.server.String())
	isURL := strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://")
	switch {
	case file == "":
		return "no boot file was named"
	case len(file) >= maxOption:
		return fmt.Sprintf("the boot file's name has %d bytes, option 67 holds %d", len(file), maxOption-1)
	case x.q.Boot.HTTPBoot && !isURL:
		return fmt.Sprintf("UEFI HTTP Boot needs a URL, not %q", file)
	}
	return ""
}

func (x *exchange) offered(d *boot.Decision, grant *lease.Grant, style Style) {
	attrs := map[string]string{event.AttrFile: d.File}
	for key, value := range map[string]string{attrLoader: d.Loader, event.AttrGroup: d.Group, event.AttrProfile: d.Profile} {
		if value != "" {
			attrs[key] = value
		}
	}
	if grant != nil {
		attrs[event.AttrAddress] = grant.Lease.Address.String()
	}
	message := d.Reason
	switch {
	case style == Pointer:
		message = "sent to port 4011: " + message
	case x.via.BootPort:
		message = "on port 4011: " + message
	}
	x.record(event.Event{Stage: event.Offered, Message: message, Attrs: attrs})
}

// refused is loud, because somebody has a machine that cannot boot here.
func (x *exchange) refused(ctx context.Context, d *boot.Decision) {
	x.record(event.Event{
		Stage: event.Refused, Level: event.Warn, Message: d.Reason,
		Attrs: map[string]string{attrArch: x.q.archText(), attrFirmware: x.q.client()},
	})
	if !x.refusals.allow(time.Now()) {
		return
	}
	x.log.LogAttrs(ctx, slog.LevelWarn, "boot refused", slog.String("mac", x.q.Boot.Machine.MAC.String()),
		slog.String("arch", x.q.archText()), slog.String("client", x.q.client()), slog.String("reason", d.Reason))
}

// failed is our own failure: the client hears nothing and will ask again.
func (x *exchange) failed(ctx context.Context, what string, err error) {
	x.record(event.Event{Stage: event.Error, Level: event.Alarm, Message: what, Error: err.Error()})
	if !x.failures.allow(time.Now()) {
		return
	}
	x.log.LogAttrs(ctx, slog.LevelError, what, slog.String("mac", x.q.Boot.Machine.MAC.String()),
		slog.String("interface", x.via.Link.Name), slog.Any("error", err))
}

func (x *exchange) debug(ctx context.Context, what, how string) {
	if !x.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	x.log.LogAttrs(ctx, slog.LevelDebug, what, slog.String("how", how), slog.String("type", x.q.Type.String()),
		slog.String("mac", x.q.Boot.Machine.MAC.String()), slog.String("interface", x.via.Link.Name), slog.Any("source", x.via.Source))
}
