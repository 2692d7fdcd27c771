package rpc

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/matchd/firmware"
	"github.com/matchd/matchd/matchd/machine"
	"github.com/matchd/matchd/rpc/matchdpb"
)

const (
	// maxSimulations is how many boots are played at the same time.
	maxSimulations = 4
	// maxContent bounds the text of one step, bytes; what is longer is cut.
	maxContent = 1 << 20
	// maxFact bounds a fact, bytes: SMBIOS strings have at most 64 where anybody followed the specification.
	maxFact = 256
)

// Simulator plays a machine's boot against what is served now. It touches no network, lease or timeline.
type Simulator interface {
	// Simulate tells emit each step as it happens, one at a time. It ends with ctx.
	Simulate(ctx context.Context, m firmware.Machine, emit func(firmware.Step)) Outcome
}

// Outcome is how a simulated boot ended.
type Outcome struct {
	WouldBoot bool   // what it should
	Text      string // "would boot …", or the reason why not
}

// firmwares are the kinds that a request can name, by what matchctl calls them.
var firmwares = map[string]firmware.Kind{
	"": firmware.OVMF, "bios": firmware.BIOS, "ovmf": firmware.OVMF, "ovmf-http": firmware.OVMFHTTP, "ipxe": firmware.IPXEROM, "arm64": firmware.AAVMF,
}

// facts are the SMBIOS facts that a request can give, by the names of iPXE's settings.
var facts = []string{"asset", "manufacturer", "product", "serial", "uuid"}

// Simulate implements matchdpb.BootServer.
func (s *bootService) Simulate(request *matchdpb.SimulateRequest, stream grpc.ServerStreamingServer[matchdpb.SimulateResponse]) error {
	if s.simulator == nil {
		return status.Error(codes.Unimplemented, "this server plays no boots")
	}
	m, err := s.pretended(stream.Context(), request)
	if err != nil {
		return err
	}
	select {
	case s.playing <- struct{}{}:
		defer func() { <-s.playing }()
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	return guarded(stream, s.sendTime, func(send func(*matchdpb.SimulateResponse) error) error {
		return s.play(stream.Context(), m, send)
	})
}

func (s *bootService) play(ctx context.Context, m firmware.Machine, send func(*matchdpb.SimulateResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	elapsed := func() int64 { return time.Since(began).Milliseconds() }
	var failed error
	outcome := s.simulator.Simulate(ctx, m, func(step firmware.Step) {
		if failed != nil {
			return
		}
		failed = send(&matchdpb.SimulateResponse{ElapsedMs: elapsed(), Event: &matchdpb.SimulateResponse_Step{Step: &matchdpb.SimulateStep{
			Actor: step.Actor, Message: clip(conceal(ctx, step.Text), maxMessageText), Bytes: step.Bytes, Content: clip(conceal(ctx, step.Content), maxContent),
		}}})
		if failed != nil {
			cancel()
		}
	})
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return send(&matchdpb.SimulateResponse{ElapsedMs: elapsed(), Event: &matchdpb.SimulateResponse_Outcome{
		Outcome: &matchdpb.SimulateOutcome{WouldBoot: outcome.WouldBoot, Text: clip(conceal(ctx, outcome.Text), maxMessageText)},
	}})
}

// pretended is the machine of a request: what is known of it, with what the request says laid over.
func (s *bootService) pretended(ctx context.Context, request *matchdpb.SimulateRequest) (firmware.Machine, error) {
	kind, known := firmwares[request.GetFirmware()]
	if !known {
		return firmware.Machine{}, fault.New(fault.Invalid, "firmware: %.40q is none of bios, ovmf, ovmf-http, ipxe, arm64", request.GetFirmware())
	}
	mac, err := machine.ParseMAC(request.GetMac())
	if err != nil {
		return firmware.Machine{}, fault.New(fault.Invalid, "mac: %w", err)
	}
	if len(mac.HardwareAddr()) != 6 {
		return firmware.Machine{}, fault.New(fault.Invalid, "mac: %v is not of Ethernet, which is all that is played", mac)
	}
	found, _ := s.inspector.Find(mac.String())
	if !sees(ctx, found) {
		return firmware.Machine{}, errUnseen(mac.String())
	}
	labels := map[string]string{
		"uuid": found.UUID, "serial": found.Serial, "manufacturer": found.Manufacturer, "product": found.Product, "asset": found.Asset,
	}
	for _, name := range slices.Sorted(maps.Keys(request.GetFacts())) {
		value := request.GetFacts()[name]
		if !slices.Contains(facts, name) {
			return firmware.Machine{}, fault.New(fault.Invalid, "facts: %.40q is none of asset, manufacturer, product, serial, uuid", name)
		}
		if len(value) > maxFact {
			return firmware.Machine{}, fault.New(fault.Invalid, "facts: %s has %d bytes, at most %d are played", name, len(value), maxFact)
		}
		labels[name] = value
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	m := firmware.Machine{Kind: kind, MAC: mac, UUID: labels["uuid"], Labels: labels}
	return m, nil
}
