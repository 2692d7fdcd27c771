package client

import (
	"google.golang.org/grpc"

	"github.com/matchd/matchd/rpc/matchboxpb"
)

// Matchbox holds a connection to matchbox's API, be it matchbox itself that answers or matchd.
type Matchbox struct {
	Groups   matchboxpb.GroupsClient
	Profiles matchboxpb.ProfilesClient
	Ignition matchboxpb.IgnitionClient
	Generic  matchboxpb.GenericClient
	Select   matchboxpb.SelectClient

	conn *grpc.ClientConn
}

// DialMatchbox is [Dial] for matchbox's services.
func DialMatchbox(options Options) (*Matchbox, error) {
	conn, err := dial(options)
	if err != nil {
		return nil, err
	}
	return &Matchbox{
		Groups: matchboxpb.NewGroupsClient(conn), Profiles: matchboxpb.NewProfilesClient(conn), Ignition: matchboxpb.NewIgnitionClient(conn),
		Generic: matchboxpb.NewGenericClient(conn), Select: matchboxpb.NewSelectClient(conn), conn: conn,
	}, nil
}

// Close ends the connection.
func (m *Matchbox) Close() error { return m.conn.Close() }
