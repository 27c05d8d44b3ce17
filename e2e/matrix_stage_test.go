package e2e

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"
)

const cobaltGateway = "198.51.100.3"

// openStage starts the servers and daemons of the matrix and registers the
// neighbours.
func openStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{mesh: newMesh(t), clusters: map[string]*staged{}, claimed: map[string][]string{}, free: map[string]bool{}}
	// What the cases of one minute deregister is, together, much of so small a registry:
	// rightly held back, and not what they ask. The brake has tests of its own.
	s.brake = map[string]any{"floor": 1000}
	s.tape = s.record(t)
	s.ports = map[string]map[string]int{"amber": {"http": 8080, "grpc": 50051}, "bronze": {"http": 8080, "grpc": 9090}}
	for _, c := range []*staged{
		{name: "amber", gateway: amberGateway, kind: "consul"},
		{name: "bronze", gateway: bronzeGateway, kind: "nacos"},
		{name: "cobalt", gateway: cobaltGateway, kind: "file"},
	} {
		c.registry = registries[c.kind](t)
		c.source = c.registry.source()
		switch r := c.registry.(type) {
		case *consulRegistry:
			var address string
			c.door, address = newDoor(t, portOf(t, r.server.HTTP))
			c.source = map[string]any{"consul": map[string]any{"address": "http://" + address}}
		case *nacosRegistry:
			var address string
			c.door, address = newDoor(t, r.server.Port, 1000) // gRPC listens there
			c.source["nacos"].(map[string]any)["servers"] = []string{address}
		}
		for n, service := range neighbours {
			c.put(t, service, instance{id: service, address: "10.7.0.1", port: 7000 + n, version: "1.0.0"})
		}
		// So many more that no case takes away a large part of the registry, unless that is its point.
		for n := range 12 {
			service := "crowd-" + strconv.Itoa(n)
			one := instance{id: service, address: "10.7.0.2", port: 7100 + n}
			c.put(t, service, one)
			s.claimed[c.name+"/"+service] = []string{"+" + s.id(c, one) + " 1/1"}
		}
		c.agent = s.agent(t, c.name, c.gateway, c.source)
		s.clusters[c.kind] = c
	}
	return s
}

// id is what [short] makes of an instance's id.
func (s *stage) id(c *staged, i instance) string { return eventID(c.kind, i) }

func eventID(kind string, i instance) string {
	if kind == "nacos" {
		return i.address + ":" + strconv.Itoa(i.port)
	}
	return i.id
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestMatrix plays every change that real registries make on one stage. Cases that
// touch only their own services play together; then come those that take something
// away from all, and in the end the whole history is held to what was expected.
func TestMatrix(t *testing.T) {
	t.Parallel() // without waiting for a place: nothing takes longer
	s := openStage(t)
	stop := s.guard(t, slices.Collect(maps.Values(s.clusters))...)
	defer stop()
	began := time.Now()
	t.Run("changes", func(t *testing.T) {
		s.consulCases(t)
		s.nacosCases(t)
		s.commonCases(t)
		s.hostileCases(t)
		s.joinedCases(t)
	})
	t.Logf("the changes took %v", time.Since(began).Round(time.Second))
	t.Run("outages", func(t *testing.T) {
		s.outageCases(t)
	})
	t.Run("agents", s.agentCases)
	t.Run("NATS away for 30 s", func(t *testing.T) { testNATSAway(t, s) })
	t.Logf("all took %v", time.Since(began).Round(time.Second))
	stop()
	s.finish(t)
}
