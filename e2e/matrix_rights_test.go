package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// guardedConsul is a Consul that denies by default, and the token of its agent.
type guardedConsul struct {
	*staged
	client *api.Client
	policy *api.ACLPolicy
}

const (
	readNodes    = `node_prefix "" { policy = "read" }`
	readServices = `service_prefix "" { policy = "read" }`
)

// TestMatrixOfRights takes rights from agents of Consul, on a stage beside that of
// [TestMatrix]. Each has a cluster of its own: an agent may need a minute to see that a
// right is gone.
func TestMatrixOfRights(t *testing.T) {
	t.Parallel() // without waiting for a place: it takes long
	s := &stage{mesh: newMesh(t), clusters: map[string]*staged{}, claimed: map[string][]string{}, free: map[string]bool{}}
	s.brake = map[string]any{"floor": 1000} // as for the other stage
	s.tape = s.record(t)
	t.Run("cases", s.guardedCases)
	s.finish(t)
}

func (s *stage) guardedCases(t *testing.T) {
	for name, lost := range map[string]struct{ cluster, gateway, left, why string }{
		"services": {"dune", "198.51.100.4", readNodes, `service_prefix "" { policy = "read" }`},
		"nodes":    {"ember", "198.51.100.5", readServices, `node_prefix "" { policy = "read" }`},
		"all":      {"flint", "198.51.100.6", "", `service_prefix "" { policy = "read" }`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := openGuarded(t, s, lost.cluster, lost.gateway)
			stop := s.guard(t, g.staged)
			defer stop()
			t.Run("rights lost", func(t *testing.T) { testRightsLost(t, s, g, name, lost.left, lost.why) })
			if name == "services" {
				t.Run("restored from a snapshot", func(t *testing.T) { testRestored(t, s, g) })
			}
		})
	}
}

// openGuarded adds a cluster with ACLs to the stage: what happens to it would take
// the others' registry along.
func openGuarded(t *testing.T, s *stage, cluster, gateway string) *guardedConsul {
	t.Helper()
	server := servers.Consul(t, servers.ConsulConfig{ACLs: true})
	client, err := api.NewClient(&api.Config{Address: server.HTTP, Token: server.Token})
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "seamark", Rules: readNodes + "\n" + readServices}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &guardedConsul{client: client, policy: policy, staged: &staged{name: cluster, gateway: gateway, kind: "consul"}}
	g.registry = &consulRegistry{server: server, client: client, there: map[string]map[string]bool{}}
	for _, service := range neighbours {
		g.put(t, service, instance{id: service, address: "10.7.0.1", port: 7000})
	}
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(token.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	g.agent = s.agent(t, g.name, g.gateway, map[string]any{"consul": map[string]any{"address": server.HTTP, "token_file": secret}})
	return g
}

// may changes the rights of the agent's token.
func (g *guardedConsul) may(t *testing.T, rules string) {
	t.Helper()
	g.policy.Rules = rules
	if _, _, err := g.client.ACL().PolicyUpdate(g.policy, nil); err != nil {
		t.Fatal(err)
	}
}

// testRightsLost takes rights from the agent's token. Consul then shows less
// without an error; nothing is withdrawn, everybody is told which right is missing,
// and with the right back the truth comes.
func testRightsLost(t *testing.T, s *stage, g *guardedConsul, name, left, why string) {
	gone, come := "hidden-"+name, "unseen-"+name
	g.put(t, gone, instance{id: gone, address: "10.8.1.1", port: 80})
	s.expect(t, g.staged, gone, state{1, 1}, "+"+gone+" 1/1")
	stop := s.always(t, clusterName(gone, g.name), g.gateway)
	defer stop()
	text, err := os.ReadFile(g.agent.log())
	if err != nil {
		t.Fatal(err)
	}
	g.may(t, left)
	g.put(t, come, instance{id: come, address: "10.8.1.2", port: 80}) // a reason to look
	s.saysWhy(t, g.staged, len(text), why)
	g.put(t, gone)
	s.look(t, g.staged, gone, state{1, 1})
	s.rcode(t, come+".svc.mesh.internal.", "NXDOMAIN")
	stop()
	g.may(t, readNodes+"\n"+readServices)
	s.synced(t, g.name, 0)
	s.expect(t, g.staged, come, state{1, 1}, "+"+come+" 1/1")
	s.expect(t, g.staged, gone, state{0, 0}, "-"+gone+" 0/0")
}

// testRestored restores Consul from a snapshot: its index goes back, and so does
// the truth, without anything else being said.
func testRestored(t *testing.T, s *stage, g *guardedConsul) {
	one := func(service, version string) instance {
		return instance{id: service, address: "10.8.2.1", port: 80, version: version}
	}
	g.put(t, "rewound", one("rewound", "1.0.0"))
	g.put(t, "came-back", one("came-back", "1.0.0"))
	s.expect(t, g.staged, "rewound", state{1, 1}, "+rewound 1/1")
	s.expect(t, g.staged, "came-back", state{1, 1}, "+came-back 1/1")
	saved, _, err := g.client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	text, err := io.ReadAll(saved)
	if err != nil {
		t.Fatal(err)
	}
	before := s.synced(t, g.name, 0)

	g.put(t, "rewound", one("rewound", "2.0.0"))
	g.put(t, "came-back")
	g.put(t, "too-late", one("too-late", "1.0.0"))
	for n := range 20 { // so that the index goes back by more than a little
		g.put(t, "moved-on", instance{id: "moved-on", address: "10.8.2.2", port: 80 + n})
	}
	s.expect(t, g.staged, "rewound", state{1, 1}, "~rewound version 1/1")
	s.expect(t, g.staged, "came-back", state{0, 0}, "-came-back 0/0")
	s.expect(t, g.staged, "too-late", state{1, 1}, "+too-late 1/1")
	s.freely(g.staged, "moved-on")
	s.look(t, g.staged, "moved-on", state{1, 1})
	high := catalogIndex(t, g.client)

	if err := g.client.Snapshot().Restore(nil, bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if now := catalogIndex(t, g.client); now >= high {
		t.Errorf("the index is %d after the restore and was %d before: this shows nothing", now, high)
	}
	// By its own watch, and not only by the next comparison.
	s.expectWithin(t, 10*time.Second, g.staged, "rewound", "~rewound version 1/1")
	s.expect(t, g.staged, "rewound", state{1, 1})
	s.text(t, "rewound.svc.mesh.internal.", "versions=1.0.0")
	s.expect(t, g.staged, "came-back", state{1, 1}, "+came-back 1/1")
	s.expect(t, g.staged, "too-late", state{0, 0}, "-too-late 0/0")
	s.look(t, g.staged, "moved-on", state{0, 0})
	if after := s.synced(t, g.name, 0); after.Epoch != before.Epoch {
		t.Errorf("a restore began epoch %d", after.Epoch)
	}
	// And the watch is not stuck at the old index.
	g.put(t, "rewound", one("rewound", "3.0.0"))
	s.expect(t, g.staged, "rewound", state{1, 1}, "~rewound version 1/1")
}

func catalogIndex(t *testing.T, client *api.Client) uint64 {
	t.Helper()
	_, meta, err := client.Catalog().Services(nil)
	if err != nil {
		t.Fatal(err)
	}
	return meta.LastIndex
}
