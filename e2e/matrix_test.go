package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

const (
	amberGateway  = "198.51.100.1"
	bronzeGateway = "198.51.100.2"
	checkout      = "checkout.svc.mesh.internal."

	patienceOfTests = 20 * time.Second
)

var (
	first  = instance{id: "c1", address: "10.0.0.1", port: 8001, version: "1.0.0"}
	second = instance{id: "c2", address: "10.0.0.2", port: 8002, version: "1.0.0"}
)

// TestRegistries takes each registry through what happens to it, and to what
// stands between it and DNS, on the real daemons and real servers. The steps
// follow each other on one mesh for each registry, while the other registries have
// theirs; the whole history is audited at the end.
func TestRegistries(t *testing.T) {
	t.Parallel()
	for kind, open := range registries {
		t.Run(kind, func(t *testing.T) {
			together(t)
			registry := open(t)
			m := newMesh(t)
			// It would hold back, rightly, that all is removed in the end.
			m.brake = map[string]any{"floor": 1000}
			registry.put(t, "stays", instance{id: "s1", address: "10.0.0.7", port: 7000}) // so that nothing below empties the registry
			registry.put(t, "stays-too", instance{id: "s2", address: "10.0.0.7", port: 7001})
			agent := m.agent(t, "amber", amberGateway, registry.source())
			stays := m.always(t, "stays.svc.mesh.internal.", amberGateway)
			defer stays()
			for _, step := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"register", func(t *testing.T) { testRegister(t, m, registry) }},
				{"health", func(t *testing.T) { testHealth(t, m, registry) }},
				{"metadata", func(t *testing.T) { testMetadata(t, m, registry) }},
				{"deregister", func(t *testing.T) { testDeregister(t, m, registry) }},
				{"hostile neighbours", func(t *testing.T) { testHostile(t, m, registry) }},
				{"agent killed", func(t *testing.T) { testKilled(t, m, registry, agent) }},
				{"agent stopped", func(t *testing.T) { testStopped(t, m, agent) }},
				{"standby", func(t *testing.T) { testStandby(t, m, registry, agent) }},
				{"NATS restarted", func(t *testing.T) { testNATSRestarted(t, m, registry) }},
				{"registry restarted", func(t *testing.T) { testOutage(t, m, kind, registry) }},
			} {
				if !t.Run(step.name, step.run) {
					t.FailNow()
				}
			}
			stays()
			t.Run("emptied for real", func(t *testing.T) { testEmptied(t, m, registry, agent) })
			m.audit(t)
		})
	}
}

func testRegister(t *testing.T, m *mesh, r realRegistry) {
	m.rcode(t, checkout, "NXDOMAIN")
	r.put(t, "checkout", first)
	m.answers(t, checkout, "A", amberGateway)
	m.answers(t, "checkout.default.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, "checkout.default.amber.cluster.mesh.internal.", "A", amberGateway)
	m.answers(t, "_http._tcp."+checkout, "SRV", "0 1 8080 gw-1.amber.gw.mesh.internal.")
	m.text(t, checkout, "cluster=amber", "healthy=1", "total=1")
	r.put(t, "checkout", first, second)
	m.text(t, checkout, "cluster=amber", "healthy=2", "total=2")
}

func testHealth(t *testing.T, m *mesh, r realRegistry) {
	sick := second
	sick.bad = true
	r.put(t, "checkout", first, sick)
	m.text(t, checkout, "healthy=1", "total=2")
	m.answers(t, checkout, "A", amberGateway)
	sickToo := first
	sickToo.bad = true
	r.put(t, "checkout", sickToo, sick)
	if r.hidesAllFailed() {
		m.text(t, checkout, "healthy=1", "total=2") // unknown keeps the health it had
		m.answers(t, checkout, "A", amberGateway)
	} else {
		m.answers(t, checkout, "A") // known, and nobody serves: NODATA
		m.text(t, checkout, "healthy=0", "total=2")
	}
	r.put(t, "checkout", first, second)
	m.answers(t, checkout, "A", amberGateway)
}

func testMetadata(t *testing.T, m *mesh, r realRegistry) {
	newer := second
	newer.version = "1.1.0"
	r.put(t, "checkout", first, newer)
	m.text(t, checkout, "1.1.0", "healthy=2")
}

func testDeregister(t *testing.T, m *mesh, r realRegistry) {
	r.put(t, "checkout")
	m.answers(t, checkout, "A") // NODATA, never NXDOMAIN: the name was registered
	all := m.audit(t)
	published := events(all, "amber", "default", "checkout")
	if last := published[len(published)-1].Service; last.Total != 0 || last.Forgotten {
		t.Errorf("the last event is %+v, want a tombstone", last)
	}
	removed := 0 // by one event or by two, as the registry took them
	for _, e := range published {
		if e.Service.Changes != nil {
			removed += len(e.Service.Changes.Removed)
		}
	}
	if removed != 2 {
		t.Errorf("the history names %d removed instances, want 2", removed)
	}
	r.put(t, "checkout", first)
	m.answers(t, checkout, "A", amberGateway)
}

func testHostile(t *testing.T, m *mesh, r realRegistry) {
	r.hostile(t)
	r.put(t, "beside", instance{id: "b1", address: "10.0.0.4", port: 80})
	m.answers(t, "beside.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, "fat.svc.mesh.internal.", "A", amberGateway) // only its metadata is refused
}

// testKilled kills the agent while the registry changes: nothing is withdrawn
// meanwhile, and afterwards there is no ghost, no gap and one new epoch.
func testKilled(t *testing.T, m *mesh, r realRegistry, agent *daemon) {
	before := m.synced(t, "amber", 0)
	r.put(t, "ghost", instance{id: "g1", address: "10.0.0.5", port: 80})
	m.answers(t, "ghost.svc.mesh.internal.", "A", amberGateway)
	takeovers := epochs(m.history(t), "amber")
	agent.kill()
	r.put(t, "ghost")
	r.put(t, "newcomer", instance{id: "n1", address: "10.0.0.6", port: 80})
	m.answers(t, "ghost.svc.mesh.internal.", "A", amberGateway) // nobody has said otherwise
	agent.start(t)
	m.answers(t, "newcomer.svc.mesh.internal.", "A", amberGateway)
	m.answers(t, "ghost.svc.mesh.internal.", "A")
	m.synced(t, "amber", before.Epoch)
	if n := epochs(m.audit(t), "amber"); n != takeovers+1 {
		t.Errorf("%d takeovers after the kill, want one more than %d", n, takeovers)
	}
}

func testStopped(t *testing.T, m *mesh, agent *daemon) {
	before := m.synced(t, "amber", 0)
	agent.end(syscall.SIGTERM)
	m.eventually(t, 10*time.Second, "the lease says stopped", func() error {
		c, err := m.cluster("amber")
		if err == nil && c.Phase != "stopped" {
			err = fmt.Errorf("phase %s", c.Phase)
		}
		return err
	})
	m.answers(t, checkout, "A", amberGateway)
	began := time.Now()
	agent.start(t)
	m.synced(t, "amber", before.Epoch)
	// After a stop nobody waits for the lease to lapse.
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("after a stop the next agent took %v", took)
	}
}

// testStandby kills the leader and sees the standby take over within the lease.
func testStandby(t *testing.T, m *mesh, r realRegistry, agent *daemon) {
	before := m.synced(t, "amber", 0)
	config, http := m.agentConfig(t, "amber-standby.yaml", "amber", amberGateway, r.source())
	standby := startDaemon(t, "edge-sync", config)
	var status struct {
		Role     string `json:"role"`
		Registry struct {
			Known bool `json:"known"`
		} `json:"registry"`
	}
	m.eventually(t, 20*time.Second, "the standby is warm", func() error {
		err := get("http://"+http+"/v1/status", &status)
		if err == nil && (status.Role != "standby" || !status.Registry.Known) {
			err = fmt.Errorf("%+v", status)
		}
		return err
	})
	agent.kill()
	began := time.Now()
	r.put(t, "handover", instance{id: "h1", address: "10.0.0.8", port: 80})
	m.answers(t, "handover.svc.mesh.internal.", "A", amberGateway)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the standby needed %v; the lease lapses after 10 s", took)
	}
	m.synced(t, "amber", before.Epoch)
	agent.start(t) // it is the standby from here on
	m.eventually(t, 20*time.Second, "the old leader stands by", func() error {
		err := get("http://"+agent.http+"/v1/status", &status)
		if err == nil && status.Role != "standby" {
			err = fmt.Errorf("%+v", status)
		}
		return err
	})
	_ = standby // ends with the test
}

func testNATSRestarted(t *testing.T, m *mesh, r realRegistry) {
	if err := m.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	r.put(t, "meanwhile", instance{id: "m1", address: "10.0.0.9", port: 80})
	m.rcode(t, "meanwhile.svc.mesh.internal.", "NXDOMAIN")
	m.answers(t, checkout, "A", amberGateway)
	if err := m.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.answers(t, "meanwhile.svc.mesh.internal.", "A", amberGateway)
	m.synced(t, "amber", 0)
	m.audit(t)
}

// testEmptied removes all there is: withdrawn, after a second read.
func testEmptied(t *testing.T, m *mesh, r realRegistry, agent *daemon) {
	const held = "seamark_edge_snapshots_held_total"
	before := metricOf(t, agent.http, held, "")
	r.empty(t)
	for _, name := range []string{"checkout", "beside", "fat", "newcomer", "handover", "meanwhile", "stays", "stays-too"} {
		m.answers(t, name+".svc.mesh.internal.", "A")
	}
	if after := metricOf(t, agent.http, held, ""); after <= before {
		t.Errorf("%s is %v, and was %v: nothing waited for a second read", held, after, before)
	}
}
