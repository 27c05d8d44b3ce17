package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
)

// observed is a mesh whose replicas take part in the election of the observer, and
// probe gateways on loopback addresses.
type observed struct {
	*mesh
	tape     *tape
	replicas []*replicaProcess

	mu      sync.Mutex // guards reports
	reports map[string]registry.ProbeReport
}

type replicaProcess struct {
	*mesh
	daemon *daemon
}

// newObserved starts NATS and two replicas. One cluster's lease lapses after lapse.
func newObserved(t *testing.T, lapse time.Duration) *observed {
	t.Helper()
	o := &observed{mesh: &mesh{nats: servers.NATS(t, servers.NATSConfig{}), dir: t.TempDir(), agentHTTP: map[string]string{}, ports: map[string]map[string]int{}}, reports: map[string]registry.ProbeReport{}}
	for n := range 2 {
		ports, err := servers.FreePorts(2)
		if err != nil {
			t.Fatal(err)
		}
		m := &mesh{nats: o.nats, dir: o.dir, dns: fmt.Sprintf("127.0.0.1:%d", ports[0]), http: fmt.Sprintf("127.0.0.1:%d", ports[1])}
		config := m.write(t, fmt.Sprintf("global-dns-%d.yaml", n), map[string]any{
			"zone":     map[string]any{"name": "mesh.internal."},
			"nats":     map[string]any{"servers": []string{m.nats.URL}},
			"dns":      map[string]any{"listen": []string{m.dns}},
			"probes":   map[string]any{"vantage": fmt.Sprintf("dns-%d", n), "interval": "1s", "timeout": "500ms", "fall": 2, "allow": []string{"127.0.0.0/8"}},
			"observer": map[string]any{"lapse": lapse.String(), "failback": "1s"},
			"http":     m.http,
		})
		r := &replicaProcess{mesh: m, daemon: startDaemon(t, "global-dns", config)}
		m.eventually(t, 20*time.Second, "global-dns is ready", func() error { return get("http://"+m.http+"/readyz", nil) })
		o.replicas = append(o.replicas, r)
	}
	o.dns, o.http = o.replicas[0].dns, o.replicas[0].http
	o.tape = o.record(t)
	o.watchReports(t)
	return o
}

// gateway listens at an address as a cluster's gateway does, until it is closed.
func (o *observed) gateway(t *testing.T, cluster, address string) net.Listener {
	t.Helper()
	port := "0"
	if known := o.ports[cluster]["http"]; known != 0 {
		port = fmt.Sprint(known)
	}
	var l net.Listener
	o.eventually(t, 5*time.Second, "the gateway's port is free", func() (err error) {
		l, err = net.Listen("tcp", address+":"+port)
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	o.ports[cluster] = map[string]int{"http": l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l
}

// states returns what was said of a cluster, with the moments at which it was stored.
func (o *observed) states(cluster registry.ClusterID) (said []registry.Liveness, stored []time.Time) {
	for _, m := range o.tape.all() {
		if m.Event != nil && m.Event.State != nil && m.Event.State.Cluster == cluster && m.Event.Cause == registry.CauseChange {
			said, stored = append(said, m.Event.State.State), append(stored, m.Stored)
		}
	}
	return said, stored
}

// turns waits until exactly these states were said of a cluster, and returns when the
// last one was.
func (o *observed) turns(t *testing.T, within time.Duration, cluster registry.ClusterID, want ...registry.Liveness) time.Time {
	t.Helper()
	var at time.Time
	o.eventually(t, within, fmt.Sprintf("%s turns %v", cluster, want), func() error {
		said, stored := o.states(cluster)
		if !slices.Equal(said, want) {
			return fmt.Errorf("it was said to be %v", said)
		}
		at = stored[len(stored)-1]
		return nil
	})
	return at
}

type observerStatus struct {
	Observer struct {
		Leading  bool
		Holder   string
		Epoch    uint64
		Suspects bool
		Blind    string
	}
}

// leader waits until exactly one of the replicas leads, and all others know of it.
func (o *observed) leader(t *testing.T, within time.Duration, among ...*replicaProcess) *replicaProcess {
	t.Helper()
	var leader *replicaProcess
	o.eventually(t, within, "one replica is the observer", func() error {
		leader = nil
		holders := map[string]bool{}
		for _, r := range among {
			var s observerStatus
			if err := get("http://"+r.http+"/v1/status", &s); err != nil {
				return err
			}
			if s.Observer.Leading && leader != nil {
				return fmt.Errorf("two lead")
			}
			if s.Observer.Leading {
				leader = r
			}
			holders[s.Observer.Holder] = true
		}
		if leader == nil || len(holders) != 1 {
			return fmt.Errorf("holders are %v", holders)
		}
		return nil
	})
	return leader
}

// TestObserver lets agents, gateways and the observer itself fail, one after another,
// and sees on the stream and in the answers that each is noticed in time.
func TestObserver(t *testing.T) {
	t.Parallel() // without waiting for a place: it takes long
	const lapse = 6 * time.Second
	const amberGateway, bronzeGateway = "127.0.0.31", "127.0.0.32"
	o := newObserved(t, lapse)
	amber, bronze := newFile(t), newFile(t)
	amber.put(t, "checkout", instance{id: "checkout-1", address: "10.1.0.1", port: 8080})
	bronze.put(t, "checkout", instance{id: "checkout-2", address: "10.2.0.1", port: 8080})
	o.gateway(t, "amber", amberGateway)
	bronzeListens := o.gateway(t, "bronze", bronzeGateway)
	agent := o.agent(t, "amber", amberGateway, amber.source())
	o.agent(t, "bronze", bronzeGateway, bronze.source())
	o.answers(t, checkout, "A", amberGateway, bronzeGateway)
	leader := o.leader(t, 20*time.Second, o.replicas...)
	o.eventually(t, 30*time.Second, "both vantage points reach all", func() error { return o.reached(leader) })

	killed := time.Now()
	agent.kill()
	at := o.turns(t, 20*time.Second, "amber", registry.Stale)
	if took := at.Sub(killed); took > lapse+2*time.Second || took < lapse-3*time.Second {
		t.Errorf("amber was said to be stale %v after its agent was killed, the lapse is %v", took, lapse)
	}
	o.answers(t, checkout, "A", bronzeGateway)
	o.answers(t, clusterName("checkout", "amber"), "A", amberGateway) // what is known last, where nobody else can serve
	if c, err := o.standing("amber"); err != nil || c.State != "stale" || c.Reason == "" || c.Evidence.Phase != "synced" || len(c.Evidence.Votes) == 0 {
		t.Errorf("/v1/clusters says %+v, %v", c, err)
	}
	agent.start(t)
	o.turns(t, 20*time.Second, "amber", registry.Stale, registry.Up)
	o.answers(t, checkout, "A", amberGateway, bronzeGateway)

	_ = bronzeListens.Close()
	o.turns(t, 20*time.Second, "bronze", registry.Unreachable)
	o.answers(t, checkout, "A", amberGateway)
	if c, err := o.standing("bronze"); err != nil || c.State != "unreachable" || !slices.Equal(c.Failing, []string{"gw-1"}) {
		t.Errorf("/v1/clusters says %+v, %v", c, err)
	}

	leader.daemon.end(syscall.SIGKILL)
	rest := slices.DeleteFunc(slices.Clone(o.replicas), func(r *replicaProcess) bool { return r == leader })
	o.dns, o.http = rest[0].dns, rest[0].http
	next := o.leader(t, 20*time.Second, rest...)
	o.gateway(t, "bronze", bronzeGateway)
	o.turns(t, 30*time.Second, "bronze", registry.Unreachable, registry.Up)
	o.answers(t, checkout, "A", amberGateway, bronzeGateway)
	leader.daemon.start(t)
	o.eventually(t, 20*time.Second, "global-dns is ready again", func() error { return get("http://"+leader.http+"/readyz", nil) })
	if now := o.leader(t, 20*time.Second, o.replicas...); now != next {
		t.Error("whoever comes back took over from the one that leads")
	}
	o.audit(t)
}

// reached tells whether every replica reports that it reaches all gateways, and the
// leader can judge.
func (o *observed) reached(leader *replicaProcess) error {
	var s observerStatus
	if err := get("http://"+leader.http+"/v1/status", &s); err != nil {
		return err
	}
	if s.Observer.Blind != "" {
		return fmt.Errorf("the observer can't judge: %s", s.Observer.Blind)
	}
	for _, vantage := range []string{"_dns-dns-0", "_dns-dns-1"} {
		for _, cluster := range []registry.ClusterID{"amber", "bronze"} {
			o.mu.Lock()
			r := o.reports[vantage+"/"+string(cluster)]
			o.mu.Unlock()
			if len(r.Gateways) != 1 || !r.Gateways[0].Reached {
				return fmt.Errorf("%s reports of %s: %+v", vantage, cluster, r.Gateways)
			}
		}
	}
	return nil
}

// watchReports keeps what the vantage points report, until the test ends.
func (o *observed) watchReports(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = o.tape.conn.WatchProbes(ctx, func(r registry.ProbeReport, _, _ time.Time) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.reports[r.Vantage+"/"+string(r.Cluster)] = r
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// standingCluster is what /v1/clusters says of how a cluster stands.
type standingCluster struct {
	Cluster  string
	State    string
	Reason   string
	Failing  []string
	Evidence struct {
		Phase string
		Votes []registry.Vote
	}
}

func (o *observed) standing(cluster string) (standingCluster, error) {
	var all struct{ Clusters []standingCluster }
	if err := get("http://"+o.http+"/v1/clusters", &all); err != nil {
		return standingCluster{}, err
	}
	for _, c := range all.Clusters {
		if c.Cluster == cluster {
			return c, nil
		}
	}
	return standingCluster{}, fmt.Errorf("cluster %s is not known", cluster)
}
