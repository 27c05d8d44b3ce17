package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry/stream"
)

// chaos is a mesh as it would be run: three NATS servers with a copy of each stream,
// two replicas of global-dns, three clusters with different registries, of which amber
// has two agents. One replica and one agent are on hosts of their own.
type chaos struct {
	*mesh
	nodes    []*node3
	replicas []*chaosReplica
	clusters []*chaosCluster
	conn     *stream.Conn
	js       jetstream.JetStream
	truth    *truth
	plan     chaosPlan
	observer int         // the replica that was it when a fault was injected that asks for it
	forgot   atomic.Bool // the history was lost, and with it what once was: a name without instances is unknown
}

// node3 is one of the three NATS servers.
type node3 struct {
	*servers.NATSServer
	name  string // as the server's own reports call it
	port  int    // of clients, on all addresses
	store string // where its streams are
}

// chaosReplica is one global-dns.
type chaosReplica struct {
	daemon     *daemon
	dns, http  string
	host       *namespace // nil: this one
	checkpoint string     // its folder
}

// chaosCluster is one cluster. Its gateway is a real one.
type chaosCluster struct {
	name, gateway string
	registry      realRegistry
	agents        []*daemon
	host          *namespace // of its agents; nil: this one
}

func newChaos(t *testing.T, plan chaosPlan) *chaos {
	t.Helper()
	needNamespace(t)
	servers.NeedProgram(t, "iptables", "iptables")
	c := &chaos{mesh: &mesh{dir: t.TempDir(), agentHTTP: map[string]string{}}, truth: newTruth(), plan: plan}
	made := c.startRegistries(t)
	c.startNATS(t)
	hosts := []*namespace{newNamespace(t), newNamespace(t)}
	for _, h := range hosts {
		mustRun(t, "ip", "-n", h.name, "route", "add", "default", "via", h.outside)
	}
	c.startReplicas(t, []*namespace{nil, hosts[0]})
	c.connect(t)
	running := made()
	c.startCluster(t, "amber", running["consul"], nil, 2)
	c.startCluster(t, "bronze", running["nacos"], nil, 1)
	c.startCluster(t, "cobalt", running["file"], hosts[1], 1)
	return c
}

// startRegistries starts one of each kind; what is returned waits for them.
func (c *chaos) startRegistries(t *testing.T) (made func() map[string]realRegistry) {
	t.Helper()
	running := map[string]realRegistry{}
	var mu sync.Mutex // guards running
	var wg sync.WaitGroup
	for kind, start := range registries {
		wg.Go(func() {
			r := start(t) // or it ends this goroutine
			mu.Lock()
			defer mu.Unlock()
			running[kind] = r
		})
	}
	return func() map[string]realRegistry {
		wg.Wait()
		if len(running) < len(registries) {
			t.Fatal("a registry did not start")
		}
		return running
	}
}

func mustRun(t *testing.T, line ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(line, " "), err, out)
	}
}

// startNATS starts three servers that are one cluster. The last has a disk of its own,
// which can be filled.
func (c *chaos) startNATS(t *testing.T) {
	t.Helper()
	ports, err := servers.FreePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	routes := fmt.Sprintf("nats-route://127.0.0.1:%d, nats-route://127.0.0.1:%d, nats-route://127.0.0.1:%d", ports[0], ports[1], ports[2])
	for n := range 3 {
		dir := t.TempDir()
		if n == 2 {
			servers.SmallDisk(t, dir, 192<<10)
		}
		server, err := servers.StartNATS(t.Context(), dir, servers.NATSConfig{Config: fmt.Sprintf(
			"listen: \"0.0.0.0:%d\"\ncluster { name: mesh, listen: \"127.0.0.1:%d\", routes: [%s], no_advertise: true }", ports[3+n], ports[n], routes)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Kill(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the end of the log of %v:\n%s", server, tail([]byte(server.LogTail()), 4000))
			}
		})
		at, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, &node3{NATSServer: server, name: "nats-" + at.Port(), port: ports[3+n], store: dir})
	}
}

// fill writes until a disk is full; the file that it makes must be removed.
func fill(dir string) (path string, err error) {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	for block := make([]byte, 64<<10); err == nil && len(block) > 0; {
		if _, err = f.Write(block); err != nil && len(block) > 1 {
			block, err = block[:len(block)/2], nil
		}
	}
	return f.Name(), nil
}

// servers3 lists the NATS servers as a host knows them.
func (c *chaos) servers3(host *namespace) []string {
	address := "127.0.0.1"
	if host != nil {
		address = host.outside
	}
	var all []string
	for _, n := range c.nodes {
		all = append(all, fmt.Sprintf("nats://%s:%d", address, n.port))
	}
	return all
}

// programsOn returns the folder of the daemons for a host: there each is a line that
// becomes the daemon, with the same process id.
func programsOn(t *testing.T, host *namespace) string {
	t.Helper()
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	if host == nil {
		return built
	}
	dir := t.TempDir()
	for _, program := range []string{"edge-sync", "global-dns"} {
		line := fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", host.name, filepath.Join(built, program))
		if err := os.WriteFile(filepath.Join(dir, program), []byte(line), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (c *chaos) startReplicas(t *testing.T, hosts []*namespace) {
	t.Helper()
	for n, host := range hosts {
		ports, err := servers.FreePorts(2)
		if err != nil {
			t.Fatal(err)
		}
		address := "127.0.0.1"
		if host != nil {
			address = host.inside
		}
		r := &chaosReplica{host: host, dns: fmt.Sprintf("%s:%d", address, ports[0]), http: fmt.Sprintf("%s:%d", address, ports[1]), checkpoint: t.TempDir()}
		if n == 1 {
			servers.SmallDisk(t, r.checkpoint, 16<<10)
		}
		config := map[string]any{
			"zone":       map[string]any{"name": "mesh.internal."},
			"nats":       map[string]any{"servers": c.servers3(host)},
			"dns":        map[string]any{"listen": []string{r.dns}},
			"streams":    map[string]any{"replicas": 3, "history_bytes": 0},
			"probes":     map[string]any{"vantage": fmt.Sprintf("dns-%d", n), "allow": []string{"198.18.0.0/15"}},
			"observer":   map[string]any{"failback": "2s"},
			"checkpoint": map[string]any{"path": filepath.Join(r.checkpoint, "known")},
			"http":       r.http,
		}
		r.daemon = startDaemonOf(t, programsOn(t, host), "global-dns", c.write(t, fmt.Sprintf("global-dns-%d.yaml", n), config))
		r.daemon.http = r.http
		c.replicas = append(c.replicas, r)
	}
	for _, r := range c.replicas {
		c.eventually(t, time.Minute, "global-dns is ready", func() error { return get("http://"+r.http+"/readyz", nil) })
	}
	c.dns, c.http = c.replicas[0].dns, c.replicas[0].http
}

// connect gives the test its own connection, for questions about the streams.
func (c *chaos) connect(t *testing.T) {
	t.Helper()
	var err error
	if c.conn, err = stream.Connect(t.Context(), stream.ConnectConfig{Servers: c.servers3(nil), Name: "chaos", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.conn.Close)
	c.js = jetStream(t, c.conn)
}

// startCluster fills a registry with services, and starts the gateway and the agents, the
// first of which leads.
func (c *chaos) startCluster(t *testing.T, name string, running realRegistry, host *namespace, agents int) {
	t.Helper()
	cluster := &chaosCluster{name: name, registry: running, host: host}
	cluster.gateway = fmt.Sprintf("198.19.%d.%d", os.Getpid()%256, len(c.clusters)+1)
	mustRun(t, "ip", "addr", "add", cluster.gateway+"/32", "dev", "lo")
	t.Cleanup(func() { _ = exec.Command("ip", "addr", "del", cluster.gateway+"/32", "dev", "lo").Run() })
	port := serveGateway(t, cluster.gateway)
	for n := range chaosServices {
		c.change(t, cluster, serviceName(n), instancesOf(cluster, n, 2, false)...)
	}
	for n := range agents {
		ports, err := servers.FreePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		address := "127.0.0.1"
		if host != nil {
			address = host.inside
		}
		http := fmt.Sprintf("%s:%d", address, ports[0])
		config := c.write(t, fmt.Sprintf("%s-%d.yaml", name, n), map[string]any{
			"cluster":  name,
			"nats":     map[string]any{"servers": c.servers3(host)},
			"source":   cluster.registry.source(),
			"brake":    map[string]any{"floor": 1000}, // losses are what this test makes
			"probes":   map[string]any{"allow": []string{"198.18.0.0/15"}},
			"gateways": map[string]any{"static": []any{map[string]any{"name": "gw-1", "addresses": []string{cluster.gateway}, "ports": map[string]int{"http": port}}}},
			"http":     http,
		})
		agent := startDaemonOf(t, programsOn(t, host), "edge-sync", config)
		agent.http = http
		cluster.agents = append(cluster.agents, agent)
		c.synced(t, name, 0)
	}
	c.clusters = append(c.clusters, cluster)
}

// serveGateway accepts connections until the test ends.
func serveGateway(t *testing.T, address string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *chaos) cluster3(name string) *chaosCluster {
	for _, cluster := range c.clusters {
		if cluster.name == name {
			return cluster
		}
	}
	return nil
}

// leadingAgent returns which agent of a cluster publishes.
func (c *chaos) leadingAgent(t *testing.T, name string) *daemon {
	t.Helper()
	var leader *daemon
	c.eventually(t, 30*time.Second, "an agent of "+name+" leads", func() error {
		for _, a := range c.cluster3(name).agents {
			if s, err := a.status(); err == nil && s.Role == "leader" {
				leader = a
				return nil
			}
		}
		return errors.New("none does")
	})
	return leader
}

// leadingNode returns which NATS server leads a stream.
func (c *chaos) leadingNode(t *testing.T, streamName string) *node3 {
	t.Helper()
	var leader *node3
	c.eventually(t, 30*time.Second, streamName+" has a leader", func() error {
		s, err := c.js.Stream(t.Context(), streamName)
		if err != nil {
			return err
		}
		for _, n := range c.nodes {
			if s.CachedInfo().Cluster.Leader == n.name {
				leader = n
				return nil
			}
		}
		return fmt.Errorf("%+v", s.CachedInfo().Cluster)
	})
	return leader
}
