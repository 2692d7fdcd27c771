package matchd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/rpc/client"
	"github.com/matchd/matchd/rpc/matchdpb"
)

// TestTheAPITellsWhatMachinesGet compares what Render says with what the machine's own requests are answered.
func TestTheAPITellsWhatMachinesGet(t *testing.T) {
	d := startPlayed(t, nil)
	files := d.NewClient(t, auth.Identity{Name: "viewer", Role: auth.Viewer})
	c, err := client.Dial(client.Options{Endpoint: d.RPC, CA: files.CA, Cert: files.Cert, Key: files.Key})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 1; i <= 10; i++ {
		mac := fmt.Sprintf("52-54-00-00-00-%02d", i)
		got, err := c.Boot.Render(t.Context(), &matchdpb.RenderRequest{Query: &matchdpb.Query{Machine: mac}})
		if err != nil {
			t.Fatal(err)
		}
		explained, err := c.Boot.Explain(t.Context(), &matchdpb.ExplainRequest{Query: &matchdpb.Query{Machine: mac}})
		if err != nil || explained.GetGroup() != got.GetGroup() {
			t.Errorf("%s: explained as %q, rendered as %q, %v", mac, explained.GetGroup(), got.GetGroup(), err)
		}
		if _, script := d.Get(t, "/ipxe?mac="+mac); script != got.GetScript() {
			t.Errorf("%s: the machine gets the script\n%s\nthe API says\n%s", mac, script, got.GetScript())
		}
		status, config := d.Get(t, "/ignition?mac="+mac)
		switch {
		case got.GetProfile() == "pointer": // the API shows what it leads to
			if !strings.Contains(config, "Authorization") || !strings.Contains(string(got.GetIgnition()), "/etc/hostname") {
				t.Errorf("%s: %s\n%s", mac, config, got.GetIgnition())
			}
		case status == 200 && config != string(got.GetIgnition()):
			t.Errorf("%s: the machine gets the config\n%s\nthe API says\n%s", mac, config, got.GetIgnition())
		case status != 200 && len(got.GetIgnition()) > 0:
			t.Errorf("%s: the machine gets %d, the API says\n%s", mac, status, got.GetIgnition())
		}
		if _, metadata := d.Get(t, "/metadata?mac="+mac); got.GetGroup() != "" && metadata != got.GetMetadata() {
			t.Errorf("%s: the machine gets the metadata\n%s\nthe API says\n%s", mac, metadata, got.GetMetadata())
		}
	}
}
