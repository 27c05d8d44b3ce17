package consul

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/seamark-mesh/seamark/e2e/servers"
	"github.com/seamark-mesh/seamark/registry"
	"github.com/seamark-mesh/seamark/sync/sourcetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refusals counts what a source refused.
type refusals struct {
	mu sync.Mutex // guards the field below
	by map[string]int
}

func (r *refusals) add(refusal *registry.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = make(map[string]int)
	}
	r.by[refusal.Reason]++
}

func (r *refusals) count(reason string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[reason]
}

// testLog writes the log of a test to stderr when SEAMARK_TEST_LOG is set.
func testLog() *slog.Logger {
	if os.Getenv("SEAMARK_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func newSource(t testing.TB, config Config) (*Source, *refusals) {
	t.Helper()
	var refused refusals
	config.Logger, config.Refused = testLog(), refused.add
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s, &refused
}

// driver changes a real Consul's catalog, through its plain HTTP address.
type driver struct {
	server *servers.ConsulServer
	client *api.Client
}

func newDriver(t testing.TB, server *servers.ConsulServer) *driver {
	t.Helper()
	transport := &http.Transport{MaxConnsPerHost: 4, MaxIdleConnsPerHost: 4}
	client, err := api.NewClient(&api.Config{Address: server.HTTP, Token: server.Token, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &driver{server: server, client: client}
}

func (d *driver) register(t testing.TB, r *api.CatalogRegistration) {
	t.Helper()
	if _, err := d.client.Catalog().Register(r, nil); err != nil {
		t.Fatalf("register: %v", err)
	}
}

func (d *driver) deregister(t testing.TB, r *api.CatalogDeregistration) {
	t.Helper()
	if _, err := d.client.Catalog().Deregister(r, nil); err != nil {
		t.Fatalf("deregister: %v", err)
	}
}

// registration is an instance on a node, with one check of its own.
func registration(node, name string, i registry.Instance) *api.CatalogRegistration {
	meta := map[string]string{}
	maps.Copy(meta, i.Meta)
	if i.Version != "" {
		meta[metaVersion] = i.Version
	}
	return &api.CatalogRegistration{
		Node: node, Address: "203.0.113.1",
		Service: &api.AgentService{
			ID: i.ID, Service: name, Address: i.Address, Port: i.Port, Meta: meta,
			Weights: api.AgentWeights{Passing: i.Weight, Warning: i.Weight},
		},
		Check: &api.AgentCheck{
			Node: node, CheckID: "check-" + i.ID, Name: "alive", Status: string(i.Health), ServiceID: i.ID, ServiceName: name,
		},
	}
}

// harness implements sourcetest.Harness.
type harness struct {
	*driver
	config Config
	want   Mode // ModeAuto: any

	there map[registry.ServiceKey]map[string]string // instance id to node
}

func (h *harness) Source(t *testing.T) sourcetest.Source {
	s, _ := newSource(t, h.config)
	t.Cleanup(func() {
		if got := s.Mode(); h.want != ModeAuto && got != h.want && got != ModeAuto {
			t.Errorf("the mode is %q, want %q", got, h.want)
		}
	})
	return s
}

func (h *harness) Put(t *testing.T, s registry.Service) registry.Service {
	t.Helper()
	if h.there == nil {
		h.there = make(map[registry.ServiceKey]map[string]string)
	}
	before, now := h.there[s.Key], make(map[string]string)
	said := registry.Service{Key: s.Key}
	for n, i := range s.Instances {
		node := fmt.Sprintf("suite-%d", n%3)
		now[i.ID] = node
		h.register(t, registration(node, s.Key.Name, i))
		i.ID = node + "/" + i.ID
		said.Instances = append(said.Instances, i)
	}
	for id, node := range before {
		if now[id] != node {
			h.deregister(t, &api.CatalogDeregistration{Node: node, ServiceID: id})
		}
	}
	h.there[s.Key] = now
	clean, refused, _ := registry.CleanService(said.Key.Namespace, said.Key.Name, said.Instances)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	return clean
}

func (h *harness) Remove(t *testing.T, k registry.ServiceKey) {
	t.Helper()
	h.Put(t, registry.Service{Key: k})
	delete(h.there, k)
}

func (h *harness) Outage(t *testing.T) func() {
	t.Helper()
	if err := h.server.Kill(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := h.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *harness) Hostile(t *testing.T) []registry.Service {
	t.Helper()
	put := func(name string, change func(*api.CatalogRegistration)) {
		r := registration("hostile", name, registry.Instance{ID: name, Address: "192.0.2.66", Weight: 1, Health: registry.Passing})
		change(r)
		if _, err := h.client.Catalog().Register(r, nil); err != nil {
			t.Logf("Consul refuses %.40q itself: %v", name, err)
		}
	}
	none := func(*api.CatalogRegistration) {}
	for _, name := range []string{"..", "***", "a/../b", "a//b", "white space", "caf\u00e9", "tab\there", strings.Repeat("n", 300), "%2e%2e", "?index=1", "#", "Consul"} {
		put(name, none)
	}
	put("on-odd-node", func(r *api.CatalogRegistration) { r.Node, r.Check.Node = "no/../de", "no/../de" })
	put("mixed", none)
	mixed := func(id string, change func(*api.AgentService)) {
		put("mixed", func(r *api.CatalogRegistration) {
			r.Service.ID, r.Check = id, nil
			change(r.Service)
		})
	}
	mixed(strings.Repeat("i", 600), func(*api.AgentService) {})
	mixed("control\x01", func(*api.AgentService) {})
	mixed("address", func(s *api.AgentService) { s.Address = "not an address" })
	mixed("port", func(s *api.AgentService) { s.Port = 70000 })
	mixed("proxy", func(s *api.AgentService) {
		s.Port = 21000
		s.Kind, s.Proxy = api.ServiceKindConnectProxy, &api.AgentServiceConnectProxyConfig{DestinationServiceName: "x"}
	})
	mixed("imported", func(s *api.AgentService) { s.Tags = []string{ImportTag} })
	mixed("version", func(s *api.AgentService) { s.Meta = map[string]string{"version": strings.Repeat("v", 400)} })
	t.Cleanup(func() {
		h.deregister(t, &api.CatalogDeregistration{Node: "hostile"})
		h.deregister(t, &api.CatalogDeregistration{Node: "no/../de"})
	})
	return []registry.Service{
		{Key: h.Key("mixed"), Instances: []registry.Instance{
			{ID: "hostile/mixed", Address: "192.0.2.66", Weight: 1, Health: registry.Passing},
			{ID: "hostile/version", Address: "192.0.2.66", Weight: 1, Health: registry.Passing, Meta: map[string]string{"version": strings.Repeat("v", 400)}},
		}},
		{Key: h.Key("on-odd-node"), Instances: []registry.Instance{
			{ID: "no%2F..%2Fde/on-odd-node", Address: "192.0.2.66", Weight: 1, Health: registry.Passing},
		}},
	}
}

func (*harness) Key(name string) registry.ServiceKey {
	return registry.ServiceKey{Namespace: registry.DefaultNamespace, Name: name}
}

func (*harness) Supports(h registry.Health) bool { return h != registry.Unknown }

// kinds are the ways in which a Consul is watched.
var kinds = map[string]struct {
	https bool
	mode  Mode
}{
	"HintsHTTP":       {false, ModeHints},
	"AutoHTTP":        {false, ModeAuto}, // what follows a broken Watch over plain HTTP has fewer connections: another mode, or two
	"HintsHTTPS":      {true, ModeHints},
	"PerServiceHTTPS": {true, ModePerService},
	"SweepHTTP":       {false, ModeSweep},
}

// kindEnv is set in the processes that TestConformance starts.
const kindEnv = "SEAMARK_CONSUL_KIND"

// TestConformance runs the suite for each kind in a process of its own, for the suite
// counts the goroutines of its process.
func TestConformance(t *testing.T) {
	if kind, ok := kinds[os.Getenv(kindEnv)]; ok {
		server := servers.Consul(t, servers.ConsulConfig{TLS: kind.https})
		config := Config{Address: server.HTTP, Mode: kind.mode}
		if kind.https {
			config.Address, config.CAFile = server.HTTPS, server.CAFile
		}
		sourcetest.Run(t, &harness{driver: newDriver(t, server), config: config, want: kind.mode})
		return
	}
	t.Parallel()
	servers.Need(t, "consul")
	for name := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConformance$", "-test.v", "-test.timeout=10m")
			command.Env = append(os.Environ(), kindEnv+"="+name)
			out, err := command.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("--- PASS: TestConformance/HostileNeighbours")) { // its last case
				t.Errorf("%v:\n%s", err, out)
			} else if testing.Verbose() {
				t.Logf("\n%s", out)
			}
		})
	}
}
