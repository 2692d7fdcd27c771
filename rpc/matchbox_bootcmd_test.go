package rpc_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/matchd/matchd/rpc/matchboxpb"
)

// TestBootcmd plays what matchbox's command line does: it creates from files in matchbox's form, lists and describes. It looks into whatever it gets unasked, and
// asks for nothing else; of Ignition and generic configs there is no list.
func TestBootcmd(t *testing.T) {
	d := matchboxDaemon(t, nil)
	c := newTerraform(t, d) // the same connection
	for _, text := range []string{
		`{"id":"b","name":"B","ignition_id":"b.ign","boot":{"kernel":"/k","initrd":["/i"],"args":["x"]}}`,
		`{"id":"a","cloud_id":"c"}`,
	} {
		var profile matchboxpb.Profile // bootcmd, too, fills the message with encoding/json
		if err := json.Unmarshal([]byte(text), &profile); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Profiles.ProfilePut(t.Context(), &matchboxpb.ProfilePutRequest{Profile: &profile}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Groups.GroupPut(t.Context(), &matchboxpb.GroupPutRequest{Group: &matchboxpb.Group{
		Id: "g", Name: "G", Profile: "b", Selector: map[string]string{"mac": "52:54:00:00:00:01"}, Metadata: []byte("{\"k\": \"v\",\n\t\"n\": [1, 2.5]}"),
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ignition.IgnitionPut(t.Context(), &matchboxpb.IgnitionPutRequest{Name: "b.ign", Config: []byte(`{"ignition":{"version":"3.3.0"}}`)}); err != nil {
		t.Fatal(err)
	}

	var lines []string
	list, err := c.Profiles.ProfileList(t.Context(), &matchboxpb.ProfileListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Profiles {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s", p.Id, p.Name, p.IgnitionId, p.CloudId))
		described, err := c.Profiles.ProfileGet(t.Context(), &matchboxpb.ProfileGetRequest{Id: p.Id})
		if err != nil {
			t.Fatal(err)
		}
		p = described.Profile
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%v\t%v", p.Id, p.Name, p.IgnitionId, p.CloudId, p.Boot.Kernel, p.Boot.Initrd, p.Boot.Args))
	}
	groups, err := c.Groups.GroupList(t.Context(), &matchboxpb.GroupListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%v\t%s\t%s", g.Id, g.Name, g.Selector, g.Profile, g.Metadata))
	}
	want := "a\t\t\tc\na\t\t\tc\t\t[]\t[]\nb\tB\tb.ign\t\nb\tB\tb.ign\t\t/k\t[/i]\t[x]\ng\tG\tmap[mac:52:54:00:00:00:01]\tb\t{\"k\":\"v\",\"n\":[1,2.5]}"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
