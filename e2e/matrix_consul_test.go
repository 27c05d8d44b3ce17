package e2e

import (
	"testing"

	"github.com/hashicorp/consul/api"
)

// consulNode is a node of its own in Consul's catalog for one case, so that what
// happens to a node happens to no other case.
type consulNode struct {
	client *api.Client
	name   string
}

func (s *stage) consulNode(name string) consulNode {
	r, _ := s.clusters["consul"].registry.(*consulRegistry)
	return consulNode{client: r.client, name: name}
}

// put registers a service with one check, as one change.
func (n consulNode) put(t *testing.T, service *api.AgentService, status string) {
	t.Helper()
	n.register(t, service, &api.AgentCheck{Node: n.name, CheckID: "check:" + service.ID, Name: "check", Status: status, ServiceID: service.ID})
}

func (n consulNode) register(t *testing.T, service *api.AgentService, check *api.AgentCheck) {
	t.Helper()
	_, err := n.client.Catalog().Register(&api.CatalogRegistration{Node: n.name, Address: "10.2.0.1", Service: service, Check: check}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// check sets a check of a service, or of the whole node when serviceID is empty.
func (n consulNode) check(t *testing.T, id, serviceID, status, output string) {
	t.Helper()
	n.register(t, nil, &api.AgentCheck{Node: n.name, CheckID: id, Name: "check", Status: status, ServiceID: serviceID, Output: output})
}

func (n consulNode) deregister(t *testing.T, what api.CatalogDeregistration) {
	t.Helper()
	what.Node = n.name
	if _, err := n.client.Catalog().Deregister(&what, nil); err != nil {
		t.Fatal(err)
	}
}

func consulService(id, service string) *api.AgentService {
	return &api.AgentService{ID: id, Service: service, Address: "10.2.0.9", Port: 80}
}

// consulCases are the changes that only Consul makes.
func (s *stage) consulCases(t *testing.T) {
	for name, run := range map[string]func(*testing.T, *stage, *staged){
		"states of a service's checks":       testConsulServiceChecks,
		"states of a node's checks":          testConsulNodeChecks,
		"an agent's checks and maintenance":  testConsulAgent,
		"a whole node deregistered":          testConsulNodeGone,
		"weights":                            testConsulWeights,
		"version and metadata":               testConsulMetadata,
		"an id moves to another service":     testConsulIDMoves,
		"deregistered and back within 100ms": testConsulBlink,
	} {
		t.Run("consul/"+name, func(t *testing.T) {
			t.Parallel()
			run(t, s, s.clusters["consul"])
		})
	}
}

func testConsulServiceChecks(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("checks-node")
	n.put(t, consulService("c1", "checks"), api.HealthPassing)
	s.expect(t, c, "checks", state{1, 1}, "+c1 1/1")
	n.put(t, consulService("c2", "checks-beside"), api.HealthPassing)
	s.expect(t, c, "checks-beside", state{1, 1}, "+c2 1/1")
	for _, flip := range []struct {
		to   string
		want state
		says string
	}{
		{api.HealthWarning, state{1, 1}, "~c1 health 1/1"},
		{api.HealthCritical, state{0, 1}, "~c1 health 0/1"},
		{api.HealthPassing, state{1, 1}, "~c1 health 1/1"},
		{api.HealthCritical, state{0, 1}, "~c1 health 0/1"},
		{api.HealthWarning, state{1, 1}, "~c1 health 1/1"},
		{api.HealthPassing, state{1, 1}, "~c1 health 1/1"},
	} {
		n.check(t, "check:c1", "c1", flip.to, "")
		s.expect(t, c, "checks", flip.want, flip.says)
	}
	// The worst of several checks counts; one that goes away takes its state with it.
	n.check(t, "second:c1", "c1", api.HealthCritical, "")
	s.expect(t, c, "checks", state{0, 1}, "~c1 health 0/1")
	n.check(t, "check:c1", "c1", api.HealthWarning, "")
	s.nothing(t, c, "checks", state{0, 1})
	n.deregister(t, api.CatalogDeregistration{CheckID: "second:c1"})
	s.expect(t, c, "checks", state{1, 1}, "~c1 health 1/1")
	// What a check prints is no change.
	n.check(t, "check:c1", "c1", api.HealthWarning, "another output")
	s.nothing(t, c, "checks", state{1, 1})
	n.deregister(t, api.CatalogDeregistration{CheckID: "check:c1"}) // no check at all: passing
	s.expect(t, c, "checks", state{1, 1}, "~c1 health 1/1")
	s.expect(t, c, "checks-beside", state{1, 1})
}

func testConsulNodeChecks(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("node-checks-node")
	n.put(t, consulService("c1", "node-checks"), api.HealthPassing)
	n.put(t, consulService("c2", "node-checks-too"), api.HealthWarning)
	s.expect(t, c, "node-checks", state{1, 1}, "+c1 1/1")
	s.expect(t, c, "node-checks-too", state{1, 1}, "+c2 1/1")
	n.check(t, "disk", "", api.HealthCritical, "")
	s.expect(t, c, "node-checks", state{0, 1}, "~c1 health 0/1")
	s.expect(t, c, "node-checks-too", state{0, 1}, "~c2 health 0/1")
	n.check(t, "disk", "", api.HealthWarning, "")
	s.expect(t, c, "node-checks", state{1, 1}, "~c1 health 1/1")
	s.expect(t, c, "node-checks-too", state{1, 1}, "~c2 health 1/1")
	n.check(t, "disk", "", api.HealthPassing, "") // the second service's own check still warns
	s.expect(t, c, "node-checks", state{1, 1}, "~c1 health 1/1")
	s.nothing(t, c, "node-checks-too", state{1, 1})
}

// testConsulAgent alone uses the node of the server's own agent.
func testConsulAgent(t *testing.T, s *stage, c *staged) {
	testConsulAgentChecks(t, s, c)
	testConsulMaintenance(t, s, c)
}

// testConsulMaintenance registers with a real Consul agent (that of the server) and
// switches maintenance on and off as an operator does.
func testConsulMaintenance(t *testing.T, s *stage, c *staged) {
	agent := s.consulNode("").client.Agent()
	for _, r := range []api.AgentServiceRegistration{
		{ID: "m1", Name: "maintained", Address: "10.2.0.9", Port: 80},
		{ID: "m2", Name: "maintained", Address: "10.2.0.10", Port: 80},
		{ID: "m3", Name: "maintained-too", Address: "10.2.0.11", Port: 80},
	} {
		if err := agent.ServiceRegister(&r); err != nil {
			t.Fatal(err)
		}
		switch r.ID {
		case "m1":
			s.expect(t, c, "maintained", state{1, 1}, "+m1 1/1")
		case "m2":
			s.expect(t, c, "maintained", state{2, 2}, "+m2 2/2")
		case "m3":
			s.expect(t, c, "maintained-too", state{1, 1}, "+m3 1/1")
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(agent.EnableServiceMaintenance("m1", "new disk"))
	s.expect(t, c, "maintained", state{1, 2}, "~m1 health 1/2")
	must(agent.EnableNodeMaintenance("new kernel"))
	s.expect(t, c, "maintained", state{0, 2}, "~m2 health 0/2")
	s.expect(t, c, "maintained-too", state{0, 1}, "~m3 health 0/1")
	must(agent.DisableServiceMaintenance("m1")) // its node is still in maintenance
	s.nothing(t, c, "maintained", state{0, 2})
	must(agent.DisableNodeMaintenance())
	s.expect(t, c, "maintained", state{2, 2}, "~m1 health ~m2 health 2/2")
	s.expect(t, c, "maintained-too", state{1, 1}, "~m3 health 1/1")
	must(agent.ServiceDeregister("m1"))
	s.expect(t, c, "maintained", state{1, 1}, "-m1 1/1")
}

// testConsulAgentChecks has a real Consul agent run a TTL check through all its
// states, which the agent then tells the catalog.
func testConsulAgentChecks(t *testing.T, s *stage, c *staged) {
	agent := s.consulNode("").client.Agent()
	err := agent.ServiceRegister(&api.AgentServiceRegistration{
		ID: "t1", Name: "ttl", Address: "10.2.0.9", Port: 80,
		Check: &api.AgentServiceCheck{CheckID: "ttl:t1", TTL: "1h"}, // critical until it is told otherwise
	})
	if err != nil {
		t.Fatal(err)
	}
	s.expect(t, c, "ttl", state{0, 1}, "+t1 0/1")
	for _, flip := range []struct {
		to   string
		want state
		says []string
	}{
		{api.HealthPassing, state{1, 1}, []string{"~t1 health 1/1"}},
		{api.HealthWarning, state{1, 1}, []string{"~t1 health 1/1"}},
		{api.HealthWarning, state{1, 1}, nil},
		{api.HealthCritical, state{0, 1}, []string{"~t1 health 0/1"}},
		{api.HealthWarning, state{1, 1}, []string{"~t1 health 1/1"}},
		{api.HealthPassing, state{1, 1}, []string{"~t1 health 1/1"}},
	} {
		if err := agent.UpdateTTL("ttl:t1", "it says so", flip.to); err != nil {
			t.Fatal(err)
		}
		s.expect(t, c, "ttl", flip.want, flip.says...)
	}
	if err := agent.ServiceDeregister("t1"); err != nil {
		t.Fatal(err)
	}
	s.expect(t, c, "ttl", state{0, 0}, "-t1 0/0")
}

func testConsulNodeGone(t *testing.T, s *stage, c *staged) {
	gone, stays := s.consulNode("gone-node"), s.consulNode("gone-node-2")
	gone.put(t, consulService("c1", "gone"), api.HealthPassing)
	gone.put(t, consulService("c2", "gone-too"), api.HealthPassing)
	s.expect(t, c, "gone-too", state{1, 1}, "+c2 1/1")
	s.expect(t, c, "gone", state{1, 1}, "+c1 1/1")
	stays.put(t, consulService("c3", "gone"), api.HealthPassing)
	s.expect(t, c, "gone", state{2, 2}, "+c3 2/2")
	gone.deregister(t, api.CatalogDeregistration{})
	s.expect(t, c, "gone", state{1, 1}, "-c1 1/1")
	s.expect(t, c, "gone-too", state{0, 0}, "-c2 0/0")
	gone.put(t, consulService("c2", "gone-too"), api.HealthPassing)
	s.expect(t, c, "gone-too", state{1, 1}, "+c2 1/1")
	s.expect(t, c, "gone", state{1, 1})
}

func testConsulWeights(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("weights-node")
	weighing := func(passing, warning int, status string) {
		service := consulService("w1", "weights")
		service.Weights = api.AgentWeights{Passing: passing, Warning: warning}
		n.put(t, service, status)
	}
	weight := func(want int) {
		t.Helper()
		s.eventually(t, patienceOfTests, "the weight is shown", func() error {
			shown, err := s.shown("weights", c.name)
			if err == nil && (len(shown.Instances) != 1 || shown.Instances[0].Weight != want) {
				t.Errorf("/v1/services gives %+v, want the weight %d", shown, want)
			}
			return err
		})
	}
	weighing(10, 1, api.HealthPassing)
	s.expect(t, c, "weights", state{1, 1}, "+w1 1/1")
	weight(10)
	weighing(20, 1, api.HealthPassing)
	s.expect(t, c, "weights", state{1, 1}, "~w1 weight 1/1")
	weight(20)
	weighing(20, 5, api.HealthPassing) // the weight while warning is not asked for now
	s.nothing(t, c, "weights", state{1, 1})
	weighing(20, 5, api.HealthWarning)
	s.expect(t, c, "weights", state{1, 1}, "~w1 weight,health 1/1")
	weight(5)
	weighing(20, 0, api.HealthWarning) // takes no traffic while it warns
	s.expect(t, c, "weights", state{0, 1}, "~w1 weight 0/1")
	weighing(20, 0, api.HealthPassing)
	s.expect(t, c, "weights", state{1, 1}, "~w1 weight,health 1/1")
	weight(20)
}

func testConsulMetadata(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("metadata-node")
	put := func(meta map[string]string, tags ...string) {
		service := consulService("v1", "described")
		service.Meta, service.Tags = meta, tags
		n.put(t, service, api.HealthPassing)
	}
	shows := func(version, team string) {
		t.Helper()
		shown, err := s.shown("described", c.name)
		if err != nil || len(shown.Instances) != 1 || shown.Instances[0].Version != version || shown.Instances[0].Meta["team"] != team {
			t.Errorf("/v1/services gives %+v (%v), want version %q and team %q", shown, err, version, team)
		}
	}
	put(map[string]string{"version": "1.0.0"})
	s.expect(t, c, "described", state{1, 1}, "+v1 1/1")
	put(map[string]string{"version": "1.1.0"})
	s.expect(t, c, "described", state{1, 1}, "~v1 version 1/1")
	s.text(t, "described.svc.mesh.internal.", "versions=1.1.0")
	put(map[string]string{"version": "1.1.0", "team": "red"})
	s.expect(t, c, "described", state{1, 1}, "~v1 meta 1/1")
	shows("1.1.0", "red")
	put(map[string]string{"version": "1.2.0", "team": "blue"})
	s.expect(t, c, "described", state{1, 1}, "~v1 version,meta 1/1")
	shows("1.2.0", "blue")
	put(map[string]string{"version": "1.2.0", "team": "blue"}, "a-tag") // tags are not published
	s.nothing(t, c, "described", state{1, 1})
	put(nil, "version=1.3.0")
	s.expect(t, c, "described", state{1, 1}, "~v1 version,meta 1/1")
	shows("1.3.0", "")
	s.text(t, "described.svc.mesh.internal.", "versions=1.3.0")
}

// testConsulIDMoves: Consul does not wake those who watch the old name.
func testConsulIDMoves(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("moves-node")
	n.put(t, consulService("x1", "moves-from"), api.HealthPassing)
	s.expect(t, c, "moves-from", state{1, 1}, "+x1 1/1")
	n.put(t, consulService("x1", "moves-to"), api.HealthPassing)
	s.expect(t, c, "moves-to", state{1, 1}, "+x1 1/1")
	s.expect(t, c, "moves-from", state{0, 0}, "-x1 0/0")
	n.put(t, consulService("x1", "moves-from"), api.HealthPassing)
	s.expect(t, c, "moves-from", state{1, 1}, "+x1 1/1")
	s.expect(t, c, "moves-to", state{0, 0}, "-x1 0/0")
}

// testConsulBlink deregisters the only instance and registers its id with another
// address at once, as a restarting service does: one change, and never a moment
// without an answer.
func testConsulBlink(t *testing.T, s *stage, c *staged) {
	n := s.consulNode("blinks-node")
	service := consulService("b1", "blinks")
	n.put(t, service, api.HealthPassing)
	s.expect(t, c, "blinks", state{1, 1}, "+b1 1/1")
	stop := s.always(t, "blinks.svc.mesh.internal.", c.gateway)
	defer stop()
	for k := range 5 {
		n.deregister(t, api.CatalogDeregistration{ServiceID: "b1"})
		service.Port = 8100 + k
		n.put(t, service, api.HealthPassing)
		s.expect(t, c, "blinks", state{1, 1}, "~b1 port 1/1")
	}
	stop()
}
