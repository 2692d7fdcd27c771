// Package client talks to matchd's API.
//
// [Dial] gives a [Client] with one field per service of matchd.v1. Calls are those of the generated package matchdpb; every error,
// of streams too, is an [*Error] that says of which kind it is, what is wrong with which field, and why a server cannot be reached.
// [All] reads a listing to its end, and [Client.Watch] follows changes without a gap, listing again when it has to.
package client

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd/fault"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// Limits and defaults of a connection.
const (
	// DefaultEndpoint is where matchd listens for the API unless it is told otherwise.
	DefaultEndpoint = "127.0.0.1:8081"
	// DefaultTimeout is the deadline of a unary call whose context has none.
	DefaultTimeout = time.Minute
	// MaxMessage is the largest answer that is taken, bytes: a page of templates is the largest there is.
	MaxMessage = 64 << 20
	// dialTimeout bounds how long one attempt to connect takes.
	dialTimeout = 10 * time.Second
)

// Options say where the server is and who is calling.
type Options struct {
	// Endpoint is a host and a port, without a scheme. Empty: DefaultEndpoint. No port: the default one.
	Endpoint string
	// CA, Cert and Key are names of PEM files, or PEM text itself: the authority that signed the server's certificate, and the
	// client's certificate with its key. Cert and Key are read again for each connection, so that a renewed pair is used.
	CA, Cert, Key string
	// ServerName is the name in the server's certificate. Empty: the endpoint's host.
	ServerName string
	// Timeout is the deadline of unary calls whose context has none. Zero: DefaultTimeout. Negative: none.
	Timeout time.Duration
}

// Client holds one connection and the services that it reaches. It is safe for concurrent use.
type Client struct {
	Machines     matchdpb.MachinesClient
	Groups       matchdpb.GroupsClient
	Profiles     matchdpb.ProfilesClient
	Templates    matchdpb.TemplatesClient
	Reservations matchdpb.ReservationsClient
	Changes      matchdpb.ChangesClient
	Boot         matchdpb.BootClient
	Timelines    matchdpb.TimelinesClient
	Leases       matchdpb.LeasesClient
	Assets       matchdpb.AssetsClient
	Audit        matchdpb.AuditClient
	Status       matchdpb.StatusClient

	conn *grpc.ClientConn
}

// Dial reads the certificates and prepares a client. It calls nobody: whether the server can be reached shows with the first call.
// A file that cannot be read is an error that names it.
func Dial(options Options) (*Client, error) {
	conn, err := dial(options)
	if err != nil {
		return nil, err
	}
	return &Client{
		Machines: matchdpb.NewMachinesClient(conn), Groups: matchdpb.NewGroupsClient(conn), Profiles: matchdpb.NewProfilesClient(conn),
		Templates: matchdpb.NewTemplatesClient(conn), Reservations: matchdpb.NewReservationsClient(conn),
		Changes: matchdpb.NewChangesClient(conn), Boot: matchdpb.NewBootClient(conn), Timelines: matchdpb.NewTimelinesClient(conn),
		Leases: matchdpb.NewLeasesClient(conn), Assets: matchdpb.NewAssetsClient(conn), Audit: matchdpb.NewAuditClient(conn),
		Status: matchdpb.NewStatusClient(conn), conn: conn,
	}, nil
}

// Conn returns the connection, for other generated clients. Its calls have the same deadlines and errors.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }

// dial makes a connection whose calls have a deadline and errors of type *Error.
func dial(options Options) (*grpc.ClientConn, error) {
	if err := CheckEndpoint(options.Endpoint); err != nil {
		return nil, err
	}
	config, err := tlsConfig(options)
	if err != nil {
		return nil, err
	}
	endpoint := address(options.Endpoint)
	link := &link{endpoint: endpoint}
	timeout := options.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	calls := calls{link: link, timeout: timeout}
	return grpc.NewClient("passthrough:///"+endpoint,
		grpc.WithTransportCredentials(&watched{TransportCredentials: credentials.NewTLS(config), link: link}),
		grpc.WithContextDialer(link.dial),
		grpc.WithChainUnaryInterceptor(calls.unary), grpc.WithChainStreamInterceptor(calls.stream),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)))
}

// CheckEndpoint says why an endpoint could not be one: the error, of kind Invalid, that [Dial] would return.
func CheckEndpoint(endpoint string) error {
	if strings.Contains(endpoint, "/") {
		return fault.New(fault.Invalid, "endpoint %q: want HOST:PORT without a scheme or a path", endpoint)
	}
	return nil
}

// address completes an endpoint with host and port.
func address(endpoint string) string {
	if endpoint == "" {
		return DefaultEndpoint
	}
	host, port, _ := net.SplitHostPort(DefaultEndpoint)
	switch given, number, err := net.SplitHostPort(endpoint); {
	case err != nil:
		return net.JoinHostPort(strings.Trim(endpoint, "[]"), port)
	case given == "":
		return net.JoinHostPort(host, number)
	}
	return endpoint
}

// calls adds a deadline to unary calls and translates every error.
type calls struct {
	link    *link
	timeout time.Duration
}

func (c calls) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, has := ctx.Deadline(); !has && c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	return c.link.translate(method, invoke(ctx, method, request, reply, conn, opts...))
}

func (c calls) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	opened, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, c.link.translate(method, err)
	}
	return &stream{ClientStream: opened, link: c.link, method: method}, nil
}

// stream translates the errors of a stream. io.EOF stays what it is.
type stream struct {
	grpc.ClientStream
	link   *link
	method string
}

func (s *stream) SendMsg(m any) error { return s.link.translate(s.method, s.ClientStream.SendMsg(m)) }
func (s *stream) RecvMsg(m any) error { return s.link.translate(s.method, s.ClientStream.RecvMsg(m)) }
func (s *stream) CloseSend() error    { return s.link.translate(s.method, s.ClientStream.CloseSend()) }
