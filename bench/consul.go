package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seamark-mesh/seamark/e2e/servers"
)

// catalog is a Consul server's content, as bench writes it: services svc-0, svc-1 …
// with copies instances each, all with one check, spread over nodes. Its methods
// may be called by several goroutines.
type catalog struct {
	server                  *servers.ConsulServer
	dir                     string
	client                  *api.Client
	services, nodes, copies int
}

// startConsul starts an empty server.
func (s *site) startConsul(ctx context.Context, name string, config servers.ConsulConfig) (*catalog, error) {
	dir, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	server, err := servers.StartConsul(ctx, dir, config)
	if err != nil {
		return nil, err
	}
	s.atEnd(server.Kill)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	s.atEnd(func() error { transport.CloseIdleConnections(); return nil })
	client, err := api.NewClient(&api.Config{Address: server.HTTP, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	if s.versions["Consul"] == "" {
		s.versions["Consul"] = consulVersion(ctx)
	}
	return &catalog{server: server, dir: dir, client: client}, nil
}

func consulVersion(ctx context.Context) string {
	built, err := servers.Build(ctx, "consul")
	if err != nil {
		return "unknown"
	}
	text, err := output(ctx, built, filepath.Join(built, "consul"), "version")
	if err != nil {
		return "unknown"
	}
	return version(text)
}

// port is where the server listens for http or https.
func (c *catalog) port(https bool) (int, error) {
	at := c.server.HTTP
	if https {
		at = c.server.HTTPS
	}
	u, err := url.Parse(at)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Port())
}

func serviceName(n int) string { return fmt.Sprintf("svc-%d", n) }

func instanceID(n, number int) string { return fmt.Sprintf("svc-%d-%d", n, number) }

// node is where an instance is.
func (c *catalog) node(n, number int) string {
	return fmt.Sprintf("node-%d", (n*c.copies+number)%c.nodes)
}

func (c *catalog) service(n, number int, version string) *api.AgentService {
	return &api.AgentService{
		ID: instanceID(n, number), Service: serviceName(n), Address: fmt.Sprintf("192.0.2.%d", 1+number), Port: 8000 + number, Tags: []string{"bench"},
		Weights: api.AgentWeights{Passing: 1, Warning: 1}, Meta: map[string]string{"version": version, "team": "red"},
	}
}

func (c *catalog) check(n, number int, status string) api.HealthCheck {
	return api.HealthCheck{
		Node: c.node(n, number), CheckID: "check-" + instanceID(n, number), Name: "alive", Status: status,
		ServiceID: instanceID(n, number), ServiceName: serviceName(n),
	}
}

// firstVersion is every instance's after fill.
const firstVersion = "v0"

// fill registers everything, passing, in transactions.
func (c *catalog) fill(ctx context.Context, services, nodes, copies int) error {
	c.services, c.nodes, c.copies = services, nodes, copies
	var operations api.TxnOps
	flush := func() error {
		ok, reply, _, err := c.client.Txn().Txn(operations, new(api.QueryOptions).WithContext(ctx))
		operations = operations[:0]
		if err == nil && !ok {
			err = fmt.Errorf("a transaction was refused: %v", reply.Errors)
		}
		return err
	}
	add := func(op *api.TxnOp) error {
		const most = 64 // Consul's limit
		if operations = append(operations, op); len(operations) < most {
			return nil
		}
		return flush()
	}
	for n := range nodes {
		if err := add(&api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: fmt.Sprintf("node-%d", n), Address: "203.0.113.9"}}}); err != nil {
			return err
		}
	}
	for n := range services {
		for number := range copies {
			err := add(&api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: c.node(n, number), Service: *c.service(n, number, firstVersion)}})
			if err == nil {
				err = add(&api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: c.check(n, number, api.HealthPassing)}})
			}
			if err != nil {
				return err
			}
		}
	}
	if len(operations) > 0 {
		return flush()
	}
	return nil
}

// setHealth changes the check of a service's first instance.
func (c *catalog) setHealth(ctx context.Context, n int, passing bool) error {
	status := api.HealthCritical
	if passing {
		status = api.HealthPassing
	}
	check := c.check(n, 0, status)
	return c.register(ctx, &api.CatalogRegistration{Node: check.Node, SkipNodeUpdate: true, Checks: api.HealthChecks{&check}})
}

// setVersion changes the definition of a service's first instance.
func (c *catalog) setVersion(ctx context.Context, n int, version string) error {
	return c.register(ctx, &api.CatalogRegistration{Node: c.node(n, 0), SkipNodeUpdate: true, Service: c.service(n, 0, version)})
}

func (c *catalog) register(ctx context.Context, r *api.CatalogRegistration) error {
	_, err := c.client.Catalog().Register(r, new(api.WriteOptions).WithContext(ctx))
	return err
}

// entries reads a service, from the leader.
func (c *catalog) entries(ctx context.Context, n int) ([]*api.ServiceEntry, error) {
	entries, _, err := c.client.Health().Service(serviceName(n), "", false, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	return entries, err
}

// peering is one service of a peered cluster, watched by blocking queries.
type peering struct {
	flips chan sighting
	fault chan error
}

// sighting is a state of the service and when its news arrived.
type sighting struct {
	passing bool
	at      time.Time
}

// peer makes reader import everything of writer, by Consul's own cluster peering.
func peer(ctx context.Context, writer, reader *catalog) error {
	options := new(api.WriteOptions).WithContext(ctx)
	token, _, err := writer.client.Peerings().GenerateToken(ctx, api.PeeringGenerateTokenRequest{PeerName: "reader"}, options)
	if err != nil {
		return fmt.Errorf("peering token: %w", err)
	}
	_, _, err = reader.client.Peerings().Establish(ctx, api.PeeringEstablishRequest{PeerName: "writer", PeeringToken: token.PeeringToken}, options)
	if err != nil {
		return fmt.Errorf("establish the peering: %w", err)
	}
	_, _, err = writer.client.ConfigEntries().Set(&api.ExportedServicesConfigEntry{
		Name: "default", Services: []api.ExportedService{{Name: "*", Consumers: []api.ServiceConsumer{{Peer: "reader"}}}},
	}, options)
	if err != nil {
		return fmt.Errorf("export to the peer: %w", err)
	}
	return nil
}

// watchPeered watches the first service of the peered cluster until ctx ends.
func watchPeered(ctx context.Context, wg *sync.WaitGroup, base string) *peering {
	p := &peering{flips: make(chan sighting, 16), fault: make(chan error, 1)}
	wg.Go(func() {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		index := "0"
		for ctx.Err() == nil {
			next, now, err := askPeered(ctx, client, base, index)
			if err != nil {
				p.fault <- err
				return
			}
			if index = next; now != nil {
				select {
				case p.flips <- *now:
				case <-ctx.Done():
				}
			}
		}
	})
	return p
}

// askPeered is one blocking query; now is nil while the service is not there.
func askPeered(ctx context.Context, client *http.Client, base, index string) (next string, now *sighting, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/health/service/"+serviceName(0)+"?peer=writer&wait=60s&index="+index, nil)
	if err != nil {
		return "", nil, err
	}
	reply, err := client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer reply.Body.Close()
	var entries []struct{ Checks []struct{ Status string } }
	if err := json.NewDecoder(reply.Body).Decode(&entries); err != nil {
		return "", nil, fmt.Errorf("%s: %w", reply.Status, err)
	}
	arrived := time.Now()
	next = reply.Header.Get("X-Consul-Index")
	if next == "" {
		return "", nil, fmt.Errorf("%s without an index", reply.Status)
	}
	if len(entries) == 0 {
		return next, nil, nil
	}
	now = &sighting{passing: true, at: arrived}
	for _, c := range entries[0].Checks {
		if c.Status != api.HealthPassing {
			now.passing = false
		}
	}
	return next, now, nil
}

// until waits for a state and returns when it arrived.
func (p *peering) until(ctx context.Context, passing bool) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mostWait, fmt.Errorf("the peered cluster did not show it within %v", mostWait))
	defer cancel()
	for {
		select {
		case s := <-p.flips:
			if s.passing == passing {
				return s.at, nil
			}
		case err := <-p.fault:
			return time.Time{}, err
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}
