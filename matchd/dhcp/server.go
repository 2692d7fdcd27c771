package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/matchd/matchd/matchd/fault"
)

// Bounds of a [Server].
const (
	// Workers answer packets. There are many more than processors, because a worker waits while its lease is written, and leases
	// that are waited for together are written together.
	Workers = 512
	// QueueLength is how many packets wait for a worker; more are dropped, and their clients ask again. The second half of the queue
	// is for clients that have an offer: finishing what was begun is worth more than beginning.
	QueueLength = 4096
	// ReceiveBuffer is what the kernel is asked to keep per socket, bytes.
	ReceiveBuffer = 4 << 20
	// RefreshInterval is how often the addresses of our interfaces are read anew.
	RefreshInterval = 5 * time.Second
	// maxPanicStack bounds what one bad packet can write into the log, bytes.
	maxPanicStack = 4096
)

// Server answers DHCP on network interfaces.
type Server struct {
	handler    *Handler
	interfaces []Interface
	anyPort    bool
	search     bool
	queue      chan *job
	jobs       sync.Pool
	ready      chan struct{}
	readyOnce  sync.Once

	mu     sync.Mutex
	ports  []*port // bound
	addrs  []netip.AddrPort
	others []Other
}

// job is a packet in the queue.
type job struct {
	port   *port
	via    Arrival
	length int
	buffer [maxPacketSize]byte
}

// New checks the options and opens nothing. What it refuses is an error of kind Invalid.
func New(opts Options) (*Server, error) {
	handler, err := NewHandler(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{
		handler: handler, anyPort: opts.AnyPort, search: !opts.SkipSearch,
		queue: make(chan *job, QueueLength), ready: make(chan struct{}),
	}
	s.jobs.New = func() any { return new(job) }
	for _, iface := range opts.Interfaces {
		switch iface.Mode {
		case "":
			iface.Mode = Proxy
		case Proxy, Serve:
		case Off:
			continue
		default:
			return nil, fault.New(fault.Invalid, "dhcp: interface %s: mode %q is none of proxy, server, off", iface.Name, iface.Mode)
		}
		s.interfaces = append(s.interfaces, iface)
	}
	handler.metrics.watchQueue(opts.Metrics, func() float64 { return float64(len(s.queue)) })
	return s, nil
}

// Handler returns the server's handler, which answers without sockets.
func (s *Server) Handler() *Handler { return s.handler }

// Ready is closed when all sockets are bound.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addrs returns the bound addresses, port 67 before port 4011 for each interface. It is empty before Ready.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.addrs...)
}

// Links returns the interfaces that are answered on, as they are at the moment. It is empty before Ready.
func (s *Server) Links() []*Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var links []*Link
	for _, p := range s.ports {
		if !p.isBoot {
			links = append(links, p.link.Load())
		}
	}
	return links
}

// Others returns the other DHCP servers that answered on interfaces in server mode, as far as the search has come.
func (s *Server) Others() []Other {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Other(nil), s.others...)
}

// Serve binds the sockets and answers until ctx ends. Then it returns nil, after every packet under way is answered. Serve works
// once per Server.
func (s *Server) Serve(ctx context.Context) error {
	ports, err := s.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers, readers, others sync.WaitGroup
	promised := context.WithoutCancel(ctx) // what was read is still answered
	for range Workers {
		workers.Go(func() { s.work(promised) })
	}
	failures := make(chan error, len(ports))
	for _, p := range ports {
		readers.Go(func() { failures <- p.read(s) })
	}
	others.Go(func() { s.refresh(ctx, ports) })
	if s.search {
		others.Go(func() { s.searchOthers(ctx) })
	}
	s.readyOnce.Do(func() { close(s.ready) })

	select {
	case <-ctx.Done():
	case err = <-failures:
	}
	cancel()
	for _, p := range ports {
		p.stopReading()
	}
	readers.Wait()
	close(s.queue)
	workers.Wait()
	others.Wait()
	for _, p := range ports {
		p.close()
	}
	return err
}

// open binds both ports of every interface; on failure none stays open.
func (s *Server) open() ([]*port, error) {
	var ports []*port
	fail := func(err error) ([]*port, error) {
		for _, p := range ports {
			p.close()
		}
		return nil, err
	}
	for _, iface := range s.interfaces {
		link, err := lookup(iface)
		if err != nil {
			return fail(err)
		}
		if len(link.Addrs) == 0 {
			s.handler.log.Warn("interface has no IPv4 address, nothing is answered on it until it has one", "interface", link.Name)
		}
		for _, number := range [...]uint16{ServerPort, BootPort} {
			p, err := s.bind(link, number)
			if err != nil {
				return fail(fmt.Errorf("binding DHCP port %d on %s: %w", number, link.Name, err))
			}
			ports = append(ports, p)
		}
		s.handler.log.Info("answering DHCP", "interface", link.Name, "mode", string(link.Mode), "addresses", fmt.Sprint(link.Addrs))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = ports
	for _, p := range ports {
		s.addrs = append(s.addrs, p.local())
	}
	return ports, nil
}

// enqueue hands a packet to the workers, or drops it when they are too far behind.
func (s *Server) enqueue(j *job) {
	if len(s.queue) >= QueueLength/2 && j.begins() {
		s.handler.metrics.dropped(dropBusy)
		s.jobs.Put(j)
		return
	}
	select {
	case s.queue <- j:
	default:
		s.handler.metrics.dropped(dropQueue)
		s.jobs.Put(j)
	}
}

// begins reports whether the packet is a DISCOVER, as far as that can be told without parsing it: clients send option 53 first.
func (j *job) begins() bool {
	const first = 240 // where options start
	return j.length > first+2 && j.buffer[first] == 53 && j.buffer[first+2] == byte(dhcpv4.MessageTypeDiscover)
}

func (s *Server) work(ctx context.Context) {
	for j := range s.queue {
		s.answer(ctx, j)
		s.jobs.Put(j)
	}
}

// answer handles one packet. Whatever is wrong with it, the next one is answered.
func (s *Server) answer(ctx context.Context, j *job) {
	defer func() {
		if cause := recover(); cause != nil {
			stack := debug.Stack()
			s.handler.metrics.dropped(dropPanic)
			s.handler.log.LogAttrs(ctx, slog.LevelError, "panic while answering a DHCP packet", slog.Any("cause", cause),
				slog.String("stack", string(stack[:min(len(stack), maxPanicStack)])))
		}
	}()
	out, ok := s.handler.Handle(ctx, &j.via, j.buffer[:j.length])
	if !ok {
		return
	}
	if err := j.port.send(&out); err != nil {
		s.handler.metrics.dropped(dropSend)
		s.handler.log.LogAttrs(ctx, slog.LevelWarn, "DHCP reply not sent", slog.String("interface", j.via.Link.Name),
			slog.Any("to", out.To.To), slog.Any("error", err))
	}
}

// refresh follows changes of our own addresses.
func (s *Server) refresh(ctx context.Context, ports []*port) {
	ticker := time.NewTicker(RefreshInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, p := range ports {
			old := p.link.Load()
			link, err := lookup(Interface{Name: old.Name, Mode: old.Mode})
			if err != nil {
				link = &Link{Name: old.Name, Index: old.Index, MTU: old.MTU, Hardware: old.Hardware, Mode: old.Mode}
			}
			if link.Index != old.Index {
				s.handler.log.Error("the interface was removed and made anew, DHCP no longer hears it: restart matchd", "interface", link.Name)
			}
			p.link.Store(link)
		}
	}
}
