package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/dnsserver/ask"
	"github.com/seamark-mesh/seamark/registry"
)

// stage is one mesh on which all cases of the matrix play: a cluster of each kind
// of registry, the whole stream on tape, and services that nobody touches, which
// must be answered all the time.
type stage struct {
	*mesh
	tape     *tape
	clusters map[string]*staged // by kind of registry

	mu      sync.Mutex          // guards what follows
	claimed map[string][]string // cluster/service → what its case expects to be published
	free    map[string]bool     // cluster/service: its case judges by itself
}

// staged is one cluster on the stage.
type staged struct {
	name     string
	gateway  string
	kind     string
	source   map[string]any // of the agent's configuration
	door     *door          // between the agent and the registry; nil for a file
	agent    *daemon
	registry realRegistry

	mu sync.Mutex // guards registry, whose put keeps a record of what is there
}

// put changes the registry as [realRegistry] says. Several cases may call it at once.
func (c *staged) put(t *testing.T, service string, instances ...instance) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registry.put(t, service, instances...)
}

func clusterName(service, cluster string) string {
	return service + ".default." + cluster + ".cluster.mesh.internal."
}

// state is what must be seen of a service of one cluster, in DNS and over HTTP.
type state struct{ healthy, total int }

func (s state) reason() string {
	switch {
	case s.total == 0:
		return registry.ReasonTombstone
	case s.healthy == 0:
		return registry.ReasonNotServing
	}
	return registry.ReasonServing
}

// expect waits until exactly these events were published about a service since the
// last call, and DNS and the HTTP interface say what they must then.
func (s *stage) expect(t *testing.T, c *staged, service string, want state, published ...string) {
	t.Helper()
	s.expectWithin(t, patienceOfTests, c, service, published...)
	s.look(t, c, service, want)
}

func (s *stage) expectWithin(t *testing.T, within time.Duration, c *staged, service string, published ...string) {
	t.Helper()
	key := c.name + "/" + service
	s.mu.Lock()
	s.claimed[key] = append(s.claimed[key], published...)
	all := slices.Clone(s.claimed[key])
	s.mu.Unlock()
	s.eventually(t, within, fmt.Sprintf("%s publishes %q", key, published), func() error {
		if said := s.tape.said(c.name, service); !slices.Equal(said, all) {
			return fmt.Errorf("all events are %q, want %q", said, all)
		}
		return nil
	})
}

// freely takes a service out of the exact count: its case judges by itself.
func (s *stage) freely(c *staged, service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free[c.name+"/"+service] = true
}

// following is expect for a service whose events are exact only from now on, when it
// has this state. The tape may be behind what is answered.
func (s *stage) following(t *testing.T, c *staged, service string, now state) func(t *testing.T, want state, published ...string) {
	t.Helper()
	before := 0
	s.eventually(t, patienceOfTests, "the tape has all of "+service, func() error {
		said := s.tape.said(c.name, service)
		before = len(said)
		if last := fmt.Sprintf(" %d/%d", now.healthy, now.total); before == 0 || !strings.HasSuffix(said[before-1], last) {
			return fmt.Errorf("it has %q", said)
		}
		return nil
	})
	var all []string
	return func(t *testing.T, want state, published ...string) {
		t.Helper()
		all = append(all, published...)
		s.eventually(t, patienceOfTests, fmt.Sprintf("%s/%s publishes %q", c.name, service, published), func() error {
			if said := s.tape.said(c.name, service)[before:]; !slices.Equal(said, all) {
				return fmt.Errorf("all events since are %q, want %q", said, all)
			}
			return nil
		})
		s.look(t, c, service, want)
	}
}

// look waits until DNS and the HTTP interface say what they must of a service that
// this cluster alone has.
func (s *stage) look(t *testing.T, c *staged, service string, want state) {
	t.Helper()
	var gateways []string
	if want.healthy > 0 {
		gateways = []string{c.gateway}
	}
	name := service + ".svc.mesh.internal."
	s.answers(t, name, "A", gateways...)
	s.answers(t, clusterName(service, c.name), "A", gateways...)
	s.text(t, name, "cluster="+c.name, fmt.Sprintf("healthy=%d", want.healthy), fmt.Sprintf("total=%d", want.total))
	s.eventually(t, patienceOfTests, "the HTTP interface says the same of "+service, func() error {
		reply, err := s.resolved(name)
		if err != nil {
			return err
		}
		if len(reply.Answers) != len(gateways) || len(reply.Why) == 0 {
			return fmt.Errorf("/v1/resolve gives %+v", reply)
		}
		for _, why := range reply.Why {
			if why.Cluster == c.name && (why.In != (want.healthy > 0) || why.Reason != want.reason()) {
				return fmt.Errorf("/v1/resolve gives %+v, want reason %q", reply, want.reason())
			}
		}
		shown, err := s.shown(service, c.name)
		if err == nil && (shown.Healthy != want.healthy || shown.Total != want.total) {
			err = fmt.Errorf("/v1/services gives %+v", shown)
		}
		return err
	})
}

type resolveReply struct {
	RCode   string
	Answers []string
	Why     []struct {
		Cluster string
		In      bool
		Reason  string
	}
}

func (m *mesh) resolved(name string) (reply resolveReply, err error) {
	return reply, get("http://"+m.http+"/v1/resolve?type=A&name="+name, &reply)
}

// shownRecord is what /v1/services/… says of a service in one cluster.
type shownRecord struct {
	Cluster   string
	Healthy   int
	Total     int
	Versions  []string
	Ports     []int
	Instances []struct {
		ID, Address, Version string
		Port, Weight         int
		Meta                 map[string]string
	}
}

func (m *mesh) shown(service, cluster string) (shownRecord, error) {
	var reply struct{ Clusters []shownRecord }
	if err := get("http://"+m.http+"/v1/services/default/"+service, &reply); err != nil {
		return shownRecord{}, err
	}
	for _, c := range reply.Clusters {
		if c.Cluster == cluster {
			return c, nil
		}
	}
	return shownRecord{}, fmt.Errorf("/v1/services does not name %s", cluster)
}

// nothing sees that no event follows: a later change of the same registry arrives,
// and the service has said no more than before.
func (s *stage) nothing(t *testing.T, c *staged, service string, want state) {
	t.Helper()
	pulse := service + "-pulse"
	s.freely(c, pulse)
	before := len(s.tape.said(c.name, pulse))
	c.put(t, pulse, instance{id: pulse, address: "10.9.9.9", port: 1000 + before})
	s.eventually(t, patienceOfTests, "a later change arrives", func() error {
		if len(s.tape.said(c.name, pulse)) <= before {
			return fmt.Errorf("no event of %s", pulse)
		}
		return nil
	})
	s.mu.Lock()
	free := s.free[c.name+"/"+service]
	s.mu.Unlock()
	if free { // its case counts
		s.look(t, c, service, want)
		return
	}
	s.expect(t, c, service, want)
}

// neighbours are registered before any case, and touched by none.
var neighbours = []string{"stays", "stays-too"}

// guard asks for the neighbours in these clusters all the time until stopped. What
// it could miss between two questions, finish finds on the tape.
func (s *stage) guard(t *testing.T, clusters ...*staged) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, c := range clusters {
				for _, service := range neighbours {
					name := clusterName(service, c.name)
					a, err := ask.Ask(ctx, s.dns, name, "A")
					if ctx.Err() == nil && (err != nil || !slices.Equal(a.Data, []string{c.gateway})) {
						t.Errorf("%s was %s %v (%v), and nothing had happened to it", name, a.RCode, a.Data, err)
						return
					}
					pause(ctx, 2*time.Millisecond)
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// finish holds the whole history to what the cases expected: every event belongs to
// a case that named it, in its order, and the neighbours were published once. So was
// each cluster's own record: no case has touched a gateway.
func (s *stage) finish(t *testing.T) {
	t.Helper()
	said, records := map[string][]string{}, map[registry.Writer]int{}
	for _, m := range s.audit(t) {
		switch m.Fact.Kind {
		case registry.KindService:
			key := string(m.Fact.Writer) + "/" + m.Fact.Service.Name
			said[key] = append(said[key], short(m.Event))
		case registry.KindCluster:
			records[m.Fact.Writer]++
		}
	}
	for cluster, n := range records {
		if n != 1 {
			t.Errorf("%s has published its gateways %d times, want once", cluster, n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, lines := range said {
		_, service, _ := strings.Cut(key, "/")
		switch {
		case s.free[key]:
		case slices.Contains(neighbours, service):
			if len(lines) != 1 {
				t.Errorf("nothing happened to %s, but it said %q", key, lines)
			}
		case !slices.Equal(lines, s.claimed[key]):
			t.Errorf("in the end %s has said %q, want %q", key, lines, s.claimed[key])
		}
	}
}

// agentStatus is what an agent's /v1/status says.
type agentStatus struct {
	Role     string
	Phase    string
	Epoch    uint64
	Registry struct {
		Known bool
		Fault string
	}
}

func (d *daemon) status() (s agentStatus, err error) {
	return s, get("http://"+d.http+"/v1/status", &s)
}

// lease reads what a cluster's lease says.
func (p *tape) lease(t *testing.T, cluster string) registry.Lease {
	t.Helper()
	at, err := p.conn.Writer(registry.Writer(cluster)).ReadLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at.Lease
}
