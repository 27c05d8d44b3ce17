package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// entrance is a gateway that accepts connections while it is open.
type entrance struct {
	address  string
	listener net.Listener
	wg       sync.WaitGroup
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	e := &entrance{address: "127.0.0.1:0"}
	e.open(t)
	e.address = e.listener.Addr().String()
	t.Cleanup(e.close)
	return e
}

func (e *entrance) port() int { return e.listener.Addr().(*net.TCPAddr).Port }

func (e *entrance) open(t *testing.T) {
	t.Helper()
	var err error
	if e.listener, err = net.Listen("tcp", e.address); err != nil {
		t.Fatal(err)
	}
	l := e.listener
	e.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
}

func (e *entrance) close() {
	e.listener.Close()
	e.wg.Wait()
}

// sights keeps the latest report of each vantage point about each cluster.
type sights struct {
	mu     sync.Mutex // guards latest
	latest map[string]registry.ProbeReport
}

// watchReports follows the reports on a stream until the test ends.
func watchReports(t *testing.T, url string) *sights {
	t.Helper()
	conn, err := stream.Connect(t.Context(), stream.ConnectConfig{Servers: []string{url}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &sights{latest: map[string]registry.ProbeReport{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = conn.WatchProbes(ctx, func(r registry.ProbeReport, _, _ time.Time) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.latest[r.Vantage+" of "+string(r.Cluster)] = r
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait(); conn.Close() })
	return s
}

// say returns what is reported of the first gateway: "bronze of amber +".
func (s *sights) say() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for who, r := range s.latest {
		for _, g := range r.Gateways[:min(1, len(r.Gateways))] {
			all = append(all, who+map[bool]string{true: " +", false: " -"}[g.Reached])
		}
	}
	slices.Sort(all)
	return all
}

// TestGatewayProbes closes and opens real gateways under real daemons: within some
// probes each vantage point reports it, and no other says otherwise.
func TestGatewayProbes(t *testing.T) {
	together(t)
	const interval, timeout, rise, fall = time.Second, time.Second, 2, 3
	m := newMeshWith(t, "SEAMARK_PROBES_ALLOW=127.0.0.0/8", "SEAMARK_PROBES_INTERVAL=1s", "SEAMARK_PROBES_TIMEOUT=1s", "SEAMARK_PROBES_VANTAGE=eu-1")
	amber, bronze := newEntrance(t), newEntrance(t)
	m.ports = map[string]map[string]int{"amber": {"http": amber.port()}, "bronze": {"http": bronze.port()}}
	reports := watchReports(t, m.nats.URL)
	agents := map[string]*daemon{}
	for _, cluster := range []string{"amber", "bronze"} {
		catalog := newFile(t)
		catalog.put(t, "checkout", first)
		agents[cluster] = m.agent(t, cluster, "127.0.0.1", catalog.source())
	}
	saying := func(amber, bronze string) []string {
		return []string{
			"_dns-eu-1 of amber " + amber, "_dns-eu-1 of bronze " + bronze,
			"amber of amber " + amber, "amber of bronze " + bronze, "bronze of amber " + amber, "bronze of bronze " + bronze,
		}
	}
	// A failed probe takes no time here, a round one interval and a tenth; a report another
	// half second when one went just before. The rest is for a busy machine.
	within := func(results int) time.Duration {
		return time.Duration(results+1)*interval*11/10 + timeout + 500*time.Millisecond + 10*time.Second
	}
	await := func(what string, results int, amber, bronze string) {
		t.Helper()
		began := time.Now()
		m.eventually(t, within(results), what, func() error {
			if got := reports.say(); !slices.Equal(got, saying(amber, bronze)) {
				return fmt.Errorf("the reports are %v", got)
			}
			return nil
		})
		t.Logf("%s: after %v", what, time.Since(began).Round(10*time.Millisecond))
	}
	await("both are reached", rise, "+", "+")
	amber.close()
	await("amber can't be reached", fall, "-", "+")
	reports.mu.Lock()
	refused := reports.latest["bronze of amber"].Gateways[0]
	reached := reports.latest["amber of bronze"].Gateways[0]
	reports.mu.Unlock()
	if refused.Error != amber.address+": connection refused" || refused.Latency == nil || refused.Latency.Count < rise {
		t.Errorf("bronze says of amber's gateway: %+v, %+v", refused, refused.Latency)
	}
	if l := reached.Latency; reached.Error != "" || l == nil || l.Min > l.Mean || l.Mean > l.P99 || l.P99 <= 0 || l.P99 > 1000 {
		t.Errorf("amber says of bronze's gateway: %+v, %+v", reached, l)
	}
	for program, address := range map[string]string{"bronze's agent": agents["bronze"].http, "global-dns": m.http} {
		for metric, want := range map[string]string{
			`seamark_gateway_reached{cluster="amber",gateway="gw-1"}`:                  "0",
			`seamark_gateway_reached{cluster="bronze",gateway="gw-1"}`:                 "1",
			`seamark_gateway_path_seconds{cluster="bronze",gateway="gw-1",stat="p99"}`: `0\.\d+|[\d.]+e-\d+`,
			`seamark_probes_total{result="failed"}`:                                    `[1-9]\d*`,
		} {
			if page := metricsPage(t, address); !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(metric) + ` (` + want + `)$`).MatchString(page) {
				t.Errorf("%s does not show %s as %s", program, metric, want)
			}
		}
	}
	amber.open(t)
	await("amber is reached again", rise, "+", "+")
}

// TestLoopbackIsNotProbed: without probes.allow no daemon connects to itself, whatever
// a cluster declares, and each says once that it does not.
func TestLoopbackIsNotProbed(t *testing.T) {
	together(t)
	m := newMeshWith(t, "SEAMARK_PROBES_INTERVAL=1s")
	touched := make(chan net.Conn, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			touched <- conn
		}
	}()
	m.ports = map[string]map[string]int{"amber": {"http": l.Addr().(*net.TCPAddr).Port}}
	catalog := newFile(t)
	catalog.put(t, "checkout", first)
	agent := m.agent(t, "amber", "127.0.0.1", catalog.source())
	m.eventually(t, 10*time.Second, "it is said", func() error {
		if n := strings.Count(agent.text(t), "addresses of a gateway are not probed"); n != 1 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	select {
	case conn := <-touched:
		t.Errorf("somebody connected to a loopback address: %v", conn.RemoteAddr())
	case <-time.After(3 * time.Second):
	}
	if n := strings.Count(agent.text(t), "addresses of a gateway are not probed"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

func (d *daemon) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.log())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWithoutTheRightToProbe: an agent whose credentials are those of an earlier release
// does all else as ever, and says once which right is missing.
func TestWithoutTheRightToProbe(t *testing.T) {
	together(t)
	m := &mesh{agentHTTP: map[string]string{}, dir: t.TempDir()}
	m.nats = servers.NATS(t, servers.NATSConfig{Config: `
no_auth_user: everybody
authorization { users: [
  { user: everybody, password: p }
  { user: amber, password: p, permissions: {
      publish: [
        "mesh.v1.amber.>"
        "$JS.API.STREAM.INFO.MESH_EVENTS", "$JS.API.STREAM.INFO.MESH_LEASE"
        "$JS.API.DIRECT.GET.MESH_EVENTS.mesh.v1.amber.>", "$JS.API.DIRECT.GET.MESH_LEASE.mesh.v1.amber.>"
        "$JS.API.CONSUMER.CREATE.MESH_EVENTS.*.mesh.v1.amber.>"
        "$JS.API.CONSUMER.CREATE.MESH_EVENTS.*.mesh.v1._operator.order.*.amber"
        "$JS.API.CONSUMER.MSG.NEXT.MESH_EVENTS.*"
      ]
      subscribe: ["_INBOX.>"]
  } }
] }
`})
	m.startGlobalDNS(t, "global-dns.yaml")
	m.environ = []string{"SEAMARK_NATS_URL=" + strings.Replace(m.nats.URL, "nats://", "nats://amber:p@", 1)}
	catalog := newFile(t)
	catalog.put(t, "checkout", first)
	agent := m.agent(t, "amber", amberGateway, catalog.source())
	m.eventually(t, 20*time.Second, "the missing right is told", func() error {
		if !strings.Contains(agent.text(t), "the gateways of other clusters are not probed") {
			return fmt.Errorf("the log is:\n%s", agent.text(t))
		}
		return nil
	})
	catalog.put(t, "checkout", first, second)
	m.text(t, checkout, "total=2")
	m.answers(t, checkout, "A", amberGateway)
	pause(t.Context(), 6*time.Second) // another try would have failed by now
	text := agent.text(t)
	if strings.Count(text, "are not probed") != 1 || strings.Count(text, "ermissions") > 4 || !strings.Contains(text, "mesh.v1.*.cluster") {
		t.Errorf("it is not said once and well:\n%s", text)
	}
}

// TestProbesOfGatewaysFoundInTheRegistry: what the configuration says of gateways that a
// registry names stands in the cluster's record, and a change takes effect without a restart.
func TestProbesOfGatewaysFoundInTheRegistry(t *testing.T) {
	together(t)
	m := newMesh(t)
	catalog := newFile(t)
	catalog.put(t, "ingress", instance{id: "in-1", address: "192.0.2.10", port: 8080}, instance{id: "in-2", address: "192.0.2.11", port: 8080})
	ports, err := servers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	configure := func(probe map[string]any) string {
		return m.write(t, "amber.yaml", map[string]any{
			"cluster": "amber", "nats": map[string]any{"servers": []string{m.nats.URL}}, "source": catalog.source(),
			"gateways": map[string]any{"service": map[string]any{"name": "ingress", "probe": probe}},
			"probes":   map[string]any{"enabled": false},
			"http":     fmt.Sprintf("127.0.0.1:%d", ports[0]),
		})
	}
	conn := m.connection(t.Context(), t)
	defer conn.Close()
	agent := startDaemon(t, "edge-sync", configure(map[string]any{"kind": "https", "path": "/live", "status": 204}))
	before := m.synced(t, "amber", 0)
	declared := func(want registry.Probe) {
		t.Helper()
		m.eventually(t, 10*time.Second, fmt.Sprintf("the record says %+v", want), func() error {
			record, _, err := conn.Last(t.Context(), registry.Fact{Writer: "amber", Kind: registry.KindCluster})
			if err != nil || record.Event == nil {
				return fmt.Errorf("%+v, %w", record, err)
			}
			for _, g := range record.Event.Cluster.Gateways {
				if g.Probe == nil || *g.Probe != want {
					return fmt.Errorf("gateway %s is probed by %+v", g.Name, g.Probe)
				}
			}
			if n := len(record.Event.Cluster.Gateways); n != 2 {
				return fmt.Errorf("%d gateways", n)
			}
			return nil
		})
	}
	declared(registry.Probe{Kind: registry.ProbeHTTPS, Path: "/live", Status: 204})
	configure(map[string]any{"port": 15021})
	declared(registry.Probe{Kind: registry.ProbeTCP, Port: 15021})
	if after := m.synced(t, "amber", 0); after.Epoch != before.Epoch {
		t.Errorf("a new epoch, %d after %d, for another probe", after.Epoch, before.Epoch)
	}
	if strings.Contains(agent.text(t), "probed") || strings.Contains(metricsPage(t, fmt.Sprintf("127.0.0.1:%d", ports[0])), "seamark_probes") {
		t.Error("an agent that is not to probe does something about it")
	}
}
