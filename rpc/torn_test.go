package rpc_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/matchd/matchd/matchd/auth"
	"github.com/matchd/matchd/matchd/matchdtest"
	"github.com/matchd/matchd/rpc"
	pb "github.com/matchd/matchd/rpc/matchdpb"
)

// daemonClients returns clients of a whole daemon.
func daemonClients(t testing.TB, d *matchdtest.Daemon, config *tls.Config) *clients {
	t.Helper()
	conn, err := grpc.NewClient(d.RPC, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MaxMessage), grpc.MaxCallSendMsgSize(rpc.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return clientsOf(conn)
}

// TestTornReads has writers put the same and other objects again and again while machines fetch their scripts: every answer is one that was true, whole.
func TestTornReads(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{API: true})
	c := daemonClients(t, d, d.ClientTLS(t, auth.Admin))
	const machines = 4
	changes := []*pb.Change{putting(template("host.bu", hostname))}
	mac := func(i int) string { return fmt.Sprintf("52:54:00:00:00:%02x", i) }
	numbered := func(i, n int) []*pb.Change {
		p := profile(fmt.Sprint("p", i))
		p.Boot.Kernel, p.Boot.Args = fmt.Sprintf("/assets/k%d-%d", i, n), []string{fmt.Sprintf("first=%d-%d", i, n), fmt.Sprintf("last=%d-%d", i, n)}
		return []*pb.Change{putting(p), putting(group(fmt.Sprint("m", i), fmt.Sprint("p", i), map[string]string{"mac": mac(i)}))}
	}
	for i := range machines {
		changes = append(changes, numbered(i, 0)...)
	}
	changes = append(changes, putting(profile("everybody")), putting(group("everybody", "everybody", nil)))
	if _, err := c.changes.Apply(t.Context(), &pb.ApplyRequest{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	var reads, writes, wrong atomic.Int64
	var writers, readers sync.WaitGroup
	for w := range 2 {
		c := daemonClients(t, d, d.ClientTLS(t, auth.Operator))
		writers.Go(func() {
			for n := 1; reads.Load() < tornReads; n++ {
				i := (n + w) % machines
				again := numbered(i, n*w) // the first writer puts what is there, the second something else each time
				if _, err := c.changes.Apply(t.Context(), &pb.ApplyRequest{Changes: again}); err != nil {
					t.Error(err)
					return
				}
				if _, err := c.groups.PutGroup(t.Context(), &pb.PutGroupRequest{Group: group(fmt.Sprint("m", i), fmt.Sprint("p", i), map[string]string{"mac": mac(i)})}); err != nil {
					t.Error(err)
					return
				}
				writes.Add(2)
			}
		})
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for r := range 8 {
		readers.Go(func() {
			for reads.Add(1) <= tornReads {
				i := r % machines
				if problem := fetchScript(client, d.Boot+"/ipxe?mac="+mac(i), i); problem != "" {
					if wrong.Add(1) < 5 {
						t.Error(problem)
					}
				}
			}
		})
	}
	readers.Wait()
	writers.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d of %d answers are wrong", wrong.Load(), tornReads)
	}
	t.Logf("%d reads beside %d writes", tornReads, writes.Load())
}

// fetchScript says what is wrong with the script that machine i gets; empty: nothing.
func fetchScript(client *http.Client, url string, i int) string {
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.Status, err)
	}
	text := string(body)
	_, after, found := strings.Cut(text, fmt.Sprintf("/assets/k%d-", i))
	number, _, _ := strings.Cut(after, " ")
	want := fmt.Sprintf("first=%d-%s last=%d-%s", i, number, i, number)
	if !found || !strings.Contains(text, want) {
		return "torn: " + text
	}
	return ""
}

// TestMachinesOfTheAPI: what the API says of a machine holds for its next question, and no longer than it is said.
func TestMachinesOfTheAPI(t *testing.T) {
	d := matchdtest.Start(t, matchdtest.Options{API: true})
	c := daemonClients(t, d, d.ClientTLS(t, auth.Admin))
	client := &http.Client{}
	fetch := func() string {
		response, err := client.Get(d.Boot + "/ipxe?mac=52:54:00:00:00:01")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if _, err := c.changes.Apply(t.Context(), &pb.ApplyRequest{Changes: []*pb.Change{
		putting(template("host.bu", hostname)), putting(profile("db")), putting(group("db", "db", map[string]string{"role": "db"})),
		putting(&pb.Machine{Id: "52:54:00:00:00:01", Labels: map[string]string{"role": "db"}, ExitMethod: "sanboot"}),
	}}); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); !strings.Contains(got, "/assets/db") {
		t.Errorf("its label does not hold: %s", got)
	}
	if _, err := c.machines.PutMachine(t.Context(), &pb.PutMachineRequest{Machine: &pb.Machine{Id: "52:54:00:00:00:01", ExitMethod: "sanboot"}}); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); strings.Contains(got, "/assets/db") || !strings.Contains(got, "sanboot") {
		t.Errorf("without its label: %s", got)
	}
	if _, err := c.machines.DeleteMachine(t.Context(), &pb.DeleteMachineRequest{Id: "52:54:00:00:00:01"}); err != nil {
		t.Fatal(err)
	}
	if got := fetch(); strings.Contains(got, "sanboot") {
		t.Errorf("after it was deleted: %s", got)
	}
}
