package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// agentCases do things to the agents, one cluster beside the other.
func (s *stage) agentCases(t *testing.T) {
	for kind, c := range s.clusters {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			t.Run("killed while things change", func(t *testing.T) { testKilledInChurn(t, s, c) })
			t.Run("two agents for one cluster", func(t *testing.T) { testTwoAgents(t, s, c) })
		})
	}
}

// testKilledInChurn kills the agent and starts it again while ten services change
// all the time: no ghost, no gap, and exactly one new epoch.
func testKilledInChurn(t *testing.T, s *stage, c *staged) {
	const services = 10
	name := func(n int) string { return fmt.Sprintf("churn-%s-%d", c.kind, n) }
	last := make([]*instance, services) // nil: gone
	for n := range services {
		s.freely(c, name(n))
		last[n] = &instance{id: name(n), address: "10.9.0.1", port: 80, version: "0"}
		c.put(t, name(n), *last[n])
	}
	for n := range services {
		s.look(t, c, name(n), state{1, 1})
	}
	before := s.synced(t, c.name, 0)
	takeovers := epochs(s.tape.all(), c.name)
	changes := services
	churn := func(until func() bool) {
		for !until() && pause(t.Context(), 30*time.Millisecond) {
			n := rand.IntN(services)
			changes++
			if last[n] != nil && rand.IntN(3) == 0 {
				last[n] = nil
				c.put(t, name(n))
				continue
			}
			last[n] = &instance{id: name(n), address: "10.9.0.1", port: 80, version: fmt.Sprint(changes)}
			c.put(t, name(n), *last[n])
		}
	}
	within := func(d time.Duration) func() bool {
		end := time.Now().Add(d)
		return func() bool { return time.Now().After(end) }
	}
	churn(within(time.Second))
	c.agent.kill()
	churn(within(time.Second))
	c.agent.start(t)
	late := within(time.Minute)
	churn(func() bool {
		now, err := s.cluster(c.name)
		return late() || err == nil && now.Epoch > before.Epoch && now.Phase == string(registry.PhaseSynced)
	})
	churn(within(time.Second))

	s.synced(t, c.name, before.Epoch)
	said := 0
	for n := range services {
		want := state{0, 0}
		if last[n] != nil {
			want = state{1, 1}
			s.text(t, name(n)+".svc.mesh.internal.", "versions="+last[n].version, "total=1")
		}
		s.look(t, c, name(n), want)
		said += len(s.tape.said(c.name, name(n)))
	}
	t.Logf("%s: %d changes, %d events", c.kind, changes, said)
	if said > 2*changes { // Nacos: an instance that comes and goes may be two
		t.Errorf("%d changes gave %d events", changes, said)
	}
	if n := epochs(s.tape.all(), c.name); n != takeovers+1 {
		t.Errorf("%d epochs after the kill, want one more than %d", n, takeovers)
	}
}

// testTwoAgents starts a second agent for the cluster, then freezes the leader for
// longer than its lease, as a paused machine would be, and lets it go on.
func testTwoAgents(t *testing.T, s *stage, c *staged) {
	service := "fought-" + c.kind
	one := instance{id: service, address: "10.9.1.1", port: 80, version: "1"}
	id := s.id(c, one)
	put := func(version string) {
		t.Helper()
		one.version = version
		c.put(t, service, one)
	}
	put("1")
	s.expect(t, c, service, state{1, 1}, "+"+id+" 1/1")
	before := s.synced(t, c.name, 0)
	takeovers := epochs(s.tape.all(), c.name)
	config, http := s.agentConfig(t, c.name+"-second.yaml", c.name, c.gateway, c.source)
	second := startDaemon(t, "edge-sync", config)
	second.http = http
	hasRole := func(d *daemon, role string) {
		t.Helper()
		s.eventually(t, 40*time.Second, "an agent is "+role, func() error {
			status, err := d.status()
			if err == nil && (status.Role != role || !status.Registry.Known) {
				err = fmt.Errorf("%+v", status)
			}
			return err
		})
	}
	hasRole(second, "standby")
	put("2") // both see it, one says it
	s.expect(t, c, service, state{1, 1}, "~"+id+" version 1/1")
	if n := epochs(s.tape.all(), c.name); n != takeovers {
		t.Errorf("a second agent began %d epochs", n-takeovers)
	}

	leader := c.agent
	if err := leader.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = leader.command.Process.Signal(syscall.SIGCONT) }
	defer resume()
	put("3") // waits in the frozen leader's sockets
	after := s.synced(t, c.name, before.Epoch)
	s.expect(t, c, service, state{1, 1}, "~"+id+" version 1/1")
	put("4")
	s.expect(t, c, service, state{1, 1}, "~"+id+" version 1/1")
	resume()
	hasRole(leader, "standby")
	s.nothing(t, c, service, state{1, 1})
	put("5")
	s.expect(t, c, service, state{1, 1}, "~"+id+" version 1/1")
	s.text(t, service+".svc.mesh.internal.", "versions=5")

	all := s.tape.all()
	if n := epochs(all, c.name); n != takeovers+1 {
		t.Errorf("the two agents began %d epochs, want 1", n-takeovers)
	}
	began := slices.IndexFunc(all, func(m registry.Message) bool {
		return m.Fact.Writer == registry.Writer(c.name) && m.Epoch == after.Epoch
	})
	for _, m := range all[began:] {
		if m.Fact.Writer == registry.Writer(c.name) && m.Epoch != after.Epoch {
			t.Errorf("sequence %d is of epoch %d, after that was over", m.Sequence, m.Epoch)
		}
	}
}
