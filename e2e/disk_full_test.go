package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// TestTheOnlyServersDiskIsFull fills the disk of a single NATS server (R1): answers
// stand, a change waits for room and a restart of the server, and nothing is lost.
func TestTheOnlyServersDiskIsFull(t *testing.T) {
	disk := t.TempDir()
	servers.SmallDisk(t, disk, 64<<10)
	together(t)
	m := &mesh{
		nats: servers.NATS(t, servers.NATSConfig{Config: fmt.Sprintf("jetstream { store_dir: %q }", disk)}),
		dir:  t.TempDir(), agentHTTP: map[string]string{}, environ: []string{"SEAMARK_STREAMS_HISTORY_BYTES=0"},
	}
	m.startGlobalDNS(t, "global-dns.yaml")
	catalog := newFile(t)
	catalog.put(t, "checkout", first)
	m.agent(t, "amber", amberGateway, catalog.source())
	m.answers(t, checkout, "A", amberGateway)
	stop := m.always(t, checkout, amberGateway)
	defer stop()

	ballast, err := fill(disk)
	if err != nil {
		t.Fatal(err)
	}
	catalog.fill(t, "bulk", 40) // more than the last page of a file may have room for
	catalog.put(t, "newcomer", second)
	m.eventually(t, time.Minute, "it shows that the agent can't renew its lease", func() error {
		if age := m.metric(t, "seamark_cluster_lease_age_seconds", "amber"); age < 15 {
			return fmt.Errorf("the lease is %v s old", age)
		}
		return nil
	})
	m.rcode(t, "newcomer.svc.mesh.internal.", "NXDOMAIN")

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := m.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := m.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.answers(t, "newcomer.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, bulk(39), "A", amberGateway)
	t.Logf("all is answered %v after the server was started again", time.Since(began).Round(time.Millisecond))
	m.eventually(t, 20*time.Second, "nothing is stale", func() error {
		if m.metric(t, "seamark_view_cut_off", "") != 0 {
			return fmt.Errorf("it is")
		}
		return nil
	})
	stop()
	m.audit(t)
}
