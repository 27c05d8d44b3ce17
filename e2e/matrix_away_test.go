package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/registry"
)

// longOutage is longer than every patience of the agents: the lease lapses three
// times in it.
const longOutage = 30 * time.Second

// outageCases take each registry away from its agent, all of them at once.
func (s *stage) outageCases(t *testing.T) {
	for kind, c := range s.clusters {
		t.Run(kind+"/registry away for 30 s", func(t *testing.T) {
			t.Parallel()
			testRegistryAway(t, s, c)
		})
	}
}

// shut takes the registry away from the agent; the test can still change it.
func (c *staged) shut(t *testing.T) (open func()) {
	t.Helper()
	f, isFile := c.registry.(*fileRegistry)
	if !isFile {
		c.door.set(true)
		return func() { c.door.set(false) }
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	there := f.path
	f.path = there + ".away"
	if err := os.Rename(there, f.path); err != nil {
		t.Fatal(err)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := os.Rename(f.path, there); err != nil {
			t.Error(err)
		}
		f.path = there
	}
}

// trio are three services that change while something is away: one is changed
// twice, one goes, one comes.
type trio struct {
	changed, gone, come string
	one                 instance
}

func newTrio(t *testing.T, s *stage, c *staged, prefix string) trio {
	t.Helper()
	three := trio{changed: prefix + "-changed-" + c.kind, gone: prefix + "-gone-" + c.kind, come: prefix + "-come-" + c.kind}
	three.one = instance{address: "10.8.0.1", port: 80, version: "1.0.0"}
	for _, service := range []string{three.changed, three.gone} {
		c.put(t, service, three.as(service))
		s.expect(t, c, service, state{1, 1}, "+"+s.id(c, three.as(service))+" 1/1")
	}
	return three
}

// as is the one instance, with an id of the service's own.
func (three trio) as(service string) instance {
	i := three.one
	i.id = service
	return i
}

func (three *trio) change(t *testing.T, c *staged) {
	t.Helper()
	for _, version := range []string{"2.0.0", "3.0.0"} {
		three.one.version = version
		c.put(t, three.changed, three.as(three.changed))
	}
	c.put(t, three.gone)
	c.put(t, three.come, three.as(three.come))
}

// testRegistryAway: nothing is withdrawn, everybody is told why, and what was
// changed meanwhile appears, each thing once.
func testRegistryAway(t *testing.T, s *stage, c *staged) {
	three := newTrio(t, s, c, "away")
	stop := s.always(t, clusterName(three.gone, c.name), c.gateway)
	defer stop()
	before := s.synced(t, c.name, 0)

	open := c.shut(t)
	began := time.Now()
	s.saysWhy(t, c, 0, "")
	t.Logf("%s: it is said %v after the registry went away", c.name, time.Since(began).Round(time.Millisecond))
	three.change(t, c)
	pause(t.Context(), time.Until(began.Add(longOutage)))
	if l := s.tape.lease(t, c.name); l.Phase != registry.PhaseRegistryDown {
		t.Errorf("after %v the lease says %s", longOutage, l.Phase)
	}
	s.look(t, c, three.changed, state{1, 1})
	s.look(t, c, three.gone, state{1, 1})
	s.rcode(t, three.come+".svc.mesh.internal.", "NXDOMAIN")
	stop()

	open()
	back := time.Now()
	id := s.id(c, three.as(three.changed))
	s.expectWithin(t, time.Minute, c, three.changed, "~"+id+" version 1/1")
	t.Logf("%s: what had changed is published %v after the registry came back", c.name, time.Since(back).Round(time.Millisecond))
	s.expect(t, c, three.changed, state{1, 1})
	s.text(t, three.changed+".svc.mesh.internal.", "versions=3.0.0")
	s.expect(t, c, three.gone, state{0, 0}, "-"+s.id(c, three.as(three.gone))+" 0/0")
	s.expect(t, c, three.come, state{1, 1}, "+"+s.id(c, three.as(three.come))+" 1/1")
	if after := s.synced(t, c.name, 0); after.Epoch != before.Epoch {
		t.Errorf("an outage of the registry began epoch %d", after.Epoch)
	}
}

// saysWhy waits until the lease, the agent's status and its log say that the
// registry can't be trusted, and why.
func (s *stage) saysWhy(t *testing.T, c *staged, logged int, why string) {
	t.Helper()
	s.eventually(t, 80*time.Second, "the lease of "+c.name+" says that the registry is down", func() error {
		l := s.tape.lease(t, c.name)
		if l.Phase != registry.PhaseRegistryDown || l.Detail == "" || !strings.Contains(l.Detail, why) {
			return fmt.Errorf("phase %s, %q", l.Phase, l.Detail)
		}
		return nil
	})
	s.eventually(t, patienceOfTests, "the agent's status says it", func() error {
		status, err := c.agent.status()
		if err == nil && (status.Registry.Fault == "" || !strings.Contains(status.Registry.Fault, why)) {
			err = fmt.Errorf("%+v", status)
		}
		return err
	})
	shown, err := s.cluster(c.name)
	if err != nil || shown.Phase != string(registry.PhaseRegistryDown) {
		t.Errorf("/v1/clusters gives %+v (%v)", shown, err)
	}
	text, err := os.ReadFile(c.agent.log())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text[logged:]), "registry can't be read or trusted") {
		t.Errorf("the agent's log does not say it:\n%s", tail(text, 2000))
	}
}

// testNATSAway takes NATS away from everybody. The registries change; nothing is
// withdrawn; afterwards the last state of everything stands.
func testNATSAway(t *testing.T, s *stage) {
	threes := map[string]*trio{}
	var stops []func()
	stop := func() {
		for _, stop := range stops {
			stop()
		}
	}
	defer stop()
	for kind, c := range s.clusters {
		three := newTrio(t, s, c, "cut")
		threes[kind] = &three
		s.freely(c, three.changed) // what was sent once is sent again as it was: one event or two
		stops = append(stops, s.always(t, clusterName(three.gone, c.name), c.gateway))
	}
	takeovers := map[string]int{}
	for _, c := range s.clusters {
		s.synced(t, c.name, 0)
		takeovers[c.name] = epochs(s.tape.all(), c.name)
	}
	if err := s.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for kind, c := range s.clusters {
		threes[kind].change(t, c)
	}
	pause(t.Context(), time.Until(began.Add(longOutage)))
	for kind, c := range s.clusters {
		s.look(t, c, threes[kind].changed, state{1, 1})
		s.look(t, c, threes[kind].gone, state{1, 1})
		s.rcode(t, threes[kind].come+".svc.mesh.internal.", "NXDOMAIN")
	}
	stop()
	if err := s.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for kind, c := range s.clusters {
		three := threes[kind]
		s.expectWithin(t, time.Minute, c, three.come, "+"+s.id(c, three.as(three.come))+" 1/1")
		s.expect(t, c, three.come, state{1, 1})
		s.expect(t, c, three.gone, state{0, 0}, "-"+s.id(c, three.as(three.gone))+" 0/0")
		s.text(t, three.changed+".svc.mesh.internal.", "versions=3.0.0")
		said := s.tape.said(c.name, three.changed)[1:]
		if len(said) == 0 || len(said) > 2 || slices.ContainsFunc(said, func(line string) bool { return line != "~"+s.id(c, three.as(three.changed))+" version 1/1" }) {
			t.Errorf("%s said %q after NATS had come back", three.changed, said)
		}
		s.synced(t, c.name, 0)
		// Nobody else took the lease meanwhile.
		if n := epochs(s.tape.all(), c.name) - takeovers[c.name]; n != 0 {
			t.Errorf("%s began %d epochs after NATS had come back", c.name, n)
		}
	}
	t.Logf("all is as it should be %v after NATS is back", time.Since(back).Round(time.Millisecond))
}
