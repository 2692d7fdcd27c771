package boot

import (
	"net/netip"

	"github.com/matchd/matchd/groups"
)

// Ask is a machine's question by HTTP or TFTP.
type Ask struct {
	Labels   groups.Labels  // of the query, normalised by groups.LabelsFromQuery
	RawQuery string         // as sent; templates see it as .request.raw_query
	BaseURL  string         // "http://10.0.0.1:8080" without a slash at the end: how this machine reaches us
	Peer     netip.AddrPort // where the question came from
}
