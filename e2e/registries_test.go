package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"
	"go.yaml.in/yaml/v3"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// instance is one endpoint as the tests register it.
type instance struct {
	id      string
	address string
	port    int
	version string
	bad     bool // fails its health check
}

// realRegistry is a registry that a test changes as its users do.
type realRegistry interface {
	// source is the section of an agent's configuration.
	source() map[string]any
	// put makes these the instances of a service in the default namespace; none removes it.
	put(t *testing.T, service string, instances ...instance)
	// fill registers many services with one instance each, named prefix-0, prefix-1 …
	fill(t *testing.T, prefix string, count int)
	// hostile registers what the door must refuse.
	hostile(t *testing.T)
	// hidesAllFailed: once all instances of a service fail, the registry no longer
	// tells their health.
	hidesAllFailed() bool
	// empty removes all that put and hostile registered, in as few changes as the
	// registry takes.
	empty(t *testing.T)
	// outage makes the registry unreachable; back makes it reachable with the same content.
	outage(t *testing.T) (back func())
}

// registries are the three kinds, each made anew for a test.
var registries = map[string]func(t *testing.T) realRegistry{
	"consul": newConsul,
	"nacos":  newNacos,
	"file":   newFile,
}

// atOnce calls f for 0 to count-1, some of them at once.
func atOnce(t *testing.T, count int, f func(n int) error) {
	t.Helper()
	var wg sync.WaitGroup
	const workers = 8
	failed := make(chan error, workers)
	for worker := range workers {
		wg.Go(func() {
			for n := worker; n < count; n += workers {
				if err := f(n); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

type consulRegistry struct {
	server *servers.ConsulServer
	client *api.Client
	there  map[string]map[string]bool // service → instance ids
}

func newConsul(t *testing.T) realRegistry {
	server := servers.Consul(t, servers.ConsulConfig{})
	client, err := api.NewClient(&api.Config{Address: server.HTTP})
	if err != nil {
		t.Fatal(err)
	}
	return &consulRegistry{server: server, client: client, there: map[string]map[string]bool{}}
}

func (c *consulRegistry) source() map[string]any {
	return map[string]any{"consul": map[string]any{"address": c.server.HTTP}}
}

// node is where the tests register, as a sync tool does: the agent of the server
// would remove from its own node what it does not know.
const node = "e2e-node"

func (c *consulRegistry) put(t *testing.T, service string, instances ...instance) {
	t.Helper()
	now := map[string]bool{}
	for _, i := range instances {
		now[i.id] = true
		status := api.HealthPassing
		if i.bad {
			status = api.HealthCritical
		}
		_, err := c.client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "10.0.0.1", SkipNodeUpdate: len(c.there) > 0,
			Service: &api.AgentService{ID: i.id, Service: service, Address: i.address, Port: i.port, Meta: map[string]string{"version": i.version}},
			Check:   &api.AgentCheck{Node: node, CheckID: "check:" + i.id, Name: "check", Status: status, ServiceID: i.id},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	for id := range c.there[service] {
		if !now[id] {
			if _, err := c.client.Catalog().Deregister(&api.CatalogDeregistration{Node: node, ServiceID: id}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.there[service] = now
}

func (c *consulRegistry) fill(t *testing.T, prefix string, count int) {
	t.Helper()
	atOnce(t, count, func(n int) error {
		name := fmt.Sprintf("%s-%d", prefix, n)
		_, err := c.client.Catalog().Register(&api.CatalogRegistration{
			Node: fmt.Sprintf("%s-%d", node, n%20), Address: "10.0.0.1",
			Service: &api.AgentService{ID: name, Service: name, Address: "10.1.0.1", Port: 80},
		}, nil)
		return err
	})
}

func (c *consulRegistry) hostile(t *testing.T) {
	t.Helper()
	large := map[string]string{}
	for n := range 60 {
		large[fmt.Sprintf("key-%d", n)] = strings.Repeat("x", 500)
	}
	for _, s := range []*api.AgentService{
		{ID: "h1", Service: "bad name\u202e", Address: "10.0.0.9", Port: 80},
		{ID: "h2", Service: "münchen", Address: "10.0.0.9", Port: 80},
		{ID: "h3", Service: "***", Address: "10.0.0.9", Port: 80},
		{ID: "h4", Service: strings.Repeat("a", 300), Address: "10.0.0.9", Port: 80},
		{ID: "h5", Service: "fat", Address: "10.0.0.9", Port: 80, Meta: large},
		{ID: "h6", Service: "odd", Address: "bad address", Port: 80},
	} {
		_, err := c.client.Catalog().Register(&api.CatalogRegistration{Node: node, Address: "10.0.0.1", SkipNodeUpdate: true, Service: s}, nil)
		if err != nil {
			t.Logf("Consul itself refuses %.20q: %v", s.Service, err)
		}
	}
}

func (c *consulRegistry) hidesAllFailed() bool { return false }

// empty leaves Consul's own service.
func (c *consulRegistry) empty(t *testing.T) {
	t.Helper()
	if _, err := c.client.Catalog().Deregister(&api.CatalogDeregistration{Node: node}, nil); err != nil {
		t.Fatal(err)
	}
	clear(c.there)
}

func (c *consulRegistry) outage(t *testing.T) func() {
	t.Helper()
	if err := c.server.Kill(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := c.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

type nacosRegistry struct {
	server *servers.NacosServer
	there  map[string]map[string]url.Values
}

func newNacos(t *testing.T) realRegistry {
	return &nacosRegistry{server: servers.Nacos(t, servers.NacosConfig{}), there: map[string]map[string]url.Values{}}
}

func (n *nacosRegistry) source() map[string]any {
	return map[string]any{"nacos": map[string]any{
		"servers":    []string{n.server.Addr},
		"namespaces": []any{map[string]any{"id": "", "as": "default", "groups": []any{map[string]any{"name": "DEFAULT_GROUP"}}}},
	}}
}

// put registers persistent instances, which outlive a restart of Nacos. One that
// fails is given the state by hand, which Nacos allows without a health checker.
func (n *nacosRegistry) put(t *testing.T, service string, instances ...instance) {
	t.Helper()
	now := map[string]url.Values{}
	for _, i := range instances {
		values := url.Values{"serviceName": {service}, "ip": {i.address}, "port": {fmt.Sprint(i.port)}, "ephemeral": {"false"}}
		full := url.Values{"metadata": {`{"version":"` + i.version + `"}`}, "healthy": {fmt.Sprint(!i.bad)}}
		maps.Copy(full, values)
		if n.there[service] == nil {
			if err := n.call(http.MethodPost, "/service", url.Values{"serviceName": {service}, "protectThreshold": {"0"}}); err == nil || strings.Contains(err.Error(), "exists") {
				err = n.call(http.MethodPut, "/cluster", url.Values{"serviceName": {service}, "clusterName": {"DEFAULT"}, "checkPort": {"80"}, "useInstancePort4Check": {"true"}, "healthChecker": {`{"type":"NONE"}`}})
				if err != nil {
					t.Fatal(err)
				}
			} else {
				t.Fatal(err)
			}
		}
		if err := n.call(http.MethodPost, "/instance", full); err != nil {
			t.Fatal(err)
		}
		now[i.id] = values
		if n.there[service] == nil {
			n.there[service] = map[string]url.Values{}
		}
	}
	for id, values := range n.there[service] {
		// In Nacos address and port are the identity: an instance that moved is another one.
		if now[id] == nil || now[id].Encode() != values.Encode() {
			if err := n.call(http.MethodDelete, "/instance", values); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.there[service] = now
}

// fill keeps Nacos from looking whether anybody listens at these addresses: sooner or later
// it would call all of them ill.
func (n *nacosRegistry) fill(t *testing.T, prefix string, count int) {
	t.Helper()
	for _, entry := range []string{"healthCheckEnabled", "check"} {
		if err := n.call(http.MethodPut, "/operator/switches", url.Values{"entry": {entry}, "value": {"false"}, "debug": {"true"}}); err != nil {
			t.Fatal(err)
		}
	}
	atOnce(t, count, func(k int) error {
		values := url.Values{"serviceName": {fmt.Sprintf("%s-%d", prefix, k)}, "ip": {"10.1.0.1"}, "port": {"80"}, "ephemeral": {"false"}}
		return n.call(http.MethodPost, "/instance", values)
	})
}

func (n *nacosRegistry) hostile(t *testing.T) {
	t.Helper()
	for name, metadata := range map[string]string{
		"münchen": "", strings.Repeat("a", 300): "", "---": "", "fat": `{"large":"` + strings.Repeat("x", 900) + `"}`,
	} {
		values := url.Values{"serviceName": {name}, "ip": {"10.0.0.9"}, "port": {"80"}, "ephemeral": {"false"}}
		full := url.Values{"metadata": {metadata}}
		maps.Copy(full, values)
		if err := n.call(http.MethodPost, "/instance", full); err != nil {
			t.Logf("Nacos itself refuses %.20q: %v", name, err)
			continue
		}
		n.there[name] = map[string]url.Values{"h": values}
	}
}

// empty takes one change for each instance: Nacos has no other.
func (n *nacosRegistry) empty(t *testing.T) {
	t.Helper()
	for service := range n.there {
		n.put(t, service)
	}
}

func (n *nacosRegistry) call(method, path string, values url.Values) error {
	request, err := http.NewRequest(method, "http://"+n.server.Addr+"/nacos/v1/ns"+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = errors.New(reply.Status + ": " + string(body))
	}
	return err
}

// hidesAllFailed: Nacos's protect threshold is reached by 0 of 2, even when it is 0.
func (n *nacosRegistry) hidesAllFailed() bool { return true }

func (n *nacosRegistry) outage(t *testing.T) func() {
	t.Helper()
	if err := n.server.Kill(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := n.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

type fileRegistry struct {
	path     string
	services map[string][]map[string]any
	garbage  []any
}

func newFile(t *testing.T) realRegistry {
	f := &fileRegistry{path: filepath.Join(t.TempDir(), "catalog.yaml"), services: map[string][]map[string]any{}}
	f.save(t)
	return f
}

func (f *fileRegistry) source() map[string]any {
	return map[string]any{"file": map[string]any{"path": f.path}}
}

func (f *fileRegistry) save(t *testing.T) {
	t.Helper()
	all := append([]any{}, f.garbage...)
	for name, instances := range f.services {
		all = append(all, map[string]any{"name": name, "instances": instances})
	}
	text, err := yaml.Marshal(map[string]any{"services": all})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path+".next", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.path+".next", f.path); err != nil {
		t.Fatal(err)
	}
}

func (f *fileRegistry) put(t *testing.T, service string, instances ...instance) {
	t.Helper()
	delete(f.services, service)
	for _, i := range instances {
		health := "passing"
		if i.bad {
			health = "critical"
		}
		f.services[service] = append(f.services[service], map[string]any{"id": i.id, "address": i.address, "port": i.port, "version": i.version, "health": health})
	}
	f.save(t)
}

func (f *fileRegistry) fill(t *testing.T, prefix string, count int) {
	t.Helper()
	for n := range count {
		name := fmt.Sprintf("%s-%d", prefix, n)
		f.services[name] = []map[string]any{{"id": name, "address": "10.1.0.1", "port": 80}}
	}
	f.save(t)
}

func (f *fileRegistry) hostile(t *testing.T) {
	t.Helper()
	one := []any{map[string]any{"id": "h", "address": "10.0.0.9", "port": 80}}
	f.garbage = []any{
		map[string]any{"name": "münchen", "instances": one},
		map[string]any{"name": "***", "instances": one},
		map[string]any{"name": "fat", "instances": []any{map[string]any{"id": "h", "address": "10.0.0.9", "port": 80, "meta": map[string]string{"large": strings.Repeat("x", 100_000)}}}},
	}
	f.save(t)
}

func (f *fileRegistry) hidesAllFailed() bool { return false }

func (f *fileRegistry) empty(t *testing.T) {
	t.Helper()
	clear(f.services)
	f.garbage = nil
	f.save(t)
}

// outage moves the file away: its registry can't be read.
func (f *fileRegistry) outage(t *testing.T) func() {
	t.Helper()
	if err := os.Rename(f.path, f.path+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(f.path+".away", f.path); err != nil {
			t.Fatal(err)
		}
	}
}
