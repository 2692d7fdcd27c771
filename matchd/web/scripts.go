package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/matchd/matchd/matchd/boot"
	"github.com/matchd/matchd/matchd/bootfile"
	"github.com/matchd/matchd/matchd/event"
	"github.com/matchd/matchd/matchd/fault"
)

// root is what matchbox answers to everybody who asks whether it lives.
func (s *Server) root(x *exchange) { x.text(http.StatusOK, typeText, []byte("matchbox\n")) }

// bootScript is the first script of every iPXE. /boot.ipxe.0 is there for dnsmasq, which appends ".0" to a base name without a dot.
func (s *Server) bootScript(x *exchange) {
	script, err := s.o.Planner.BootScript(x.ctx(), x.ask(), "")
	if err != nil {
		x.fail("boot script", err)
		return
	}
	x.text(http.StatusOK, typeText, script)
	x.sent(event.Event{Stage: event.ScriptSent, Message: "sent the first iPXE script, which asks for the plan"}, len(script))
}

func (s *Server) ipxe(x *exchange) { s.plan(x, "iPXE script", (*boot.Plan).IPXE) }
func (s *Server) grub(x *exchange) { s.plan(x, "GRUB config", (*boot.Plan).GRUB) }

func (s *Server) plan(x *exchange, kind string, write func(*boot.Plan) []byte) {
	plan, err := s.o.Planner.Plan(x.ctx(), x.ask())
	if err != nil {
		x.fail(kind, err)
		return
	}
	e := bootfile.PlanEvent(plan, article(kind))
	if plan.Do == boot.Disk && plan.Exit == boot.HTTP404 {
		// For firmware that goes on with its next device only when the script itself cannot be had.
		x.notFound("404 not found: boot from disk\n")
		x.record(e)
		return
	}
	s.o.Roles.Learn(x.mac, plan)
	script := write(plan)
	x.text(http.StatusOK, typeText, script)
	x.sent(e, len(script))
}

func article(kind string) string {
	if strings.HasPrefix(kind, "i") {
		return "an " + kind
	}
	return "a " + kind
}

// ignition sends the config that the machine is given.
func (s *Server) ignition(x *exchange) {
	config, err := s.o.Configurer.Ignition(x.ctx(), x.ask())
	if err != nil {
		x.fail("Ignition config", err)
		return
	}
	x.config(config, typeJSON, "")
}

// config sends a config, whole and never empty: Ignition boots a machine unconfigured on an empty 200. by says for the timeline which way it went.
func (x *exchange) config(config *boot.Config, kind, by string) {
	if len(config.JSON) == 0 {
		x.fail("Ignition config", errors.New("the config is empty"))
		return
	}
	if reads, ok := acceptedSpec(x.r.Header.Values("Accept")); ok && !reads.canRead(config.Version) {
		x.record(event.Event{
			Stage: event.ConfigRefused, Level: event.Alarm,
			Message: fmt.Sprintf("the config is of spec %s, this machine's Ignition reads %s: give its documents (and ignition_version) an older version, or boot a newer image", config.Version, reads),
		})
		x.refuse(http.StatusNotAcceptable, fmt.Sprintf("406 not acceptable: the config is of spec %s, the client reads %s\n", config.Version, reads))
		return
	}
	x.w.Header().Set("ETag", config.ETag())
	x.text(http.StatusOK, kind, config.JSON)
	x.sent(config.Event(by), len(config.JSON))
}

// configImage sends the machine's config as an initrd. Nothing is known of the Ignition that will read it.
func (s *Server) configImage(x *exchange) {
	image, err := s.o.Configurer.ConfigImage(x.ctx(), x.ask())
	if err != nil {
		x.fail("Ignition config", err)
		return
	}
	x.w.Header().Set("ETag", image.ETag())
	x.text(http.StatusOK, bootfile.TypeBinary, image.Image)
	x.sent(image.Event(), len(image.Image))
}

func (s *Server) metadata(x *exchange) {
	lines, err := s.o.Configurer.Metadata(x.ctx(), x.ask())
	if err != nil {
		x.fail("metadata", err)
		return
	}
	x.text(http.StatusOK, typeText, lines)
	x.sent(event.Event{Stage: event.MetadataSent, Message: "sent the metadata"}, len(lines))
}

func (s *Server) generic(x *exchange) {
	content, err := s.o.Configurer.Generic(x.ctx(), x.ask())
	if err != nil {
		x.fail("generic config", err)
		return
	}
	x.template(content, "sent the generic config")
}

func (s *Server) cloud(x *exchange) {
	content, err := s.o.Configurer.Cloud(x.ctx(), x.ask())
	if err != nil {
		x.fail("cloud config", err)
		return
	}
	x.template(content, "sent the cloud config")
}

// spec is a version of the Ignition config specification.
type spec struct{ major, minor int }

func (v spec) String() string { return fmt.Sprintf("%d.%d.0", v.major, v.minor) }

// parseSpec reads "3.4.0" and "3.7.0-experimental".
func parseSpec(s string) (v spec, err error) {
	s, _, _ = strings.Cut(strings.Trim(s, `"`), "-")
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return v, fault.New(fault.Invalid, "%q is no spec version", s)
	}
	if v.major, err = strconv.Atoi(parts[0]); err == nil {
		v.minor, err = strconv.Atoi(parts[1])
	}
	return v, err
}

// canRead reports whether a client of this version reads a config of the given one: Ignition parses every older version of its
// own major. What is not a version is not ours to judge.
func (v spec) canRead(version string) bool {
	config, err := parseSpec(version)
	return err != nil || config.major == v.major && config.minor <= v.minor
}

// acceptedSpec finds the newest version that a client says it reads: "application/vnd.coreos.ignition+json;version=3.4.0, */*;q=0.1"
// (Ignition's internal/resource/url.go). ok is false where the headers do not tell.
func acceptedSpec(accept []string) (newest spec, ok bool) {
	for _, header := range accept {
		for element := range strings.SplitSeq(header, ",") {
			media, rest, _ := strings.Cut(element, ";")
			if !strings.EqualFold(strings.TrimSpace(media), typeIgnition) {
				continue
			}
			for parameter := range strings.SplitSeq(rest, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				if !strings.EqualFold(name, "version") {
					continue
				}
				if v, err := parseSpec(strings.TrimSpace(value)); err == nil && (!ok || v.major > newest.major || v.major == newest.major && v.minor > newest.minor) {
					newest, ok = v, true
				}
			}
		}
	}
	return newest, ok
}
